"""A run's configuration: a TOML file over those it is based on, and `--set a.b=c` over it.

An unknown key, a wrong type or an impossible value is a ConfigError that names the key
as the user wrote it. Knows nothing of Ray.
"""

import dataclasses
import difflib
import json
import re
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.config.descriptions import describe_keys
from kintsugi.config.sections import (
    STRICT,
    ComputeSection,
    DataSection,
    HeldOutSection,
    LoopSection,
    LossSection,
    ModelSection,
    OptimizerSection,
    TranslateSection,
    WorkersSection,
)
from kintsugi.config.toml_files import read_layers, to_toml
from kintsugi.defaults import PACKAGE, SAMPLES
from kintsugi.errors import ConfigError
from kintsugi.masks.sets import names_place
from kintsugi.models.weights import current_name
from kintsugi.storage.storage import Storage

# It names a folder, and part of a URI.
_RUN_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")

# Keys that may differ when a run is resumed: they decide where it runs, how long and
# what it reports, not what it computes.
RESUMABLE_KEYS = (
    "workers",
    "loop.max_steps",
    "loop.log_every",
    "loop.sample_every",
    "loop.checkpoint_every",
    "loop.checkpoint_minutes",
    "loop.keep_checkpoints",
    "held_out.patience",
    "storage",
    "data.photos",
    "data.tasks",
    "data.task_cpus",
    "data.max_corrupt_share",
    "data.tasks_anywhere",
)


@dataclass(frozen=True)
class JobConfig:
    """One training run."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    stage: str
    """What is trained: a module of `kintsugi/stages`."""
    run: str
    """Name of the run and of its folder in `storage`. The same name and configuration resume."""
    storage: str
    """URI of the folder that holds runs."""
    data: DataSection
    loop: LoopSection
    model: ModelSection
    encoder: str = "release"
    """VGG19 to relu3_1: "release" (that of the bundled release), the path or URI of a file or of a
    release, "torchvision" (downloads ImageNet's weights, 548 MB on first use) or "random"."""
    seed: int = 0
    """Decides initial weights, order, crops, flips and holes."""
    init_from: str = ""
    """URI of a release or run whose weights the run starts from (fine-tuning); "" = drawn from the
    seed. A discriminator is taken over where there is one."""
    losses: LossSection = field(default_factory=LossSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    compute: ComputeSection = field(default_factory=ComputeSection)
    held_out: HeldOutSection = field(default_factory=HeldOutSection)
    workers: WorkersSection = field(default_factory=WorkersSection)
    translate: TranslateSection = field(default_factory=TranslateSection)

    def __post_init__(self) -> None:
        if not _RUN_NAME.fullmatch(self.run):
            raise ValueError(
                f"run={self.run!r}: letters, digits, '.', '_' and '-', the first a letter or digit"
            )
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: 0 or more")
        judged = self.losses.adversarial or self.losses.fill_perceptual
        if self.stage == "initial_fill" and judged and self.data.crop_px % 32:
            raise ValueError(
                f"data.crop_px={self.data.crop_px}: a multiple of 32, as an encoder and a"
                " discriminator see the initial fill at a quarter of it"
            )
        trains_g1 = self.stage in ("stage1", "end_to_end")
        if trains_g1 and self.model.generator_input == "predicted" and not self.init_from:
            raise ValueError(
                'model.generator_input="predicted" takes an initial fill that was trained before:'
                " name one of kintsugi train initial-fill, or a release that has one, in init_from"
            )
        if self.translate.colour and self.model.translator_input == "features":
            raise ValueError(
                f"translate.colour={self.translate.colour} compares pixels, which are matched only"
                ' with model.translator_input = "features+pixels": set that, or a colour of 0'
            )

    def check_shares(self) -> None:
        """Refuse what some number of workers could not share out, before a run begins.

        Not where a configuration is read: one of a run that was accepted before can still be.

        Raises: ConfigError: the photographs of a step.
        """
        whole, most = self.loop.global_batch, self.workers.count
        least = self.workers.min_count or most
        uneven = [count for count in range(least, most + 1) if whole % count]
        if uneven:
            named = ", ".join(map(str, uneven))
            raise ConfigError(
                f"loop.global_batch={whole} is not shared out evenly among {named} workers, as"
                f" many as the run may have: choose a multiple of each from {least} to {most}"
                " (workers.min_count to workers.count), or other numbers of workers"
            )

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def load_config(path: Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read a TOML file and its bases, apply ``a.b=value`` overrides and validate.

    Relative paths are taken from the current folder and made absolute: workers have
    another one.

    Raises: ConfigError naming the file and the key.
    """
    try:
        raw = read_layers(path)
    except FileNotFoundError as error:
        shipped = PACKAGE / "jobs" / "configs"
        names = sorted(file.name for file in shipped.glob("*-*.toml"))
        known = ", ".join(name for name in names if not name.startswith("ablation-")) or "none"
        raise ConfigError(f"--config {path}: no such file; jobs/configs has: {known}") from error
    for override in overrides:
        _apply(raw, override)
    source = str(path) + "".join(f" --set {override}" for override in overrides)
    return _with_absolute_paths(parse_config(raw, source))


def parse_config(raw: Mapping[str, Any], source: str) -> JobConfig:
    """Validate a nested mapping of plain values. Raises: ConfigError naming ``source`` and keys."""
    if isinstance(stage := raw.get("stage"), str):
        # Runs from before a change of names.
        raw = {**raw, "stage": current_name(stage)}
    try:
        return TypeAdapter(JobConfig).validate_json(json.dumps(raw))
    except ValidationError as error:
        meanings = describe_keys(JobConfig)
        lines = []
        for problem in error.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                near = difflib.get_close_matches(key, meanings, 1)
                message = "unknown key" + (f"; did you mean {near[0]}?" if near else "")
            elif key in meanings:
                message += f" ({meanings[key].rstrip('.')})"
            lines.append(f"{key}: {message}" if key else message)
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def explain(config: JobConfig) -> str:
    """The whole configuration as TOML, as it would run, with what each key means."""
    return to_toml(config.to_dict(), describe_keys(JobConfig))


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ, those that may change on resuming left out."""
    flat_one, flat_other = deciding_values(one), deciding_values(other)
    return [
        key
        for key in sorted(flat_one.keys() | flat_other.keys())
        if flat_one.get(key) != flat_other.get(key)
    ]


def deciding_values(config: Mapping[str, Any]) -> dict[str, Any]:
    """Dotted keys and values that decide what a run computes: without RESUMABLE_KEYS."""
    return {
        key: value
        for key, value in _flatten(config).items()
        if not any(key == free or key.startswith(free + ".") for free in RESUMABLE_KEYS)
    }


def _apply(raw: dict[str, Any], override: str) -> None:
    key, separator, text = override.partition("=")
    parts = key.strip().split(".")
    if not separator or not all(parts):
        raise ConfigError(f"--set {override!r}: write it as section.key=value")
    section = raw
    for part in parts[:-1]:
        section = section.setdefault(part, {})
        if not isinstance(section, dict):
            raise ConfigError(f"--set {override!r}: {part} is a value, not a section")
    section[parts[-1]] = _toml_value(text.strip())


def _with_absolute_paths(config: JobConfig) -> JobConfig:
    def absolute(uri: str, *names: str) -> str:
        return uri if uri in ("", *names) else Storage(uri).uri

    return replace(
        config,
        storage=absolute(config.storage),
        encoder=absolute(config.encoder, "release", "torchvision", "random"),
        init_from=absolute(config.init_from),
        data=replace(
            config.data,
            shards=absolute(config.data.shards),
            photos=absolute(config.data.photos, SAMPLES),
            masks=tuple(
                absolute(each) if names_place(each) else each for each in config.data.masks
            ),
        ),
        translate=replace(config.translate, stage1=absolute(config.translate.stage1)),
    )


def _toml_value(text: str) -> Any:
    """A TOML value; what is none of JSON's kinds is text, so that URIs and dates need no quotes."""
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text
    return value if isinstance(value, str | bool | int | float | list) else text


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat

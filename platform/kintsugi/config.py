"""A run's configuration: one TOML file, complete by itself, and `--set a.b=c` over it.

Every section is a frozen dataclass and each part of the program receives only its own.
An unknown key, a wrong type or an impossible value is a ConfigError that names the key
as the user wrote it. Knows nothing of Ray.
"""

import dataclasses
import json
import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.errors import ConfigError
from kintsugi.masks import check_kind
from models.build import ModelConfig

_STRICT = ConfigDict(extra="forbid", strict=True)

# Keys that may differ when a run is resumed: they decide where it runs, how long and
# what it reports, not what it computes.
RESUMABLE_KEYS = (
    "workers",
    "loop.max_steps",
    "loop.log_every",
    "loop.sample_every",
    "loop.checkpoint_every",
    "loop.keep_checkpoints",
    "storage",
    "data.photos",
    "data.tasks",
)


@dataclass(frozen=True)
class ModelSection(ModelConfig):
    """Architecture; see `models.build.ModelConfig`."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True)
class DataSection:
    """What a run sees."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    shards: str
    # URI of a folder that jobs/write_shards.py wrote.
    photos: str = ""
    # URI of photographs that are packed into `shards` first when that holds none yet;
    # "samples" = those that scikit-image and scikit-learn ship.
    crop_px: int = 256
    # Side of the square training crops; a multiple of 8, at least 128.
    resize_px: int = 286
    # The shorter side that photographs are brought to before the crop.
    masks: tuple[str, ...] = ("rectangle", "strokes")
    # Kinds of hole, drawn with equal share.
    shuffle_parts: int = 4
    # Shards whose rows are mixed with one another; a read holds so many in memory.
    tasks: int = 4
    # Reading tasks of Ray Data at one time per worker; each is a process.

    def __post_init__(self) -> None:
        if self.crop_px % 8 or self.crop_px < 128:
            raise ValueError(f"crop_px={self.crop_px}: a multiple of 8, at least 128")
        if self.resize_px < self.crop_px:
            raise ValueError(
                f"resize_px={self.resize_px} is smaller than crop_px={self.crop_px}:"
                " choose it at least as large"
            )
        if not self.masks:
            raise ValueError("masks is empty: name at least one kind of hole")
        for kind in self.masks:
            try:
                check_kind(kind)
            except ConfigError as error:
                raise ValueError(f"masks: {error}") from error
        for name in ("shuffle_parts", "tasks"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1")


@dataclass(frozen=True)
class LossSection:
    """Weights of the losses (paper section 4.1: 10 and 1)."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    perceptual: float = 10.0
    adversarial: float = 1.0
    overlap_cells: int = 2
    # Width of the heavier band of M_F inside the hole's edge, in feature cells; stage 1.
    overlap: float = 10.0
    # Weight in that band; 1 elsewhere in the hole.


@dataclass(frozen=True)
class OptimizerSection:
    """Adam for both networks."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    generator_lr: float = 2e-3
    discriminator_lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999


@dataclass(frozen=True)
class LoopSection:
    """How long, and how often what is written; all in optimiser steps."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    max_steps: int
    batch_size: int = 8
    # Photographs per worker and step.
    log_every: int = 10
    checkpoint_every: int = 500
    # Also after the last step.
    sample_every: int = 500
    # A picture of fixed photographs: input, fill, truth. 0 = never.
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        for name in (
            "max_steps",
            "batch_size",
            "log_every",
            "checkpoint_every",
            "keep_checkpoints",
        ):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1")
        if self.sample_every < 0:
            raise ValueError(f"sample_every={self.sample_every}: 0 (never) or more")


@dataclass(frozen=True)
class WorkersSection:
    """Where it runs: one process per worker, joined by DDP."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    count: int = 1
    cpus: float = 0.5
    # Logical CPUs that Ray sets aside per worker. The rest is for reading data: at least
    # one must be left.
    use_gpu: bool = False
    # One GPU per worker, NCCL between them; else CPU and gloo.
    threads: int = 2
    # PyTorch's threads per worker on the CPU.
    max_failures: int = 3
    # Lost workers or nodes that a run survives by itself, from the last checkpoint.

    def __post_init__(self) -> None:
        if self.count < 1:
            raise ValueError(f"count={self.count}: at least 1")
        if self.cpus <= 0:
            raise ValueError(f"cpus={self.cpus}: more than 0, for example 0.5")
        if self.threads < 1:
            raise ValueError(f"threads={self.threads}: at least 1")


@dataclass(frozen=True)
class TranslateSection:
    """What only stage 2 has."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stage1: str = ""
    # URI of the stage 1 run (or of a release) whose predictions are mixed in.
    prediction_share: float = 0.0
    # Share of samples whose features come from stage 1's prediction instead of the truth.
    guard: int = 0
    # Cells around the hole that are not copied from.

    def __post_init__(self) -> None:
        if not 0 <= self.prediction_share <= 1:
            raise ValueError(f"prediction_share={self.prediction_share}: 0 to 1")
        if self.prediction_share > 0 and not self.stage1:
            raise ValueError(
                f"prediction_share={self.prediction_share} needs predictions: name the stage 1"
                " run or a release in stage1"
            )


@dataclass(frozen=True)
class JobConfig:
    """One training run."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    stage: Literal["stage1", "stage2"]
    run: str
    # Name of the run and of its folder in `storage`. The same name and configuration resume.
    storage: str
    # URI of the folder that holds runs.
    data: DataSection
    loop: LoopSection
    model: ModelSection
    encoder: str = "release"
    # VGG19 to relu3_1: "release", a path or URI, "torchvision" or "random".
    seed: int = 0
    losses: LossSection = field(default_factory=LossSection)
    optimizer: OptimizerSection = field(default_factory=OptimizerSection)
    workers: WorkersSection = field(default_factory=WorkersSection)
    translate: TranslateSection = field(default_factory=TranslateSection)

    def __post_init__(self) -> None:
        if not self.run or "/" in self.run:
            raise ValueError(f"run={self.run!r}: a name without '/'")
        if self.seed < 0:
            raise ValueError(f"seed={self.seed}: 0 or more")

    def to_dict(self) -> dict[str, Any]:
        """The resolved configuration as plain JSON types."""
        plain: dict[str, Any] = json.loads(json.dumps(dataclasses.asdict(self)))
        return plain


def load_config(path: Path, overrides: Sequence[str] = ()) -> JobConfig:
    """Read a TOML file, apply ``a.b=value`` overrides and validate.

    Raises: ConfigError naming the file and the key.
    """
    try:
        raw = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        known = ", ".join(sorted(file.name for file in path.parent.glob("*.toml"))) or "none"
        raise ConfigError(f"--config {path}: no such file; that folder has: {known}") from error
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}") from error
    for override in overrides:
        _apply(raw, override)
    return parse_config(raw, str(path))


def parse_config(raw: Mapping[str, Any], source: str) -> JobConfig:
    """Validate a nested mapping of plain values. Raises: ConfigError naming ``source`` and keys."""
    try:
        return TypeAdapter(JobConfig).validate_json(json.dumps(raw))
    except ValidationError as error:
        lines = []
        for problem in error.errors(include_url=False):
            key = ".".join(str(part) for part in problem["loc"])
            message = problem["msg"].removeprefix("Value error, ")
            if problem["type"] in ("unexpected_keyword_argument", "extra_forbidden"):
                message = "unknown key"
            lines.append(f"{key}: {message}" if key else message)
        raise ConfigError(f"{source}: " + "; ".join(lines)) from error


def differing_keys(one: Mapping[str, Any], other: Mapping[str, Any]) -> list[str]:
    """Dotted keys whose values differ, those that may change on resuming left out."""
    flat_one, flat_other = _flatten(one), _flatten(other)
    return [
        key
        for key in sorted(flat_one.keys() | flat_other.keys())
        if flat_one.get(key) != flat_other.get(key)
        and not any(key == free or key.startswith(free + ".") for free in RESUMABLE_KEYS)
    ]


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


def _toml_value(text: str) -> Any:
    """A TOML value; what is no TOML is taken as a string, so that URIs need no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        return text


def _flatten(nested: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in nested.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[prefix + key] = value
    return flat

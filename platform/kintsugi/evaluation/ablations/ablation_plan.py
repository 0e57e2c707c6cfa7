"""Which variants of the method are compared, and what each has to have trained; trains nothing.

A plan is a TOML file: base configurations, what every run changes of them, and variants. Runs
are named by what decides what they compute, so variants that differ in nothing of a stage share
its run, and a run that is there already is found again.
"""

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.config.run_config import JobConfig, deciding_values, load_config, parse_config
from kintsugi.config.sections import STRICT
from kintsugi.config.toml_files import read_layers
from kintsugi.defaults import SAMPLES
from kintsugi.errors import ConfigError
from kintsugi.models.matching import MatchingConfig
from kintsugi.release.publish import NAME
from kintsugi.storage.storage import Storage

# The variant that others are compared with, where there are seeds.
BASE = "base"
# Hexadecimal digits in a run's name, of the digest of what it computes.
_DIGITS = 10


@dataclass(frozen=True)
class AblationVariant:
    """One row of the table."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    name: str
    about: str = ""
    """What differs from the base, for people."""
    stages: Literal["two", "end_to_end"] = "two"
    """Both stages one after the other, or at once."""
    set: tuple[str, ...] = ()
    """`section.key=value` of all its runs."""
    stage1: tuple[str, ...] = ()
    """The same, of stage 1 alone."""
    stage2: tuple[str, ...] = ()
    """The same, of stage 2 alone."""
    matching: dict[str, Any] = field(default_factory=dict)
    """How its release matches, by the names of `kintsugi.models.matching.MatchingConfig`."""
    scales: int | Literal["auto"] = "auto"
    """The scales of every fill."""
    root: str = ""
    """Its name in the file, where a seed was added to it; not in the file."""
    part: Literal["whole", "coarse"] = "whole"
    """"coarse": G1's fill alone."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError(f"name={self.name!r}: letters, digits, '.', '_' and '-', at most 64")
        if self.scales != "auto" and self.scales < 1:
            raise ValueError(f"scales={self.scales}: at least 1, or 'auto'")
        try:
            MatchingConfig(**self.matching)
        except TypeError as error:
            raise ValueError(f"matching: {error}") from error


@dataclass(frozen=True)
class AblationPlan:
    """What kintsugi ablate does."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    storage: str
    """URI of a folder for runs/, releases/ and fills/."""
    stage1: str
    """Base configuration: a file next to the plan's."""
    stage2: str
    """The same."""
    end_to_end: str
    """The same."""
    variants: tuple[AblationVariant, ...]
    set: tuple[str, ...] = ()
    """`section.key=value` of all runs."""
    seeds: tuple[int, ...] = ()
    """Each variant is trained once with each of them; variants of one seed share first weights,
    order, crops and holes. None: once, with the configurations' own."""
    photos: str = SAMPLES
    """URI of the photographs that all variants fill."""
    limit: int | None = None
    """How many photographs, from the first on."""
    held_out: float | None = None
    """Only those that training at this share kept out."""
    masks: tuple[str, ...] = ("random-256",)
    """Mask sets, or URIs of written ones."""
    methods: tuple[str, ...] = ()
    """What the variants are compared with, as kintsugi evaluate names it."""
    encoder: str | None = None
    """By whose features realism and the VGG distance are judged, as a run's configuration names it;
    none = the encoder of the first variant's release."""
    seed: int = 0
    """Decides every mask."""
    folder: Path = Path()
    """Where the plan's file is; not in the file."""

    def __post_init__(self) -> None:
        names = [variant.name for variant in self.variants]
        if not names:
            raise ValueError("variants is empty: name at least one")
        for name in names:
            if names.count(name) > 1:
                raise ValueError(f"variants: {name!r} is there twice: rename one")


@dataclass(frozen=True)
class Needed:
    """The runs of one variant: stage 1 and stage 2, or the same run of both twice."""

    variant: AblationVariant
    stage1: JobConfig
    stage2: JobConfig


def load_plan(path: Path, overrides: Sequence[str] = ()) -> AblationPlan:
    """Read a plan; ``overrides`` are added to what every run changes.

    Raises: ConfigError naming the file and the key.
    """
    try:
        raw = read_layers(path)
        plan = TypeAdapter(AblationPlan).validate_json(
            json.dumps({**raw, "folder": str(path.parent)})
        )
    except FileNotFoundError as error:
        raise ConfigError(
            f"--config {path}: no such file; jobs/configs has ablation.toml,"
            " ablation-claims.toml and ablation-debug.toml"
        ) from error
    except ValidationError as error:
        problems = [
            f"{'.'.join(str(part) for part in each['loc'])}:"
            f" {each['msg'].removeprefix('Value error, ')}"
            for each in error.errors(include_url=False)
        ]
        raise ConfigError(f"{path}: {'; '.join(problems)}") from error
    storage = Storage(plan.storage).uri
    variants = plan.variants if not plan.seeds else tuple(_seeded_variants(plan))
    return replace(plan, storage=storage, set=(*plan.set, *overrides), variants=variants)


def seeded(name: str, seed: int) -> str:
    """The name of a variant that is trained with a seed."""
    return f"{name}.{seed}"


def _seeded_variants(plan: AblationPlan) -> Iterator[AblationVariant]:
    for seed in plan.seeds:
        for variant in plan.variants:
            settings = (*variant.set, f"seed={seed}")
            name = seeded(variant.name, seed)
            yield replace(variant, name=name, root=variant.name, set=settings)


def chosen(plan: AblationPlan, names: Sequence[str]) -> AblationPlan:
    """The plan with some of its variants. Raises: ConfigError naming those that there are."""
    known: dict[str, list[AblationVariant]] = {}
    for variant in plan.variants:
        known.setdefault(variant.root or variant.name, []).append(variant)
    for name in names:
        if name not in known:
            raise ConfigError(f"--variants: {name!r} is none of {', '.join(known)}")
    return replace(plan, variants=tuple(variant for name in names for variant in known[name]))


def needed_runs(plan: AblationPlan, variant: AblationVariant) -> Needed:
    """The configurations of a variant's runs. Raises: ConfigError when one is impossible."""
    if variant.stages == "end_to_end":
        both = _load(plan, plan.end_to_end, (*variant.set, *variant.stage1, *variant.stage2))
        return Needed(variant, both, both)
    one = _load(plan, plan.stage1, (*variant.set, *variant.stage1))
    from_one = f"translate.stage1={one.storage}/{one.run}"
    two = _load(plan, plan.stage2, (from_one, *variant.set, *variant.stage2))
    return Needed(variant, one, two)


def runs_in_order(needed: Sequence[Needed]) -> dict[str, JobConfig]:
    """All runs by name, each once: every stage 1 before the stage 2 that learns from it."""
    runs: dict[str, JobConfig] = {}
    for each in needed:
        for config in (each.stage1, each.stage2):
            runs.setdefault(config.run, config)
    return runs


def _load(plan: AblationPlan, name: str, overrides: Sequence[str]) -> JobConfig:
    config = load_config(plan.folder / name, [*plan.set, *overrides])
    if config.translate.prediction_share == 0:
        # It is not looked at: whatever stage 1 is, this is the same run.
        config = replace(config, translate=replace(config.translate, stage1=""))
    run = f"{config.stage.replace('_', '-')}-{_digest(config)[:_DIGITS]}"
    return replace(config, run=run, storage=f"{plan.storage}/runs")


def _digest(config: JobConfig) -> str:
    """Of what decides the weights, but for defaults: a key that is added later changes no name."""
    least: dict[str, Any] = {"stage": config.stage, "run": "any", "storage": "", "model": {}}
    least |= {"data": {"shards": ""}, "loop": {"max_steps": 1}}
    usual = deciding_values(parse_config(least, "defaults").to_dict())
    values = deciding_values(config.to_dict())
    special = {name: value for name, value in values.items() if value != usual[name]}
    # A longer run is another one: what has learnt from its predictions would not know it.
    special |= {"stage": config.stage, "loop.max_steps": config.loop.max_steps}
    special.pop("run", None)
    return hashlib.sha256(json.dumps(special, sort_keys=True).encode()).hexdigest()

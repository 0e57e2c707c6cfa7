"""What stages declare, found by their names; imports them when asked."""

import importlib

from kintsugi import stages
from kintsugi.errors import ConfigError
from kintsugi.stages.base.names import stage_names
from kintsugi.stages.base.stage import Builder, StageSpec


def stage_spec(name: str) -> StageSpec:
    """What a stage declares. Raises: ConfigError naming the stages there are."""
    if name not in stage_names():
        raise ConfigError(f"stage={name!r}: choose one of {', '.join(stage_names())}")
    spec: StageSpec = importlib.import_module(f"{stages.__name__}.{name}").SPEC
    return spec


def builders() -> dict[str, Builder]:
    """What builds each part of the method that any stage trains, by the part's name."""
    found: dict[str, Builder] = {}
    for name in stage_names():
        spec = stage_spec(name)
        found |= {**spec.generator, spec.discriminator[0]: spec.discriminator[1]}
    return found


def discriminator_parts() -> tuple[str, ...]:
    """The parts that judge, each once."""
    return tuple(dict.fromkeys(stage_spec(name).discriminator[0] for name in stage_names()))

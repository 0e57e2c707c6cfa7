"""Every key says what it means, in the code and nowhere else."""

import dataclasses
from dataclasses import dataclass

from kintsugi.config.descriptions import describe_fields, describe_keys
from kintsugi.config.run_config import JobConfig, load_config
from tests.kintsugi.training_runs import CONFIGS


@dataclass(frozen=True)
class Shape:
    """A figure."""

    side: int = 1
    """Of the figure,
    in px."""
    name: str = ""
    colour: int = 0
    """Index of its colour."""


@dataclass(frozen=True)
class Square(Shape):
    turned: bool = False
    """By 45 degrees."""
    colour: int = 1
    """Index of its edge's colour."""


def test_the_string_under_a_field_describes_it_and_inherited_ones() -> None:
    assert describe_fields(Square) == {
        "side": "Of the figure, in px.",
        "colour": "Index of its edge's colour.",
        "turned": "By 45 degrees.",
    }


def test_every_key_is_described() -> None:
    config = load_config(CONFIGS / "debug-stage2.toml")
    keys = set()
    for field in dataclasses.fields(config):
        value = getattr(config, field.name)
        inner = dataclasses.fields(value) if dataclasses.is_dataclass(value) else ()
        keys |= {f"{field.name}.{each.name}" for each in inner} or {field.name}
    assert keys == describe_keys(JobConfig).keys()

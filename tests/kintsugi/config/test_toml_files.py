"""A file says only what differs from its base; the shipped ones do."""

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from kintsugi.config.toml_files import read_layers, to_toml
from kintsugi.errors import ConfigError
from tests.kintsugi.training_runs import CONFIGS

MOST_LINES = 800
# A run's name is its file's.
OWN = {"base", "run"}


def layered(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        (folder / f"{name}.toml").write_text(text)
    return folder / f"{next(iter(files))}.toml"


def test_tables_are_joined_key_by_key_and_the_upper_file_wins(tmp_path: Path) -> None:
    path = layered(
        tmp_path,
        top='base = "middle.toml"\nrun = "a"\n[loop]\nmax_steps = 3\n',
        middle='base = "below.toml"\n[loop]\nbatch_size = 2\nmax_steps = 2\n',
        below='seed = 1\n[loop]\nmax_steps = 1\nlog_every = 1\n[data]\nmasks = ["thin"]\n',
    )
    assert read_layers(path) == {
        "seed": 1,
        "run": "a",
        "loop": {"max_steps": 3, "batch_size": 2, "log_every": 1},
        "data": {"masks": ["thin"]},
    }


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('base = "none.toml"', r"top\.toml: base .*/none\.toml: no such file"),
        ("base = 3", r"base=3: the path of a file"),
        ('base = "top.toml"', r"base .*top\.toml is based on it"),
        ("seed = ", r"top\.toml is not TOML"),
    ],
)
def test_what_is_wrong_with_a_base_is_named(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_layers(layered(tmp_path, top=text))


def test_nested_tables_are_toml() -> None:
    nested = {"seed": 1, "workers": {"resources": {"a/b": 0.5, "memory": 10}, "names": ["\u00e9"]}}
    assert tomllib.loads(to_toml(nested)) == nested


def test_a_meaning_stands_above_its_key() -> None:
    text = to_toml(
        {"seed": 1, "loop": {"steps": 2}}, {"seed": "Of draws.", "loop.steps": "How many."}
    )
    assert text == "# Of draws.\nseed = 1\n\n[loop]\n# How many.\nsteps = 2\n"


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*-*.toml")), ids=lambda path: path.stem)
def test_a_shipped_file_repeats_nothing_of_its_base(path: Path) -> None:
    own = tomllib.loads(path.read_text())
    if "base" not in own:
        assert path.stem.startswith("ablation")
        return
    below = dict(flat(read_layers(path.parent / own["base"])))
    assert [key for key, value in flat(own) if key not in OWN and below.get(key) == value] == []


def test_the_shipped_files_are_short() -> None:
    assert sum(len(path.read_text().splitlines()) for path in CONFIGS.glob("*.toml")) <= MOST_LINES


def flat(nested: Mapping[str, Any], section: str = "") -> Iterator[tuple[str, Any]]:
    for key, value in nested.items():
        if isinstance(value, Mapping):
            yield from flat(value, f"{section}{key}.")
        else:
            yield section + key, value

"""Releases of a place: listed, compared and promoted by what they say, weights by their digest."""

from dataclasses import replace
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError, StorageError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import CONFIG_NAME, WEIGHTS_NAME, ReleaseConfig, save_release
from kintsugi.release.catalog import differences, list_releases, promote, read_config

TINY = ModelConfig("tiny")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("releases")
    networks = build_inpainter(TINY, Vgg19Relu3.random(0), seed=0)
    for name, distance in (("a", 0.2), ("deep/b", 0.1)):
        config = ReleaseConfig(Path(name).name, TINY, "random (seed 0)")
        config = replace(config, metrics={"figures": [{"masks": "thick", "distance": distance}]})
        save_release(folder / name, networks, config, card="a card")
    return folder


def test_whole_releases_are_listed(place: Path, tmp_path: Path) -> None:
    found = list_releases(str(place))
    assert [each.uri for each in found] == [str(place / "a"), str(place / "deep" / "b")]
    assert all(each.config is not None and each.weights_bytes > 1000 for each in found)
    assert list_releases(str(tmp_path)) == []


def test_one_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old" / CONFIG_NAME).write_text('{"version": 0}')
    (tmp_path / "old" / WEIGHTS_NAME).write_bytes(b"")
    [found] = list_releases(str(tmp_path))
    assert found.config is None
    assert "format version 0" in found.problem


def test_differences_are_named_to_the_figure(place: Path) -> None:
    one, other = read_config(str(place / "a")), read_config(str(place / "deep" / "b"))
    assert differences(one, other) == {
        "name": ("a", "b"),
        "metrics.figures.thick.distance": (0.2, 0.1),
    }
    assert differences(one, one) == {}


def test_figures_are_compared_by_what_they_are_of(place: Path) -> None:
    rows = [{"masks": masks, "method": "ours", "psnr": 1.0} for masks in ("thick", "thin")]
    here = read_config(str(place / "a"))
    one = replace(here, metrics={"figures": rows})
    better = replace(one, metrics={"figures": [{**rows[1], "psnr": 2.0}, rows[0]]})
    assert differences(one, better) == {"metrics.figures.thin ours.psnr": (1.0, 2.0)}
    alike = replace(one, metrics={"figures": [rows[0], rows[0]]})
    assert differences(alike, alike) == {}


def test_a_part_that_only_one_has_is_one_line_and_training_is_last(place: Path) -> None:
    one = replace(read_config(str(place / "a")), metrics={}, training={})
    stage = {"steps": 9, "config": {"seed": 0, "loop": {"max_steps": 9, "batch_size": 2}}}
    other = replace(one, training={"stage1": stage}, metrics={"psnr": 1.0})
    assert list(differences(one, other).items()) == [
        ("metrics.psnr", (None, 1.0)),
        ("training.stage1", (None, "4 entries")),
    ]


def test_promoted_whole_or_not_at_all(place: Path, tmp_path: Path) -> None:
    served = tmp_path / "served"
    promote(str(place / "a"), str(served))
    assert read_config(str(served)) == read_config(str(place / "a"))
    with pytest.raises(ConfigError, match="name another place"):
        promote(str(served), f"{served}/")
    broken = tmp_path / "broken"
    promote(str(place / "deep" / "b"), str(broken))
    (broken / WEIGHTS_NAME).write_bytes(b"altered")
    with pytest.raises(StorageError, match="publish it again"):
        promote(str(broken), str(served))
    assert read_config(str(served)).name == "a", "what was served still is"
    with pytest.raises(StorageError, match="no release at"):
        promote(str(tmp_path / "nowhere"), str(served))


def test_the_commands_say_it(
    place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from kintsugi.cli.releases import COMMANDS

    assert COMMANDS["list"]([str(place)]) == DONE
    assert f"{place / 'a'}: a sha256:" in capsys.readouterr().out
    assert COMMANDS["compare"]([str(place / "a"), str(place / "deep" / "b")]) == DONE
    assert "metrics.figures.thick.distance: 0.2 | 0.1" in capsys.readouterr().out
    assert COMMANDS["promote"]([str(place / "a"), str(tmp_path / "served")]) == DONE
    assert "is a sha256:" in capsys.readouterr().out
    (tmp_path / "served" / CONFIG_NAME).write_text('{"version": 0}')
    assert COMMANDS["list"]([str(tmp_path)]) == SOME_REJECTED

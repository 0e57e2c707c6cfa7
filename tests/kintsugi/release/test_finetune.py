"""A release trained on: as it was trained, but for where it begins, what it reads, how long."""

from dataclasses import replace
from pathlib import Path

import pytest

from kintsugi.data.shard_manifest import Manifest, read_manifest
from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.models.weights import ReleaseConfig
from kintsugi.release.catalog import read_config
from kintsugi.release.finetune import STAGES, FineTuning, finetuned, stages_of
from kintsugi.storage.storage import Storage
from tests.kintsugi.training_runs import pack_photos

HOW = FineTuning("mine", "/runs", "/shards", steps=40, rate=0.5)


@pytest.fixture(scope="module")
def release() -> ReleaseConfig:
    return read_config(BUNDLED_RELEASE)


@pytest.fixture
def shards(tmp_path: Path) -> Manifest:
    pack_photos(tmp_path)
    return read_manifest(Storage(tmp_path / "shards"))


@pytest.mark.parametrize("stage", STAGES)
def test_only_this_differs(stage: str, release: ReleaseConfig, shards: Manifest) -> None:
    config = finetuned(stage, release, BUNDLED_RELEASE, HOW, shards).to_dict()
    known = release.training[stage]["config"]
    assert (config["init_from"], config["encoder"]) == (BUNDLED_RELEASE, BUNDLED_RELEASE)
    assert (config["data"]["shards"], config["storage"]) == ("/shards", "/runs")
    assert config["run"] == f"mine-{stage.replace('_', '-')}"
    assert config["optimizer"]["generator_lr"] == known["optimizer"]["generator_lr"] / 2
    assert config["loop"]["max_steps"] == 40
    assert config["loop"]["batch_size"] <= shards.rows
    assert config["held_out"]["photos"] == 0, "none is held out"
    for key, value in known["losses"].items():
        assert config["losses"][key] == value
    assert config["data"]["masks"] == known["data"]["masks"]
    if stage == "stage1":
        assert config["model"]["generator_input"] == release.model.generator_input


def test_stages_are_the_releases(release: ReleaseConfig) -> None:
    assert stages_of(release, "r", []) == list(STAGES)
    assert stages_of(release, "r", ["stage2", "stage1"]) == ["stage1", "stage2"]
    for wrong, known in ((["magic"], release), ([], replace(release, training={}))):
        with pytest.raises(ConfigError, match="says how these were trained"):
            stages_of(known, "r", wrong)


@pytest.mark.parametrize("wrong", [{"steps": 0}, {"rate": 0.0}, {"rate": 1.5}])
def test_what_makes_no_sense_is_named(wrong: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=f"--{next(iter(wrong))} "):
        replace(HOW, **wrong)  # type: ignore[arg-type]


def test_without_photographs_nothing_is_planned(release: ReleaseConfig, tmp_path: Path) -> None:
    empty = Manifest(version=1, seed=0, rows=0, parts=(), rejects=(), ignored=0)
    with pytest.raises(ConfigError, match="no photograph to train on"):
        finetuned("stage1", release, BUNDLED_RELEASE, HOW, empty)


def test_a_release_that_was_measured_is_trained_on_where_none_is_held_out(
    release: ReleaseConfig, shards: Manifest
) -> None:
    known = release.training["stage1"]
    values = {**known["config"], "held_out": {"photos": 64, "patience": 15}}
    measured = replace(release, training={"stage1": {**known, "config": values}})
    config = finetuned("stage1", measured, BUNDLED_RELEASE, HOW, shards)
    assert (config.held_out.photos, config.held_out.patience) == (0, 0)
    parts = [replace(part, split="held_out") for part in shards.parts[:1]]
    some = replace(shards, parts=(*parts, *shards.parts[1:]))
    config = finetuned("stage1", measured, BUNDLED_RELEASE, HOW, some)
    assert (config.held_out.photos, config.held_out.patience) == (parts[0].rows, 15)

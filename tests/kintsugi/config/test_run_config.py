"""A configuration says what is wrong with it by the key the user wrote."""

import dataclasses
import tomllib
from pathlib import Path

import pytest

from kintsugi.config.run_config import (
    JobConfig,
    differing_keys,
    explain,
    load_config,
    parse_config,
)
from kintsugi.errors import ConfigError

CONFIGS = sorted(
    path
    for path in (Path(__file__).parents[3] / "jobs" / "configs").glob("*-*.toml")
    if not path.stem.startswith("ablation")
)
DEBUG = Path(__file__).parents[3] / "jobs" / "configs" / "debug-stage1.toml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_every_shipped_configuration_loads(path: Path) -> None:
    config = load_config(path)
    assert path.stem.replace("-", "_").endswith(config.stage)
    assert config.run == path.stem


def test_what_is_printed_is_the_configuration_with_every_key_explained() -> None:
    config = load_config(DEBUG)
    text = explain(config)
    assert parse_config(tomllib.loads(text), "printed") == config
    lines = text.splitlines()
    keys = [number for number, line in enumerate(lines) if line and line[0] not in "#["]
    assert len(keys) > 50
    assert all(lines[number - 1].startswith("# ") for number in keys)


def test_a_configuration_survives_its_own_dictionary() -> None:
    config = load_config(DEBUG)
    assert parse_config(config.to_dict(), "copy") == config


def test_overrides_take_numbers_strings_lists_and_uris() -> None:
    config = load_config(
        DEBUG,
        [
            "loop.max_steps=7",
            "storage=s3://runs/here",
            'data.masks=["thick"]',
            "optimizer.generator_lr=1",
            "workers.use_gpu=true",
        ],
    )
    assert config.loop.max_steps == 7
    assert config.storage == "s3://runs/here"
    assert config.data.masks == ("thick",)
    assert config.optimizer.generator_lr == 1.0
    assert config.workers.use_gpu


def test_masks_are_kinds_of_hole_and_places_that_are_made_absolute() -> None:
    config = load_config(DEBUG, ['data.masks=["thick", "./masks", "s3://bucket/masks/"]'])
    assert config.data.masks == ("thick", str(Path("masks").absolute()), "s3://bucket/masks")
    with pytest.raises(ConfigError, match=r"'masks' is not known: .* such as \./masks"):
        load_config(DEBUG, ['data.masks=["masks"]'])
    with pytest.raises(ConfigError, match=r"http:// in http://host/masks is not known"):
        load_config(DEBUG, ['data.masks=["http://host/masks"]'])


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "loop.max_step=7",
            r"--set loop\.max_step=7: .*unknown key; did you mean loop\.max_steps\?",
        ),
        ("lop.max_steps=7", r"lop: unknown key"),
        ("model.sise='tiny'", r"model\.sise: unknown key"),
        ("loop.max_steps=many", r"loop\.max_steps: .*integer.* \(Optimiser steps in all\)"),
        ("loop.max_steps=0", r"loop: max_steps=0: at least 1"),
        ("model.size=huge", r"model: size='huge': choose one of tiny, small, paper"),
        ("data.crop_px=100", r"data: crop_px=100: a multiple of 8"),
        ("data.masks=['circle']", r"data: masks: mask kind 'circle' is not known"),
        ("translate.prediction_share=0.5", r"name the stage 1"),
        ("run='a/b'", r"run='a/b'"),
        ("run=..", r"run='\.\.'"),
        ("losses.perceptual=nan", r"losses\.perceptual"),
        ("losses.feature_matching=-1.0", r"losses: feature_matching=-1\.0: at least 0"),
        (
            "model.initial_fill=fft",
            r"model\.initial_fill: Input should be 'unet', 'ffc' or 'pointer'",
        ),
        ("losses.adversarial=-1.0", r"losses: adversarial=-1\.0: at least 0"),
        ("losses.image.grads=1.0", r"losses: image: grads=1: .* one of gradients"),
        ("optimizer.generator_lr=-1.0", r"optimizer: generator_lr=-1\.0: more than 0"),
        ("workers.max_failures=-5", r"workers: max_failures=-5: at least 0"),
        ("data.masks=['center-9999']", r"data: masks: mask kind 'center-9999' leaves nothing"),
        ("loop", r"--set 'loop': write it as section\.key=value"),
        ("run.name=x", r"run is a value, not a section"),
    ],
)
def test_what_is_wrong_is_named(override: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_config(DEBUG, [override])


def test_a_run_that_measures_nothing_has_no_patience() -> None:
    paper = DEBUG.with_name("paper-stage1.toml")
    with pytest.raises(
        ConfigError, match=r"held_out: patience=15 .*or held_out\.patience=0 as well"
    ):
        load_config(paper, ["held_out.photos=0"])
    assert not load_config(paper, ["held_out.photos=0", "held_out.patience=0"]).held_out.photos


def test_a_date_is_a_fine_name() -> None:
    assert load_config(DEBUG, ["run=2024-06-01"]).run == "2024-06-01"


def test_relative_paths_are_taken_from_here_because_workers_are_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    paths = ["storage=runs", "data.shards=./s", "data.photos=p", "encoder=vgg.safetensors"]
    config = load_config(DEBUG, [*paths, "translate.stage1=runs/one", "init_from=runs/two"])
    found = (
        config.storage,
        config.data.shards,
        config.data.photos,
        config.encoder,
        config.translate.stage1,
        config.init_from,
    )
    names = ("runs", "s", "p", "vgg.safetensors", "runs/one", "runs/two")
    assert found == tuple(str(tmp_path / name) for name in names)
    kept = load_config(DEBUG, ["storage=s3://runs/here"])
    assert (kept.storage, kept.encoder, kept.data.photos) == (
        "s3://runs/here",
        "release",
        "samples",
    )


def test_a_missing_file_names_those_that_are_shipped(tmp_path: Path) -> None:
    with pytest.raises(
        ConfigError, match=r"no such file; jobs/configs has: debug-context-encoder\.toml, debug-end"
    ):
        load_config(tmp_path / "two.toml")


def test_a_missing_key_is_named(tmp_path: Path) -> None:
    path = tmp_path / "short.toml"
    path.write_text('stage = "stage1"\nrun = "r"\nstorage = "x"\n')
    with pytest.raises(ConfigError, match=r"data: .*; loop: .*; model: "):
        load_config(path)


def test_only_keys_that_change_the_result_differ() -> None:
    config = load_config(DEBUG)
    moved = dataclasses.replace(
        config,
        storage="s3://elsewhere",
        workers=dataclasses.replace(config.workers, count=4),
        loop=dataclasses.replace(config.loop, max_steps=999, log_every=1),
    )
    assert differing_keys(config.to_dict(), moved.to_dict()) == []
    changed: JobConfig = dataclasses.replace(
        config, seed=3, optimizer=dataclasses.replace(config.optimizer, beta1=0.9)
    )
    assert differing_keys(config.to_dict(), changed.to_dict()) == ["optimizer.beta1", "seed"]

"""Fine-tuning: a run starts from a release or a run, keeps what it started from, and says so."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kintsugi.config.run_config import JobConfig
from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.networks.feature2image import add_pixel_inputs
from kintsugi.release.publish import Selection, publish
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.runs.warm_start import load_start, open_run
from kintsugi.stages.base.stage import Stage
from kintsugi.train.worker import build_stage, train_locally
from tests.kintsugi import training_runs
from tests.kintsugi.training_runs import losses, pack_photos

# They start from runs that are trained first.
pytestmark = pytest.mark.slow


def debug_config(folder: Path, stage: str = "stage1", **changes: Any) -> JobConfig:
    config = training_runs.debug_config(folder, stage, batch_size=1, max_steps=2)
    translate = dataclasses.replace(config.translate, prediction_share=0.0)
    return dataclasses.replace(config, translate=translate, **changes)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages trained, the first with a running mean, and published in two ways."""
    folder = tmp_path_factory.mktemp("sources")
    pack_photos(folder)
    for stage, decay in (("stage1", 0.5), ("stage2", 0.0)):
        config = debug_config(folder, stage)
        optimizer = dataclasses.replace(config.optimizer, ema_decay=decay)
        train_locally(dataclasses.replace(config, optimizer=optimizer))
    one, two = (str(folder / "runs" / f"debug-stage{number}") for number in (1, 2))
    publish(one, two, str(folder / "bare"), name="bare")
    publish(one, two, str(folder / "full"), name="full", select=Selection(discriminators=True))
    return folder


def tensors(folder: Path, stage: str, name: str) -> dict[str, torch.Tensor]:
    step = folder / "runs" / f"debug-{stage}" / "checkpoints" / "step-00000002"
    state: dict[str, torch.Tensor] = load_file(step / f"{name}.safetensors")
    return state


def started(config: JobConfig) -> Stage:
    """The networks of a run as its first step finds them."""
    run, stage = open_run(config), build_stage(config)
    load_start(run, stage.generator, stage.discriminator)
    return stage


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


@pytest.mark.slow
def test_a_run_starts_from_the_running_mean_and_the_discriminator_of_another(folder: Path) -> None:
    source = str(folder / "runs" / "debug-stage1")
    stage = started(debug_config(folder, run="a", init_from=source))
    mean = tensors(folder, "stage1", "generator-ema")
    assert equal(stage.generator.state_dict(), mean)
    assert not equal(mean, tensors(folder, "stage1", "generator")), "the mean shows nothing"
    assert equal(stage.discriminator.state_dict(), tensors(folder, "stage1", "discriminator"))


@pytest.mark.slow
@pytest.mark.parametrize("stage_name", ["stage1", "stage2"])
def test_a_release_without_discriminators_gives_the_generator_alone(
    folder: Path, stage_name: str
) -> None:
    name = "generator-ema" if stage_name == "stage1" else "generator"
    config = debug_config(folder, stage_name, run=f"b-{stage_name}")
    bare, full = (
        started(dataclasses.replace(config, init_from=str(folder / release)))
        for release in ("bare", "full")
    )
    fresh = build_stage(config)
    for stage in (bare, full):
        assert equal(stage.generator.state_dict(), tensors(folder, stage_name, name))
    assert equal(bare.discriminator.state_dict(), fresh.discriminator.state_dict())
    theirs = tensors(folder, stage_name, "discriminator")
    assert equal(full.discriminator.state_dict(), theirs)


def test_an_end_to_end_run_starts_from_both_networks_of_a_release(folder: Path) -> None:
    config = debug_config(folder, "stage2", run="c", init_from=str(folder / "full"))
    model = dataclasses.replace(config.model, generator_upsampling="resize")
    stage = started(dataclasses.replace(config, stage="end_to_end", model=model))
    state = stage.generator.state_dict()
    mean = tensors(folder, "stage1", "generator-ema")
    assert equal({n.removeprefix("infer."): state[n] for n in state if n[:6] == "infer."}, mean)
    translate = tensors(folder, "stage2", "generator")
    assert all(torch.equal(state[f"translate.{name}"], translate[name]) for name in translate)


def test_a_translator_without_pixels_starts_one_with_them(folder: Path) -> None:
    source = folder / "runs" / "debug-stage2"
    config = debug_config(folder, "stage2", run="pixels", init_from=str(source))
    model = dataclasses.replace(config.model, translator_input="features+pixels")
    stage = started(dataclasses.replace(config, model=model))
    wanted = add_pixel_inputs(tensors(folder, "stage2", "generator"))
    assert equal(stage.generator.state_dict(), wanted)
    # What a discriminator sees did not change.
    assert equal(stage.discriminator.state_dict(), tensors(folder, "stage2", "discriminator"))


@pytest.mark.slow
def test_the_first_step_is_that_of_the_weights_and_the_run_resumes_to_the_bit(
    folder: Path, tmp_path: Path
) -> None:
    source = tmp_path / "source"
    shutil.copytree(folder / "runs" / "debug-stage1", source)
    config = debug_config(folder, run="whole", init_from=str(source))
    whole = losses(read_metrics(train_locally(config).storage.join("metrics")))
    scratch = debug_config(folder, run="scratch")
    assert whole[0] != losses(read_metrics(train_locally(scratch).storage.join("metrics")))[0]
    pieces = dataclasses.replace(config, run="pieces")
    # What it starts from is kept: a worker that is lost before the first checkpoint, and every
    # later submission, find it there.
    first = dataclasses.replace(pieces, loop=dataclasses.replace(pieces.loop, max_steps=1))
    train_locally(first)
    shutil.rmtree(source)
    run = train_locally(pieces)
    assert losses(read_metrics(run.storage.join("metrics"))) == whole
    about = json.loads(run.storage.read("inputs.json"))["init_from"]
    assert about["uri"] == str(source)
    assert (about["step"], about["weights"]) == (2, "running mean")
    assert about["taken"] == ["discriminator", "generator"]
    assert about["digest"].startswith("sha256:")


@pytest.mark.slow
def test_what_does_not_fit_is_refused_with_both_architectures(folder: Path) -> None:
    config = debug_config(folder, run="d", init_from=str(folder / "full"))
    small = dataclasses.replace(config.model, generator_upsampling="transposed")
    with pytest.raises(
        ConfigError,
        match=r"its infer has generator_upsampling='resize', this configuration"
        r" model\.generator_upsampling='transposed'",
    ):
        open_run(dataclasses.replace(config, model=small))
    spectral = dataclasses.replace(config.model, discriminator_norm="spectral")
    with pytest.raises(ConfigError, match=r"pair_discriminator has discriminator_norm='batch'"):
        open_run(dataclasses.replace(config, model=spectral))
    # A release without discriminators says nothing of them.
    open_run(dataclasses.replace(config, model=spectral, init_from=str(folder / "bare")))
    with pytest.raises(ConfigError, match=r"has no infer, which stage1 trains: it holds translate"):
        open_run(dataclasses.replace(config, init_from=str(folder / "runs" / "debug-stage2")))
    with pytest.raises(StorageError, match="is no run"):
        open_run(dataclasses.replace(config, init_from=str(folder / "nothing")))
    assert not Run.of(config).storage.exists("checkpoints")


@pytest.mark.slow
def test_a_translator_needs_the_encoder_it_was_trained_with(folder: Path) -> None:
    config = debug_config(folder, "stage2", run="e", seed=7, init_from=str(folder / "full"))
    with pytest.raises(ConfigError, match=r"other encoder weights than encoder='random'"):
        open_run(config)
    open_run(dataclasses.replace(config, encoder=str(folder / "full")))


def test_altered_discriminators_and_an_altered_start_are_refused(
    folder: Path, tmp_path: Path
) -> None:
    shutil.copytree(folder / "full", tmp_path / "full")
    config = debug_config(folder, run="f", init_from=str(tmp_path / "full"))
    run = open_run(config)
    for path in (
        tmp_path / "full" / "discriminators.safetensors",
        folder / "runs" / "f" / "start" / "generator.safetensors",
    ):
        data = bytearray(path.read_bytes())
        data[-1] ^= 1
        path.write_bytes(data)
    stage = build_stage(config)
    with pytest.raises(StorageError, match=r"generator\.safetensors was cut short or altered"):
        load_start(run, stage.generator, stage.discriminator)
    with pytest.raises(StorageError, match=r"discriminators\.safetensors is missing or is not"):
        open_run(config)

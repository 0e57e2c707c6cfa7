"""The initial fill is learnt by colours in the hole, and stage 1 takes it as it is."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from torch.nn import functional as F

from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.data.batches import Batch
from kintsugi.errors import ConfigError
from kintsugi.models.build import InitialFillKind
from kintsugi.models.networks.discriminator import PairDiscriminator
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import load_release
from kintsugi.release.publish import publish
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import CONFIG_NAME, Run
from kintsugi.runs.warm_start import PINNED_START, load_start, open_run
from kintsugi.stages.initial_fill import InitialFillStage
from kintsugi.storage.checksums import MANIFEST_NAME
from kintsugi.storage.storage import Storage
from kintsugi.train.worker import build_stage, train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos, setup_of


def a_batch() -> Batch:
    mask = torch.zeros(2, 1, 128, 128)
    mask[0, :, 30:70, 41:90], mask[1, :, 8:16, 8:16] = 1, 1
    return Batch(torch.arange(2), torch.rand(2, 3, 128, 128), mask, torch.zeros(2))


def test_the_loss_is_of_the_hole_and_of_each_photograph(tmp_path: Path) -> None:
    stage, batch = InitialFillStage(setup_of(debug_config(tmp_path, "initial-fill"))), a_batch()
    output = stage.generate(stage.generator, batch, 0)
    assert torch.equal(
        output.image[batch.mask.expand(2, 3, -1, -1) == 0],
        batch.image[batch.mask.expand(2, 3, -1, -1) == 0],
    )
    expected = []
    small, truth = stage.generator(batch.image, batch.mask), F.avg_pool2d(batch.image, 4)
    for index in range(2):
        share = F.avg_pool2d(batch.mask, 4)[index].expand(3, -1, -1)
        difference, whole = (small - truth)[index], share.sum()
        square = (share * difference**2).sum() / whole
        relative = 0.1 * torch.log(1 + (square + 1e-4).sqrt() / 0.02)
        expected.append((share * difference.abs()).sum() / whole + relative)
    losses = stage.generator_losses(output, stage.discriminator)
    torch.testing.assert_close(losses["reconstruction"], torch.stack(expected).mean())


def adversarial(config: JobConfig, **losses: Any) -> JobConfig:
    weights = {"adversarial": 0.1, "fill_perceptual": 0.3, "feature_matching": 0.2} | losses
    return dataclasses.replace(config, losses=dataclasses.replace(config.losses, **weights))


def random_encoder() -> Vgg19Relu3:
    return Vgg19Relu3.random(0)


def test_by_default_no_encoder_is_opened_and_its_opponent_is_the_one_of_before(
    tmp_path: Path,
) -> None:
    stage = InitialFillStage(setup_of(debug_config(tmp_path, "initial-fill")))
    assert stage.encoder is None
    assert isinstance(stage.discriminator, PairDiscriminator)
    output = stage.generate(stage.generator, a_batch(), 0)
    assert set(stage.generator_losses(output, stage.discriminator)) == {"reconstruction"}
    assert stage.discriminator_losses(output, stage.discriminator) == {}


def test_an_opponent_and_maps_reach_the_hole_and_not_what_is_known(tmp_path: Path) -> None:
    config = adversarial(debug_config(tmp_path, "initial-fill"), reconstruction=0.0)
    stage, batch = InitialFillStage(setup_of(config, random_encoder())), a_batch()
    output = stage.generate(stage.generator, batch, 0)
    assert output.coarse is not None
    losses = stage.generator_losses(output, stage.discriminator)
    assert set(losses) == {
        *("reconstruction", "fill_perceptual", "adversarial", "feature_matching"),
    }
    share = F.avg_pool2d(batch.mask, 4).expand(2, 3, -1, -1)
    for name in ("fill_perceptual", "adversarial", "feature_matching"):
        (gradient,) = torch.autograd.grad(losses[name], output.coarse, retain_graph=True)
        assert gradient[share > 0].abs().sum() > 0, name
        assert (gradient[share == 0] == 0).all(), name
    # The discriminator's step has its own graph.
    opposed = stage.discriminator_losses(output.detached(), stage.discriminator)
    opposed["discriminator"].backward()  # type: ignore[no-untyped-call]
    assert all(parameter.grad is None for parameter in stage.generator.parameters())


def test_a_fill_that_is_the_truth_differs_in_nothing(tmp_path: Path) -> None:
    config = adversarial(debug_config(tmp_path, "initial-fill"))
    stage, batch = InitialFillStage(setup_of(config, random_encoder())), a_batch()
    truth = F.avg_pool2d(batch.image, 4)
    # In evaluation, where the spectral norms stand still.
    stage.discriminator.eval()
    output = stage.generate(lambda image, mask: truth, batch, 0)  # type: ignore[arg-type]
    losses = stage.generator_losses(output, stage.discriminator)
    # Weighted means of colours round.
    assert losses["fill_perceptual"] < 1e-6
    assert losses["feature_matching"] < 1e-6


def test_small_sizes_that_an_encoder_cannot_see_are_refused(tmp_path: Path) -> None:
    values = adversarial(debug_config(tmp_path, "initial-fill")).to_dict()
    values["data"] |= {"crop_px": 136, "resize_px": 160}
    with pytest.raises(ConfigError, match=r"data\.crop_px=136: a multiple of 32"):
        parse_config(values, "test")
    values["losses"] |= {"adversarial": 0.0, "fill_perceptual": 0.0, "feature_matching": 0.0}
    assert parse_config(values, "test").data.crop_px == 136
    values["losses"]["feature_matching"] = 0.1
    with pytest.raises(ConfigError, match=r"needs a discriminator that is trained"):
        parse_config(values, "test")


@pytest.mark.slow
@pytest.mark.parametrize("network", ["unet", "ffc", "pointer"])
def test_a_run_with_an_opponent_is_resumed_exactly(
    network: InitialFillKind, tmp_path: Path
) -> None:
    pack_photos(tmp_path)
    config = adversarial(debug_config(tmp_path, "initial-fill", max_steps=2))
    model = dataclasses.replace(config.model, initial_fill=network)
    whole = dataclasses.replace(config, model=model, run="whole")
    half = dataclasses.replace(
        whole, run="pieces", loop=dataclasses.replace(whole.loop, max_steps=1)
    )
    states = []
    train_locally(half)
    for run in (train_locally(whole), train_locally(dataclasses.replace(whole, run="pieces"))):
        folder = tmp_path / run.storage.uri.rpartition("/")[2]
        run.fetch_checkpoint("newest", folder)
        states.append(
            load_file(folder / "generator.safetensors")
            | {f"d.{k}": v for k, v in load_file(folder / "discriminator.safetensors").items()}
        )
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0] | states[1])
    # Another run takes both networks over, and one without an opponent the first alone.
    for name, start in (("judged", whole), ("alone", debug_config(tmp_path, "initial-fill"))):
        more = dataclasses.replace(start, model=model, run=name, init_from=whole_uri(whole))
        loop = dataclasses.replace(more.loop, max_steps=1)
        run = train_locally(dataclasses.replace(more, loop=loop))
        taken = json.loads(run.storage.read("inputs.json"))["init_from"]["taken"]
        assert taken == (["discriminator", "generator"] if name == "judged" else ["generator"])


@pytest.mark.slow
def test_one_that_points_begins_with_a_u_net_of_colours(initial_fill: Run, tmp_path: Path) -> None:
    folder = Path(initial_fill.storage.uri).parents[1]
    config = debug_config(folder, "initial-fill", max_steps=1)
    config = dataclasses.replace(
        config,
        run="points",
        model=dataclasses.replace(config.model, initial_fill="pointer"),
        init_from=initial_fill.storage.uri,
        held_out=dataclasses.replace(config.held_out, photos=0),
    )
    run = open_run(config)
    stage = build_stage(config)
    load_start(run, stage.generator, stage.discriminator)
    learnt, taken = fetched(initial_fill, tmp_path / "learnt"), stage.generator.state_dict()
    assert set(taken) == set(learnt) | {"reach", "gain"}
    for name, value in learnt.items():
        assert name.startswith("end.") or torch.equal(taken[name], value), name
    rows = read_metrics(train_locally(config).storage.join("metrics"))
    assert rows[-1]["loss/reconstruction"] > 0


def whole_uri(config: JobConfig) -> str:
    return Run.of(config).storage.uri


def predicting(config: JobConfig) -> JobConfig:
    model = dataclasses.replace(config.model, generator_input="predicted")
    return dataclasses.replace(config, model=model, init_from="see below")


@pytest.fixture(scope="module")
def initial_fill(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """A run of two steps."""
    folder = tmp_path_factory.mktemp("runs")
    pack_photos(folder)
    return train_locally(debug_config(folder, "initial-fill", max_steps=2))


def stage1_of(initial_fill: Run, name: str, **loop: int) -> JobConfig:
    folder = Path(initial_fill.storage.uri).parents[1]
    config = predicting(debug_config(folder, **loop))
    optimizer = dataclasses.replace(config.optimizer, ema_decay=0.9)
    return dataclasses.replace(
        config, run=name, init_from=initial_fill.storage.uri, optimizer=optimizer
    )


@pytest.mark.slow
def test_stage_1_begins_with_an_initial_fill_and_leaves_it_as_it_is(
    initial_fill: Run, tmp_path: Path
) -> None:
    rows = read_metrics(initial_fill.storage.join("metrics"))
    assert [row["step"] for row in rows] == [1, 2]
    assert all(row["loss/reconstruction"] > 0 for row in rows)

    whole = train_locally(stage1_of(initial_fill, "whole", max_steps=2))
    # Cut in two it is the same: Adam has no moments of what is not trained.
    train_locally(stage1_of(initial_fill, "pieces", max_steps=1))
    pieces = train_locally(stage1_of(initial_fill, "pieces", max_steps=2))
    learnt, kept, again = (
        fetched(run, tmp_path / str(number))
        for number, run in enumerate((initial_fill, whole, pieces))
    )
    assert any(value.abs().max() > 0 for name, value in learnt.items() if name.startswith("end."))
    for name, value in learnt.items():
        assert torch.equal(kept[f"initial_fill.{name}"], value), name
    assert all(torch.equal(again[name], value) for name, value in kept.items())


@pytest.mark.slow
def test_stage_2_sees_it_and_a_release_has_it(initial_fill: Run, tmp_path: Path) -> None:
    stage1 = train_locally(stage1_of(initial_fill, "for-stage2", max_steps=1))
    folder = Path(initial_fill.storage.uri).parents[1]
    config = debug_config(folder, "stage2", max_steps=1)
    translate = dataclasses.replace(
        config.translate, stage1=stage1.storage.uri, prediction_share=1.0, truth_steps=0
    )
    stage2 = train_locally(dataclasses.replace(config, translate=translate))
    publish(stage1.storage.uri, stage2.storage.uri, str(tmp_path / "release"), name="r")
    inpainter, _ = load_release(tmp_path / "release")
    predictor = inpainter.image2feature.generator.initial_fill
    assert predictor is not None
    learnt = fetched(initial_fill, tmp_path / "learnt")
    assert all(torch.equal(predictor.state_dict()[name], value) for name, value in learnt.items())
    # Both are trained on: the whole of G1, and its initial fill alone.
    for name in ("stage1", "initial-fill"):
        config = debug_config(folder, name, max_steps=1)
        config = predicting(config) if name == "stage1" else config
        more = dataclasses.replace(config, run=f"more-{name}", init_from=str(tmp_path / "release"))
        train_locally(more)


@pytest.mark.slow
def test_a_release_puts_it_under_a_g1_that_began_with_a_smooth_fill(
    initial_fill: Run, tmp_path: Path
) -> None:
    folder, runs = Path(initial_fill.storage.uri).parents[1], []
    for stage in ("stage1", "stage2"):
        config = debug_config(folder, stage, max_steps=1)
        smooth = dataclasses.replace(config.model, generator_input="smooth")
        translate = dataclasses.replace(config.translate, prediction_share=0.0)
        config = dataclasses.replace(
            config, run=f"under-{stage}", model=smooth, translate=translate
        )
        runs.append(train_locally(config).storage.uri)
    published = publish(*runs, str(tmp_path), name="r", initial_fill=initial_fill.storage.uri)
    assert published.config.model.generator_input == "predicted"
    assert published.config.training["initial_fill"]["steps"] == 2
    generator = load_release(tmp_path)[0].image2feature.generator
    assert generator.initial_fill is not None
    # The initial fill of the release can be replaced, and is then named.
    published = publish(
        str(tmp_path),
        str(tmp_path),
        str(tmp_path / "2"),
        name="r",
        initial_fill=initial_fill.storage.uri,
    )
    assert published.config.training["initial_fill"]["steps"] == 2
    learnt, trained = (
        fetched(initial_fill, tmp_path / "a"),
        fetched(Run(Storage(runs[0])), tmp_path / "b"),
    )
    state = generator.state_dict()
    assert all(torch.equal(state[f"initial_fill.{name}"], learnt[name]) for name in learnt)
    assert all(torch.equal(state[name], value) for name, value in trained.items())
    with pytest.raises(
        ConfigError, match=rf"--initial-fill {runs[1]} has none: it holds translate"
    ):
        publish(*runs, str(tmp_path), name="r", initial_fill=runs[1])
    grey = train_locally(dataclasses.replace(debug_config(folder, max_steps=1), run="grey"))
    with pytest.raises(ConfigError, match='train one with "smooth"'):
        publish(
            grey.storage.uri,
            runs[1],
            str(tmp_path),
            name="r",
            initial_fill=initial_fill.storage.uri,
        )


@pytest.mark.slow
def test_what_has_no_use_for_an_initial_fill_is_an_error(initial_fill: Run) -> None:
    config = stage1_of(initial_fill, "smooth")
    smooth = dataclasses.replace(config.model, generator_input="smooth")
    with pytest.raises(ConfigError, match=r'model\.generator_input = "predicted"'):
        train_locally(dataclasses.replace(config, model=smooth))


def test_an_initial_fill_that_is_missing_is_reported(tmp_path: Path) -> None:
    values = debug_config(tmp_path).to_dict()
    values["model"]["generator_input"] = "predicted"
    with pytest.raises(ConfigError, match="name one of kintsugi train initial-fill"):
        parse_config(values, "test")


@pytest.mark.slow
def test_runs_from_before_it_had_its_name_can_be_taken_up(
    initial_fill: Run, tmp_path: Path
) -> None:
    old = Run(Storage(str(shutil.copytree(initial_fill.storage.uri, tmp_path / "old"))))
    values = json.loads(old.storage.read(CONFIG_NAME))
    old.storage.write(CONFIG_NAME, json.dumps(values | {"stage": "first_fill"}).encode())
    assert old.config().stage == "initial_fill"
    config = dataclasses.replace(stage1_of(initial_fill, "of-old"), init_from=old.storage.uri)
    run = open_run(config)
    start = Path(run.storage.uri) / PINNED_START
    (start / "initial_fill.safetensors").rename(start / "first_fill.safetensors")
    manifest = (start / MANIFEST_NAME).read_text()
    (start / MANIFEST_NAME).write_text(manifest.replace("initial_fill", "first_fill"))
    generator = build_stage(config).generator
    load_start(run, generator, torch.nn.Identity())
    kept, learnt = generator.state_dict(), fetched(initial_fill, tmp_path / "learnt")
    assert all(torch.equal(kept[f"initial_fill.{name}"], learnt[name]) for name in learnt)


def fetched(run: Run, folder: Path) -> dict[str, torch.Tensor]:
    run.fetch_checkpoint("newest", folder)
    return load_file(folder / "generator.safetensors")

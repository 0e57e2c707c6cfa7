"""Which checkpoint's weights become a release, and what its config says of them."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, file_digest, load_release, save_release
from kintsugi.release.publish import Selection, publish
from kintsugi.runs.checkpoints import STATE_NAME
from kintsugi.runs.run import open_encoder
from kintsugi.runs.weights import DISCRIMINATORS_NAME
from kintsugi.storage.checksums import write_checksums
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos

# Each publishes runs of two steps.
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Both stages with checkpoints of steps 1 and 2, the first with a running mean."""
    folder = tmp_path_factory.mktemp("runs")
    pack_photos(folder)
    for stage, decay in (("stage1", 0.5), ("stage2", 0.0), ("end_to_end", 0.0)):
        config = debug_config(
            folder, stage.replace("end_to_end", "stage2"), batch_size=1, max_steps=2
        )
        config = dataclasses.replace(
            config,
            stage=stage,  # type: ignore[arg-type]
            run=stage,
            loop=dataclasses.replace(config.loop, checkpoint_every=1),
            optimizer=dataclasses.replace(config.optimizer, ema_decay=decay),
            translate=dataclasses.replace(config.translate, prediction_share=0.0),
        )
        train_locally(config)
    return folder / "runs"


def weights(runs: Path, stage: str, step: int, name: str) -> dict[str, torch.Tensor]:
    folder = runs / stage / "checkpoints" / f"step-{step:08d}"
    state: dict[str, torch.Tensor] = load_file(folder / f"{name}.safetensors")
    return state


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[name], other[name]) for name in one)


def test_the_newest_checkpoints_running_mean_is_published_where_there_is_one(
    runs: Path, tmp_path: Path
) -> None:
    published = publish(str(runs / "stage1"), str(runs / "stage2"), str(tmp_path), name="r")
    inpainter, config = load_release(tmp_path)
    mean = weights(runs, "stage1", 2, "generator-ema")
    assert equal(dict(inpainter.image2feature.generator.state_dict()), mean)
    last = weights(runs, "stage2", 2, "generator")
    assert equal(dict(inpainter.feature2image.state_dict()), last)
    assert config == published.config
    one, two = config.training["stage1"], config.training["stage2"]
    assert (one["steps"], one["weights"], two["weights"]) == (2, "running mean", "last")
    assert ", running mean weights |" in (tmp_path / "README.md").read_text()
    assert not (tmp_path / DISCRIMINATORS_NAME).exists()


def test_an_earlier_checkpoint_can_be_published_and_one_that_is_not_there_is_named(
    runs: Path, tmp_path: Path
) -> None:
    one, two = str(runs / "stage1"), str(runs / "stage2")
    publish(one, two, str(tmp_path), name="r", select=Selection("1"))
    inpainter, config = load_release(tmp_path)
    assert config.training["stage2"]["steps"] == 1
    last = weights(runs, "stage2", 1, "generator")
    assert equal(dict(inpainter.feature2image.state_dict()), last)
    for wrong in ("3", "last", "-1"):
        with pytest.raises(ConfigError, match=rf"no checkpoint '{wrong}': choose .* one of 1, 2"):
            publish(one, two, str(tmp_path), name="r", select=Selection(wrong))


def test_a_match_that_the_networks_cannot_take_is_refused(runs: Path, tmp_path: Path) -> None:
    one, two = str(runs / "stage1"), str(runs / "stage2")
    for wrong, told in (
        ({"colour": 0.5}, "colour=0.5 takes pixels"),
        ({"guard": -1}, "guard=-1: 0 cells or more"),
        ({"shine": 1.0}, "shine"),
    ):
        with pytest.raises(ConfigError, match=f"^matching: .*{told}"):
            publish(one, two, str(tmp_path), name="r", matching=wrong)
    publish(one, two, str(tmp_path), name="r", matching={"colour": 0.0})


def test_a_runs_release_searches_no_pixels_unless_it_is_asked_to(
    runs: Path, tmp_path: Path
) -> None:
    one, two = str(runs / "stage1"), str(runs / "stage2")
    assert not publish(one, two, str(tmp_path), name="r").config.matching.pixels
    publish(one, two, str(tmp_path), name="r", matching={"pixels": True})
    inpainter, config = load_release(tmp_path)
    assert inpainter.matching.pixels
    assert config.matching.pixels
    assert ", pixels True |" in (tmp_path / "README.md").read_text()


def test_the_best_is_the_one_with_the_lowest_held_out_loss(runs: Path, tmp_path: Path) -> None:
    one, two = tmp_path / "stage1", tmp_path / "stage2"
    for copy in (one, two):
        shutil.copytree(runs / copy.name, copy)
    with pytest.raises(ConfigError, match=r"no best checkpoint: .*held_out\.photos"):
        publish(str(one), str(two), str(tmp_path / "r"), name="r", select=Selection("best"))
    for copy in (one, two):
        newest = copy / "checkpoints" / "step-00000002"
        state = json.loads((newest / STATE_NAME).read_text())
        state["best"] = {"step": 1, "loss": 0.5}
        (newest / STATE_NAME).write_text(json.dumps(state))
        (newest / "manifest.json").unlink()
        write_checksums(newest)
    publish(str(one), str(two), str(tmp_path / "r"), name="r", select=Selection("best"))
    assert load_release(tmp_path / "r")[1].training["stage1"]["steps"] == 1


def test_discriminators_are_published_only_when_asked_for(runs: Path, tmp_path: Path) -> None:
    one, two = str(runs / "stage1"), str(runs / "stage2")
    full = Selection(discriminators=True)
    publish(one, two, str(tmp_path), name="r", select=full)
    inpainter, config = load_release(tmp_path)
    about = config.training["discriminators"]
    assert about["digest"] == file_digest(tmp_path / DISCRIMINATORS_NAME)
    assert "| discriminators | yes |" in (tmp_path / "README.md").read_text()
    saved = load_file(tmp_path / DISCRIMINATORS_NAME)
    for part, stage in (("pair_discriminator", "stage1"), ("feature_discriminator", "stage2")):
        mine = {name.partition(".")[2]: saved[name] for name in saved if name.startswith(part)}
        assert equal(mine, weights(runs, stage, 2, "discriminator"))
    # What is served does not change by them.
    publish(one, two, str(tmp_path), name="r")
    again, bare = load_release(tmp_path)
    assert (bare.digest, "discriminators" in bare.training) == (config.digest, False)
    assert equal(dict(again.state_dict()), dict(inpainter.state_dict()))
    assert not (tmp_path / DISCRIMINATORS_NAME).exists()


def test_a_run_of_both_stages_can_stand_in_both_places(runs: Path, tmp_path: Path) -> None:
    both = str(runs / "end_to_end")
    publish(both, both, str(tmp_path), name="r")
    inpainter, _ = load_release(tmp_path)
    state = weights(runs, "end_to_end", 2, "generator")
    for part, network in (
        ("infer.", inpainter.image2feature.generator),
        ("translate.", inpainter.feature2image),
    ):
        mine = {name.removeprefix(part): state[name] for name in state if name.startswith(part)}
        assert equal(dict(network.state_dict()), mine)


def test_half_the_bytes_hold_the_same_convolutions_rounded(runs: Path, tmp_path: Path) -> None:
    one, two = str(runs / "stage1"), str(runs / "stage2")
    publish(one, two, str(tmp_path / "whole"), name="r")
    publish(one, two, str(tmp_path / "half"), name="r", select=Selection(half=True))

    whole, half = (load_release(tmp_path / name)[0].state_dict() for name in ("whole", "half"))
    for name, weight in whole.items():
        rounded = weight.half().float() if weight.ndim == 4 else weight
        assert torch.equal(half[name], rounded)
    sizes = [(tmp_path / name / "model.safetensors").stat().st_size for name in ("whole", "half")]
    assert sizes[1] < 0.6 * sizes[0]


def test_a_release_names_no_home(
    runs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(runs.parent))
    publish("~/runs/stage1", "~/runs/stage2", str(tmp_path), name="r")
    text = (tmp_path / "config.json").read_text()
    assert str(runs.parent) not in text
    assert json.loads(text)["training"]["stage1"]["config"]["data"]["shards"] == "~/shards"


def test_a_release_can_stand_in_the_place_of_a_run(runs: Path, tmp_path: Path) -> None:
    """One part of it is replaced, and all else stays as it was."""
    stages = [str(runs / stage) for stage in ("stage1", "stage2")]
    first_uri = str(tmp_path / "first")
    first = publish(*stages, first_uri, name="r", matching={"repeats": 2, "guard": 4}).config
    again = publish(first_uri, first_uri, str(tmp_path / "same"), name="r").config
    assert again == first
    select = Selection(checkpoint="1")
    mixed = publish(stages[0], first_uri, str(tmp_path / "mixed"), name="r", select=select).config
    assert (mixed.training["stage1"]["steps"], mixed.training["stage2"]["steps"]) == (1, 2)
    assert (mixed.matching, mixed.encoder) == (first.matching, first.encoder)
    inpainter, _ = load_release(tmp_path / "mixed")
    mean = weights(runs, "stage1", 1, "generator-ema")
    assert equal(dict(inpainter.image2feature.generator.state_dict()), mean)
    last = weights(runs, "stage2", 2, "generator")
    assert equal(dict(inpainter.feature2image.state_dict()), last)
    fewer = publish(
        first_uri, first_uri, str(tmp_path / "fewer"), name="r", matching={"repeats": 0}
    ).config
    assert (fewer.matching.repeats, fewer.matching.guard) == (0, 4)


def test_of_a_release_the_match_stays_and_what_is_said_of_its_initial_fill(tmp_path: Path) -> None:
    model = ModelConfig("tiny", generator_input="predicted", translator_input="features+pixels")
    matching = MatchingConfig(colour=0.25, pixels=True)
    inpainter = build_inpainter(model, Vgg19Relu3.random(0), matching=matching)
    told = {"config": {}, "steps": 7, "weights": "last"}
    training = {stage: told for stage in ("initial_fill", "stage1", "stage2")}
    release = ReleaseConfig("r", model, "of ours", matching, training=training)
    saved = save_release(tmp_path / "one", inpainter, release, card="")
    uri = str(tmp_path / "one")
    again = publish(uri, uri, str(tmp_path / "two"), name="r")
    assert again.config == saved
    other = publish(uri, uri, str(tmp_path / "two"), name="r", matching={"pixels": False}).config
    assert (other.matching.colour, other.matching.pixels) == (0.25, False)


def test_each_stage_brings_its_own_discriminator(runs: Path, tmp_path: Path) -> None:
    select = Selection(checkpoint="1", discriminators=True)
    stages = [str(runs / stage) for stage in ("stage1", "stage2")]
    old, new = str(tmp_path / "old"), tmp_path / "new"
    publish(*stages, old, name="r", select=select)
    # Stage 1 again, stage 2 of the release, which has a discriminator of each.
    publish(stages[0], old, str(new), name="r", select=dataclasses.replace(select, checkpoint="2"))
    found = load_file(new / DISCRIMINATORS_NAME)
    for part, step in (("pair_discriminator", 2), ("feature_discriminator", 1)):
        trained = weights(runs, "stage1" if step == 2 else "stage2", step, "discriminator")
        prefix = f"{part}."
        state = {k.removeprefix(prefix): v for k, v in found.items() if k.startswith(prefix)}
        assert equal(state, trained)
    publish(*stages, str(tmp_path / "without"), name="r")
    with pytest.raises(ConfigError, match=r"--with-discriminators: --stage2 .*without has none"):
        publish(stages[0], str(tmp_path / "without"), str(tmp_path / "x"), name="r", select=select)


def test_an_encoder_is_the_same_when_a_release_has_it_rounded(runs: Path, tmp_path: Path) -> None:
    stages = [str(runs / stage) for stage in ("stage1", "stage2")]
    half = str(tmp_path / "half")
    publish(*stages, half, name="r", select=Selection(half=True))
    whole = open_encoder("random", 0).state_dict()
    for number, pair in enumerate(((half, stages[1]), (stages[0], half))):
        publish(*pair, str(tmp_path / str(number)), name="r")
        encoder = load_release(tmp_path / str(number))[0].image2feature.encoder
        # Unrounded where one of the two has it so.
        assert equal(dict(encoder.state_dict()), dict(whole))


@pytest.mark.parametrize("described", [None, {}, {"config": {}, "steps": 1}])
def test_a_release_that_does_not_say_how_it_was_trained_is_no_source(
    runs: Path, tmp_path: Path, described: dict[str, Any] | None
) -> None:
    stages = [str(runs / stage) for stage in ("stage1", "stage2")]
    publish(*stages, str(tmp_path), name="r")
    config = json.loads((tmp_path / "config.json").read_text())
    config["training"]["stage2"] = described
    (tmp_path / "config.json").write_text(json.dumps(config))
    with pytest.raises(ConfigError, match=r"must have config, steps, weights under .*stage2; name"):
        publish(stages[0], str(tmp_path), str(tmp_path / "new"), name="r")


def test_features_of_two_encoders_are_not_joined(runs: Path, tmp_path: Path) -> None:
    """Two runs are refused before their weights are fetched, a release by its weights."""
    other = tmp_path / "stage2"
    shutil.copytree(runs / "stage2", other)
    config = json.loads((other / "config.json").read_text())
    (other / "config.json").write_text(json.dumps(config | {"seed": 7}))
    described = r"encoder random \(seed 0\) .* random \(seed 7\)"
    published = str(tmp_path / "release")
    publish(str(runs / "stage1"), str(runs / "stage2"), published, name="r")
    for stage1 in (str(runs / "stage1"), published):
        with pytest.raises(ConfigError, match=described):
            publish(stage1, str(other), str(tmp_path / "new"), name="r")
    shutil.rmtree(other / "checkpoints")
    with pytest.raises(ConfigError, match=described):
        publish(str(runs / "stage1"), str(other), str(tmp_path / "new"), name="r")
    with pytest.raises(StorageError, match=r"--stage2 .*nothing is neither a run nor a release"):
        publish(published, str(tmp_path / "nothing"), str(tmp_path / "new"), name="r")
    with pytest.raises(ConfigError, match=r"--stage1 .* is a run of stage2: name one of stage1"):
        publish(str(other), str(other), str(tmp_path / "new"), name="r")

"""A run without Ray: it learns, resumes to the bit, keeps its identity, and is published."""

import dataclasses
import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import Batch
from kintsugi.data.mask_files.mask_folder import pack_masks, with_pinned
from kintsugi.data.sampler import SampleOrder
from kintsugi.errors import ConfigError, KintsugiError, StorageError
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.weights import load_release
from kintsugi.release.publish import publish
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run, open_encoder
from kintsugi.runs.warm_start import open_run
from kintsugi.stages.stage2 import Stage2
from kintsugi.storage.storage import Storage
from kintsugi.train.loop import initial_state
from kintsugi.train.worker import build_stage, train_locally
from tests.kintsugi import training_runs
from tests.kintsugi.data.mask_files.pictures_of_masks import write_masks
from tests.kintsugi.training_runs import NUM_STEPS, losses, pack_photos, run_loop

# They stand on runs that are trained first.
pytestmark = pytest.mark.slow


def debug_config(folder: Path, stage: str = "stage1", **loop: int) -> JobConfig:
    """With one photograph a step: batches are tested elsewhere, and steps take the time here."""
    config = training_runs.debug_config(folder, stage, **{"batch_size": 1, **loop})
    if stage == "stage1":
        # Long steps: three of the usual ones would show little.
        optimizer = dataclasses.replace(config.optimizer, generator_lr=3e-3)
        return dataclasses.replace(config, optimizer=optimizer)
    # The first two of the three steps then take stage 1's prediction.
    translate = dataclasses.replace(config.translate, prediction_share=0.6)
    return dataclasses.replace(config, translate=translate)


@pytest.fixture(scope="module", autouse=True)
def small_pictures() -> Iterator[None]:
    """Two photographs in a sample picture: each costs as much as a step does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("kintsugi.train.run_photos.SAMPLE_ROWS", 2)
        yield


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with shards and both stages trained; tests must not go on with its runs."""
    folder = tmp_path_factory.mktemp("trained")
    pack_photos(folder)
    for stage in ("stage1", "stage2"):
        train_locally(debug_config(folder, stage, sample_every=NUM_STEPS))
    return folder


def copied(config: JobConfig, folder: Path) -> JobConfig:
    """A copy of a run that may be changed: one's storage may be another on resuming."""
    shutil.copytree(f"{config.storage}/{config.run}", folder / config.run)
    return dataclasses.replace(config, storage=str(folder))


def up_to(config: JobConfig, max_steps: int) -> JobConfig:
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, max_steps=max_steps))


def metrics_of(config: JobConfig) -> list[dict[str, float]]:
    return read_metrics(Run.of(config).storage.join("metrics"))


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
@pytest.mark.slow
def test_a_run_cut_in_two_gives_the_losses_of_one_in_one_piece(trained: Path, stage: str) -> None:
    whole = debug_config(trained, stage)
    pieces = dataclasses.replace(whole, run=f"{stage}-in-pieces")
    for stop in (1, NUM_STEPS):
        train_locally(up_to(pieces, stop))
    one, two = losses(metrics_of(whole)), losses(metrics_of(pieces))
    assert len(one) == NUM_STEPS
    assert one == two


@pytest.mark.slow
def test_rows_after_the_resumed_step_are_dropped(trained: Path, tmp_path: Path) -> None:
    before = metrics_of(debug_config(trained))
    assert [row["step"] for row in before] == [0, 1, 2, 3, 3], "the last is of the sample picture"
    config = copied(debug_config(trained), tmp_path)
    storage = Run.of(config).storage
    storage.delete_folder("checkpoints/step-00000003")
    # As a run leaves it that was cut off after a flush: more steps than the checkpoint.
    lines = [storage.read(name) for name in storage.list("metrics")]
    storage.delete_folder("metrics")
    storage.write("metrics/part-00000000.jsonl", b"".join(lines))
    train_locally(config)
    after = metrics_of(config)
    assert [row["step"] for row in after] == [0, 1, 2, 3]
    assert losses(after) == losses(before)


def test_the_run_folder_holds_what_the_design_says(trained: Path) -> None:
    names = Run.of(debug_config(trained)).storage.list()
    folders = {name.partition("/")[0] for name in names}
    assert folders == {"config.json", "inputs.json", "checkpoints", "metrics", "owner", "samples"}
    assert "samples/step-00000003.png" in names


def test_another_configuration_under_the_same_name_is_refused_by_its_keys(trained: Path) -> None:
    changed = dataclasses.replace(debug_config(trained), seed=5)
    # The first try of a run claims nothing: it has no checkpoint.
    unborn = dataclasses.replace(changed, run="unborn")
    open_run(unborn)
    open_run(dataclasses.replace(unborn, seed=6))
    with pytest.raises(ConfigError, match=r"other values of seed: .*--set run=NAME"):
        open_run(changed)


@pytest.mark.parametrize("stage", ["stage1", "stage2"])
def test_training_lowers_the_loss_on_fixed_photographs(trained: Path, stage: str) -> None:
    rows = metrics_of(debug_config(trained, stage))
    first, last = (row["fixed/perceptual"] for row in rows if "fixed/perceptual" in row)
    assert last < 0.98 * first


def test_a_diverged_loss_ends_the_run_before_it_is_saved(trained: Path) -> None:
    config = dataclasses.replace(debug_config(trained), run="diverged")
    stage = build_stage(config)

    class Silent:
        def __getattr__(self, name: str) -> object:
            return lambda *_: pytest.fail("saved") if name == "checkpoint" else None

    image = torch.full((2, 3, 128, 128), torch.nan)
    batch = Batch(
        torch.zeros(2, dtype=torch.int64), image, torch.ones(2, 1, 128, 128), torch.zeros(2)
    )
    order = SampleOrder((12,), seed=0, shuffle_parts=1, workers=1, batch_size=2)
    with pytest.raises(KintsugiError, match=r"loss perceptual is nan at step 1: .*generator_lr"):
        run_loop(stage, iter([batch]), order, config, Silent())  # type: ignore[arg-type]


def test_both_networks_of_both_stages_learn_and_the_encoder_does_not(trained: Path) -> None:
    for stage_name in ("stage1", "stage2"):
        config = debug_config(trained, stage_name)
        first, last = build_stage(config), build_stage(config)
        state = initial_state(last, config.optimizer, config.compute)
        Run.of(config).checkpoints.restore(state, NUM_STEPS)
        for name in ("generator", "discriminator"):
            before, after = getattr(first, name).state_dict(), getattr(last, name).state_dict()
            changed = [key for key in before if not torch.equal(before[key], after[key])]
            assert len(changed) == len(before), (stage_name, set(before) - set(changed))


@pytest.mark.slow
def test_runs_are_published_as_a_release_that_loads(trained: Path, tmp_path: Path) -> None:
    runs = trained / "runs"
    published = publish(
        str(runs / "debug-stage1"),
        str(runs / "debug-stage2"),
        str(tmp_path / "r"),
        name="first",
        matching={"keys": "standardised", "guard": 4},
    )
    inpainter, config = load_release(tmp_path / "r")
    assert config == published.config
    assert config.encoder == "random (seed 0)"
    assert config.matching == inpainter.matching == MatchingConfig(keys="standardised", guard=4)
    assert "keys standardised" in (tmp_path / "r" / "README.md").read_text()
    assert "random (seed 0)" in (tmp_path / "r" / "README.md").read_text()
    stage = build_stage(debug_config(trained, "stage2"))
    config2 = debug_config(trained, "stage2")
    state = initial_state(stage, config2.optimizer, config2.compute)
    Run.of(config2).checkpoints.restore(state, NUM_STEPS)
    for name, tensor in stage.generator.state_dict().items():
        assert torch.equal(inpainter.feature2image.state_dict()[name], tensor)


@pytest.mark.slow
def test_a_release_can_be_the_stage1_of_a_run_and_the_encoder_of_another(
    trained: Path, tmp_path: Path
) -> None:
    runs = trained / "runs"
    publish(str(runs / "debug-stage1"), str(runs / "debug-stage2"), str(tmp_path / "r"), name="r")
    config = debug_config(trained, "stage2")
    translate = dataclasses.replace(config.translate, stage1=str(tmp_path / "r"))
    other = dataclasses.replace(
        config, run="from-release", translate=translate, encoder=str(tmp_path / "r")
    )
    open_run(other)
    one, two = (stage_generator(c) for c in (config, other))
    assert all(torch.equal(one[name], two[name]) for name in one)


def stage_generator(config: JobConfig) -> dict[str, torch.Tensor]:
    stage = build_stage(config)
    assert isinstance(stage, Stage2)
    assert stage.predict is not None
    state: dict[str, torch.Tensor] = stage.predict.generator.state_dict()
    return state


@pytest.mark.slow
def test_stage_1_may_be_trained_on_while_stage_2_is(trained: Path, tmp_path: Path) -> None:
    first = copied(debug_config(trained), tmp_path)
    second = debug_config(trained, "stage2", max_steps=1)
    translate = dataclasses.replace(second.translate, stage1=f"{tmp_path}/{first.run}")
    second = dataclasses.replace(second, storage=str(tmp_path), translate=translate)
    train_locally(second)
    before = stage_generator(second)
    train_locally(up_to(first, NUM_STEPS + 1))
    train_locally(up_to(second, 2))
    assert all(torch.equal(before[name], now) for name, now in stage_generator(second).items())


def test_other_shards_under_a_run_are_refused(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=1)
    train_locally(config)
    storage = Storage(tmp_path / "shards")
    manifest = json.loads(storage.read("manifest.json"))
    storage.write("manifest.json", json.dumps(manifest | {"seed": 99}).encode())
    with pytest.raises(ConfigError, match="are not those that run 'debug-stage1' began with"):
        open_run(config)


def test_other_masks_under_a_run_are_refused_and_so_are_none(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    one, other = (write_masks(tmp_path / name, count) for name, count in (("a", 2), ("b", 3)))
    config = debug_config(tmp_path, max_steps=1)
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, masks=(one,)))
    train_locally(config)
    kept = Path(with_pinned(config.data, Run.of(config).storage).masks[0])
    shutil.rmtree(kept)
    pack_masks(other, Storage(kept), config.data.crop_px)
    with pytest.raises(ConfigError, match=r"are not those of .*/a that run 'debug-stage1' began"):
        open_run(config)
    shutil.rmtree(kept)
    with pytest.raises(ConfigError, match=r"that run 'debug-stage1' keeps: .*; restore them"):
        open_run(config)


def test_a_bad_mask_is_found_before_anything_is_kept_and_a_mended_one_is_taken(
    trained: Path, tmp_path: Path
) -> None:
    good, bad = (write_masks(tmp_path / name, 2) for name in ("good", "bad"))
    (Path(bad) / "001.tif").write_bytes(b"no picture")
    config = dataclasses.replace(debug_config(trained, "stage2"), run="masked")
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, masks=(good, bad)))
    run = Run.of(config)
    with pytest.raises(ConfigError, match=r"data\.masks: .*bad/001\.tif is no mask to train with"):
        open_run(config)
    assert run.storage.list() == [], "neither stage 1 nor the masks before the bad one"
    (Path(bad) / "001.tif").unlink()
    open_run(config)
    kept = json.loads(run.storage.read("inputs.json"))["masks"]
    assert [each["masks"] for each in kept] == [2, 1]


def test_stages_that_do_not_belong_together_are_refused(trained: Path, tmp_path: Path) -> None:
    one, two = (str(trained / "runs" / f"debug-stage{n}") for n in (1, 2))
    with pytest.raises(ConfigError, match="is a run of stage2: name one of stage1"):
        publish(two, two, str(tmp_path), name="x")
    with pytest.raises(ConfigError, match="guard=-1"):
        publish(one, two, str(tmp_path), name="x", matching={"guard": -1})
    open_run(dataclasses.replace(debug_config(trained), run="other-encoder", seed=8))
    with pytest.raises(ConfigError, match=r"encoder random \(seed 8\) and stage 2 with"):
        publish(str(trained / "runs" / "other-encoder"), two, str(tmp_path), name="x")


def test_a_name_that_no_header_can_carry_is_refused(trained: Path, tmp_path: Path) -> None:
    one, two = (str(trained / "runs" / f"debug-stage{n}") for n in (1, 2))
    with pytest.raises(ConfigError, match="--name '\u8857'"):
        publish(one, two, str(tmp_path), name="\u8857")


def test_a_run_without_checkpoints_cannot_be_published(trained: Path, tmp_path: Path) -> None:
    fresh = dataclasses.replace(debug_config(trained), run="fresh")
    open_run(fresh)
    with pytest.raises(StorageError, match="no checkpoint yet: train the run first"):
        publish(
            str(trained / "runs" / "fresh"),
            str(trained / "runs" / "debug-stage2"),
            str(tmp_path),
            name="x",
        )


def test_what_is_no_run_says_so(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"is no run: it has no config\.json"):
        Run(Storage(tmp_path)).config()


def test_unknown_encoders_are_refused_with_what_can_be_given(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(StorageError, match="there is nothing at"):
        open_encoder(str(tmp_path / "nothing"), 0)
    with pytest.raises(StorageError, match=r"/nothing\.safetensors"):
        open_encoder("/nothing.safetensors", 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(StorageError, match=rf"{tmp_path}/nothing\.safetensors"):
        open_encoder("nothing.safetensors", 0)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(ConfigError, match="is no file and no release folder: give one of those"):
        open_encoder(str(tmp_path), 0)


def test_the_configuration_in_the_run_folder_is_the_resolved_one(trained: Path) -> None:
    config = debug_config(trained, sample_every=NUM_STEPS)
    stored = json.loads(Run.of(config).storage.read("config.json"))
    assert stored["loop"]["keep_checkpoints"] == 2
    assert Run.of(config).config() == config

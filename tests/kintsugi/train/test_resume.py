"""A run that is cut anywhere goes on to the bit, with everything switched on that has a state."""

import contextlib
import dataclasses
import functools
import itertools
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import ComputeSection, HeldOutSection, LossSection, ModelSection
from kintsugi.data.batches import Batch, PackedBatch
from kintsugi.data.shard_reader import sample_key
from kintsugi.data.splits import is_held_out
from kintsugi.runs.checkpoints import STATE_NAME, checkpoint_name
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.train.local import fit
from kintsugi.train.loop import NodeReclaimed, WorkerContext
from kintsugi.train.validation import evaluate_losses
from kintsugi.train.worker import train_locally
from tests.kintsugi.data.mask_files.pictures_of_masks import write_masks
from tests.kintsugi.training_runs import debug_config, pack_photos

STEPS = 4
# Twelve photographs at this share leave nine for training: an epoch ends within the run.
HELD_OUT_SHARE = 0.2


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("resume")
    pack_photos(folder, held_out_share=HELD_OUT_SHARE)
    return folder


def everything_on(folder: Path, name: str, stage: str = "stage1", **compute: Any) -> JobConfig:
    config = debug_config(folder, stage, batch_size=4, accumulate=2, max_steps=STEPS)
    optimizer = dataclasses.replace(config.optimizer, warmup_steps=4, clip_norm=1.0, ema_decay=0.9)
    return dataclasses.replace(
        config,
        run=name,
        optimizer=optimizer,
        compute=ComputeSection(**compute),
        held_out=HeldOutSection(photos=3, patience=9),
        losses=LossSection(kind="hinge", adversarial=0.0 if stage == "initial-fill" else 1.0),
        model=ModelSection(
            size="tiny",
            generator_upsampling="resize",
            discriminator_norm="spectral",
            generator_input="smooth",
        ),
    )


def train_to(config: JobConfig, step: int) -> None:
    train_locally(
        dataclasses.replace(config, loop=dataclasses.replace(config.loop, max_steps=step))
    )


def figures(config: JobConfig) -> list[dict[str, Any]]:
    """All figures of a run that do not depend on the clock."""
    kinds = ("loss/", "grad_norm/", "learning_rate")
    rows = read_metrics(Run.of(config).storage.join("metrics"))
    return [
        {name: value for name, value in row.items() if name == "step" or name.startswith(kinds)}
        for row in rows
    ]


@pytest.mark.parametrize(
    ("stage", "compute"),
    [
        ("stage1", {}),
        ("end-to-end", {"channels_last": True}),
        ("context-encoder", {"precision": "bfloat16"}),
        ("initial-fill", {"precision": "bfloat16", "channels_last": True}),
    ],
)
@pytest.mark.slow
def test_a_run_cut_in_two_is_the_run_in_one_piece(
    folder: Path, stage: str, compute: dict[str, Any]
) -> None:
    name = "-".join([stage, *map(str, compute.values())])
    whole = everything_on(folder, f"{name}-whole", stage, **compute)
    pieces = everything_on(folder, f"{name}-pieces", stage, **compute)
    train_to(whole, STEPS)
    # The first cut is between two checkpoints' turns.
    for step in (1, STEPS):
        train_to(pieces, step)
    assert_equal(whole, pieces)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("how", "at"), [("should_stop", 2), ("is_reclaimed", 2), ("is_reclaimed", STEPS)]
)
def test_a_run_that_leaves_where_a_checkpoint_is_measured_loses_no_measurement(
    folder: Path, how: str, at: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, pieces = (
        everything_on(folder, f"{name}-{how}-{at}", "initial-fill") for name in ("whole", "pieces")
    )
    # Rows of checkpoints alone: the row of what is measured late is of a step that has one.
    whole, pieces = (
        dataclasses.replace(each, loop=dataclasses.replace(each.loop, log_every=2))
        for each in (whole, pieces)
    )
    train_locally(whole)
    asked = itertools.count(1)
    with monkeypatch.context() as patched:
        leaving = functools.partial(WorkerContext, **{how: lambda: next(asked) == at})
        patched.setattr("kintsugi.train.worker.WorkerContext", without(leaving, how))
        with contextlib.suppress(NodeReclaimed):
            train_locally(pieces)
    assert Run.of(pieces).checkpoints.steps()[-1] == at
    fit(pieces)
    assert measured(pieces) == measured(whole)
    assert set(measured(whole)) == {2, 4}
    states = [json.loads(state_of(config).read_text()) for config in (whole, pieces)]
    assert states[0] == states[1]
    assert states[0]["best"]
    assert losses_of(pieces) == losses_of(whole)


def without(made: Callable[..., WorkerContext], name: str) -> Callable[..., WorkerContext]:
    """Leaves one argument to what is set already."""

    def make(*arguments: Any, **options: Any) -> WorkerContext:
        options.pop(name, None)
        return made(*arguments, **options)

    return make


def measured(config: JobConfig) -> dict[int, float]:
    rows = read_metrics(Run.of(config).storage.join("metrics"))
    name = "held_out/reconstruction"
    return {int(row["step"]): row[name] for row in rows if name in row}


def losses_of(config: JobConfig) -> list[dict[str, Any]]:
    return [row for row in figures(config) if "loss/reconstruction" in row]


def state_of(config: JobConfig) -> Path:
    folder = Path(config.storage, config.run, "checkpoints", checkpoint_name(STEPS))
    return folder / STATE_NAME


@pytest.mark.slow
def test_a_run_goes_on_with_the_masks_that_it_began_with(folder: Path, tmp_path: Path) -> None:
    masks = write_masks(tmp_path / "masks")
    whole, pieces = (with_masks(everything_on(folder, f"masks-{n}"), masks) for n in (1, 2))
    train_to(whole, STEPS)
    train_to(pieces, 1)
    shutil.rmtree(masks)
    train_to(pieces, STEPS)
    assert_equal(whole, pieces)
    drawn = everything_on(folder, "masks-drawn")
    train_to(drawn, 1)
    assert figures(drawn)[0] != figures(whole)[0]


def with_masks(config: JobConfig, masks: str) -> JobConfig:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, masks=(masks,)))


def assert_equal(whole: JobConfig, pieces: JobConfig) -> None:
    assert len(figures(whole)) == STEPS
    assert figures(pieces) == figures(whole)
    one, other = (
        Path(run.storage, run.run, "checkpoints", checkpoint_name(STEPS)) for run in (whole, pieces)
    )
    assert (one / STATE_NAME).read_text() == (other / STATE_NAME).read_text()
    tensors = sorted(path.name for path in one.glob("*.safetensors"))
    assert len(tensors) == 5
    for name in tensors:
        first, second = load_file(one / name), load_file(other / name)
        assert first.keys() == second.keys()
        assert all(torch.equal(first[key], second[key]) for key in first), name


@pytest.mark.slow
def test_the_held_out_photographs_are_never_trained_on(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: set[int] = set()
    move = PackedBatch.to

    def noting(batch: PackedBatch, device: torch.device) -> Batch:
        seen.update(batch.keys.tolist())
        return move(batch, device)

    config = everything_on(folder, "apart")
    monkeypatch.setattr(PackedBatch, "to", noting)
    config = dataclasses.replace(config, held_out=HeldOutSection())
    train_to(config, 3)
    names = [f"{number:03d}.png" for number in range(12)]
    kept_out = {sample_key(name) for name in names if is_held_out(name, HELD_OUT_SHARE)}
    assert kept_out
    assert seen
    assert seen <= set(map(sample_key, names)) - kept_out


@pytest.mark.slow
def test_the_best_checkpoint_is_kept_and_every_row_of_one_says_how_good_it_is(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = everything_on(folder, "best")
    loop_section = dataclasses.replace(config.loop, checkpoint_every=1, keep_checkpoints=1)
    config = dataclasses.replace(config, loop=loop_section)

    added = iter((1000.0, 0.0, 1000.0, 2000.0))

    def rising(*args: Any, **more: Any) -> dict[str, float]:
        # After the second step, whatever the networks learn: that depends on the processor.
        losses = evaluate_losses(*args, **more)
        return losses | {"perceptual": losses["perceptual"] + next(added)}

    monkeypatch.setattr("kintsugi.train.validation.evaluate_losses", rising)
    train_to(config, 4)
    run = Run.of(config)
    rows = read_metrics(run.storage.join("metrics"))
    losses = {row["step"]: row["held_out/perceptual"] for row in rows}
    best = min(losses, key=lambda step: (losses[step], step))
    assert best == 2
    assert run.checkpoints.steps() == [best, 4]
    found = run.checkpoints.progress(4).best
    assert found is not None
    assert (found.step, found.loss) == (best, losses[best])

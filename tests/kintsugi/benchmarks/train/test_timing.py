"""What is timed is timed: the clock, rows of metrics, batches in memory, a stretch of steps."""

import dataclasses
import itertools
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kintsugi.benchmarks.train.plain import time_stretch
from kintsugi.benchmarks.train.timing import (
    NUM_BATCHES,
    WARM_UP_STEPS,
    Clock,
    Stretch,
    mean_step_seconds,
    memory_batches,
)
from kintsugi.data.batches import Batch, PackedBatch
from kintsugi.storage.storage import Storage
from tests.kintsugi.training_runs import debug_config, pack_photos

CPU = torch.device("cpu")


def batches_of(size: int, rank: int) -> Iterator[PackedBatch]:
    config = debug_config(Path("x"))
    return memory_batches(config.data, config.seed, size, rank)


@pytest.fixture
def ticks(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that stands where its only number says; two threads work all the time."""
    now = [0.0]
    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(time, "process_time", lambda: 2 * now[0])
    return now


def test_the_clock_times_what_comes_after_the_warm_up(ticks: list[float]) -> None:
    clock, batch = Clock(CPU, 4), next(batches_of(1, 0))

    def slow() -> Iterator[Batch]:
        while True:
            ticks[0] += 1
            yield batch

    handed = clock.watch(slow())
    for step in range(clock.max_steps):
        assert next(handed) is batch
        # Warming up takes long, and so does the step after the last that counts.
        ticks[0] += 2 if WARM_UP_STEPS <= step < WARM_UP_STEPS + 4 else 100
    timing = clock.timing()
    assert (timing.step_seconds, timing.processor_seconds) == (3, 6)


def test_rows_report_the_mean_of_the_steps_between_two_of_them() -> None:
    rows = [
        {"step": 2, "step_seconds": 50.0},
        {"step": 4, "step_seconds": 1.0},
        # Another at a checkpoint.
        {"step": 5, "step_seconds": 1.0},
        {"step": 6, "step_seconds": 7.0},
        {"step": 7, "step_seconds": 50.0},
    ]
    assert mean_step_seconds(rows, 2, 6) == (2 * 1 + 1 + 7) / 4


def test_batches_in_memory_come_again_and_have_holes() -> None:
    mine = list(itertools.islice(batches_of(2, 0), NUM_BATCHES + 1))
    theirs = next(batches_of(2, 1))
    assert mine[0].image.shape == (2, 128, 128, 3)
    assert all(0.01 < float(batch.mask.float().mean()) < 0.9 for batch in mine)
    assert mine[0] is mine[NUM_BATCHES]
    assert not any(torch.equal(theirs.image, batch.image) for batch in mine)
    again = next(batches_of(2, 0))
    assert all(
        torch.equal(one, other) for one, other in zip(again.parts(), mine[0].parts(), strict=True)
    )


@pytest.mark.slow
def test_a_stretch_gives_seconds_operations_and_a_checkpoint(tmp_path: Path) -> None:
    config = debug_config(tmp_path, batch_size=1)
    stretch = Stretch(
        "all", config.to_dict(), 1, count_flops=True, checkpoints=str(tmp_path / "kept")
    )
    timing = time_stretch(stretch, CPU)
    assert timing.step_seconds > 0
    cost = timing.checkpoint
    assert cost is not None
    assert cost.bytes == sum(Storage(tmp_path / "kept").sizes().values())
    assert min(cost.save_seconds, cost.publish_seconds, cost.restore_seconds) > 0
    # Twice as many photographs are twice the work, whatever the format.
    twice = dataclasses.replace(
        config,
        loop=dataclasses.replace(config.loop, batch_size=2),
        compute=dataclasses.replace(config.compute, precision="bfloat16", channels_last=True),
    )
    other = time_stretch(Stretch("twice", twice.to_dict(), 1, count_flops=True), CPU)
    assert other.flops == 2 * timing.flops > 1e9
    assert other.checkpoint is None


@pytest.mark.slow
def test_a_stretch_reads_the_shards(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, batch_size=1)
    assert time_stretch(Stretch("read", config.to_dict(), 1, "shards"), CPU).step_seconds > 0

"""The training benchmark from rounds to figures: plain loops here, in processes, and on Ray."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest

from kintsugi.benchmarks.train.timing import CheckpointCost, Stretch, Timing
from kintsugi.benchmarks.train.torchrun import run_plain
from kintsugi.benchmarks.train.train_benchmark import run_benchmark
from kintsugi.benchmarks.train.train_plan import TrainPlan
from kintsugi.benchmarks.train.train_report import format_report
from kintsugi.errors import KintsugiError
from kintsugi.storage.storage import Storage
from tests.kintsugi.training_runs import debug_config, pack_photos


@pytest.fixture
def turns(monkeypatch: pytest.MonkeyPatch) -> list[list[Stretch]]:
    """What was to be timed in which order, instead of it: the n-th stretch takes n seconds."""
    turns: list[list[Stretch]] = []

    def made_up(stretches: Sequence[Stretch]) -> list[Timing]:
        before = sum(len(turn) for turn in turns)
        turns.append(list(stretches))
        for stretch in stretches:
            if stretch.checkpoints:
                Storage(stretch.checkpoints).write("manifest.json", b"")
        return [
            Timing(
                step_seconds=before + number,
                flops=10**9 if stretch.count_flops else 0,
                checkpoint=CheckpointCost(2**20, 1, 2, 3) if stretch.checkpoints else None,
            )
            for number, stretch in enumerate(stretches, 1)
        ]

    monkeypatch.setattr("kintsugi.benchmarks.train.train_benchmark.run_plain", made_up)
    return turns


def test_rounds_turn_the_order_round_and_figures_find_each_other(
    tmp_path: Path, turns: list[list[Stretch]]
) -> None:
    config = debug_config(tmp_path, batch_size=2)
    reported: list[str] = []
    plan = TrainPlan(config, rounds=2, precisions=["bfloat16"], with_ray=False)
    figures = run_benchmark(plan, reported.append)
    first = ["memory", "bfloat16, channels first", "bfloat16, channels last"]
    assert [[stretch.name for stretch in turn] for turn in turns] == [
        first,
        ["memory", "shared"],
        ["shared", "memory"],
        first[::-1],
    ]
    assert [turn[0].config["workers"]["count"] for turn in turns] == [1, 2, 2, 1]
    assert reported[1] == "plain, workers 1, bfloat16, channels first: 2.000 s per step"
    found = {(row["workers"], row["batch_size"]): row["plain"] for row in figures["step_times"]}
    assert found == {(1, 2): [1, 10], (2, 2): [4, 7], (2, 1): [5, 6]}
    last = figures["variants"][1]
    assert (last["precision"], last["channels_last"], last["seconds"]) == ("bfloat16", True, [3, 8])
    assert last["flops"] == 10**9
    assert turns[0][2].parsed().compute.precision == "bfloat16"
    assert len(figures["checkpoint"]["costs"]) == 2
    # Nothing of it stays.
    assert Storage(tmp_path / "runs").list() == []


def test_the_runs_own_format_is_measured_once(tmp_path: Path, turns: list[list[Stretch]]) -> None:
    config = debug_config(tmp_path)
    figures = run_benchmark(
        TrainPlan(config, rounds=1, workers=[1], precisions=["float32"], with_ray=False)
    )
    assert [stretch.name for stretch in turns[0]] == ["memory", "float32, channels last"]
    assert [row["seconds"] for row in figures["variants"]] == [[1], [2]]


@pytest.mark.slow
def test_two_processes_of_torchrun_train_together(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, batch_size=1)
    config = dataclasses.replace(config, workers=dataclasses.replace(config.workers, count=2))
    settings = config.to_dict()
    stretches = [
        Stretch("memory", settings, 1, count_flops=True, checkpoints=str(tmp_path / "kept")),
        Stretch("shards", settings, 1, "shards"),
    ]
    memory, shards = run_plain(stretches)
    assert min(memory.step_seconds, shards.step_seconds) > 0
    assert memory.checkpoint is not None
    assert memory.flops > 1e9
    assert shards.flops == 0


@pytest.mark.slow
def test_a_plain_loop_that_fails_says_why(tmp_path: Path) -> None:
    config = debug_config(tmp_path, batch_size=1)
    with pytest.raises(KintsugiError, match=r"no shards at .*kintsugi shards"):
        run_plain([Stretch("shards", config.to_dict(), 1, "shards")])


@pytest.mark.slow
@pytest.mark.ray
@pytest.mark.timeout(600)
def test_the_platform_next_to_the_plain_loop(local_ray: object, tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, batch_size=1, checkpoint_every=500)
    figures = run_benchmark(
        TrainPlan(config, steps=2, rounds=1, workers=[2], precisions=["float32"])
    )
    rows = figures["step_times"]
    assert [(row["workers"], row["batches"]) for row in rows] == [(2, "memory"), (2, "shards")]
    assert all(len(row["platform"]) == len(row["plain"]) == 1 for row in rows)
    checkpoint = figures["checkpoint"]
    assert (checkpoint["configured_interval"], checkpoint["measured_interval"]) == (500, 2)
    assert len(checkpoint["with"]) == len(checkpoint["without"]) == 1
    assert "ratio at every 500 steps" in format_report(figures)
    assert Storage(tmp_path / "runs").list() == []

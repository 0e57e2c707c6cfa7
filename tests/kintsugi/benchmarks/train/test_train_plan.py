"""What is measured where: sizes, threads, intervals, and what is refused."""

import dataclasses
import os
from pathlib import Path
from typing import Any

import pytest

from kintsugi.benchmarks.train.timing import WARM_UP_STEPS
from kintsugi.benchmarks.train.train_plan import NumberFormat, TrainPlan, check_plan, quick_config
from kintsugi.errors import ConfigError
from tests.kintsugi.training_runs import debug_config


def plan(batch_size: int = 4, **settings: Any) -> TrainPlan:
    return TrainPlan(debug_config(Path("x"), batch_size=batch_size), **settings)


def test_threads_are_no_more_than_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 4)
    config = plan().config
    wide = dataclasses.replace(config, workers=dataclasses.replace(config.workers, threads=3))
    assert [TrainPlan(wide).threads(workers) for workers in (1, 2, 3, 8)] == [3, 2, 1, 1]
    assert plan().threads(1) == 1


def test_photographs_are_shared_out_where_they_can_be() -> None:
    assert [plan(4).shared_size(workers) for workers in (1, 2, 3, 4, 8)] == [0, 2, 0, 1, 0]
    assert plan(4, workers=(2, 4)).shared_size(4) == 2
    assert plan(4, workers=(2, 1)).shared_size(1) == 0
    assert TrainPlan(debug_config(Path("x"), batch_size=4, accumulate=4)).shared_size(2) == 0


def test_the_configured_interval_is_measured_where_it_fits() -> None:
    config = debug_config(Path("x"), checkpoint_every=5)
    assert [TrainPlan(config, steps=steps).interval for steps in (2, 5, 20)] == [2, 5, 5]


def test_a_run_is_quick_and_computes_as_after_its_schedules() -> None:
    config = debug_config(Path("x"), "stage2")
    translate = dataclasses.replace(config.translate, truth_steps=99, ramp_steps=9)
    config = dataclasses.replace(config, init_from="elsewhere", translate=translate)
    quick = quick_config(TrainPlan(config, steps=5), "/there", workers=3)
    assert (quick.storage, quick.init_from, quick.workers.count) == ("/there", "", 3)
    assert quick.loop.max_steps == quick.loop.checkpoint_every == WARM_UP_STEPS + 6
    assert (quick.translate.truth_steps, quick.translate.ramp_steps) == (0, 0)
    kept = ("model", "data", "losses", "optimizer", "compute", "encoder", "seed")
    assert all(getattr(quick, name) == getattr(config, name) for name in kept)


def test_formats_are_those_that_pay_here_or_were_asked_for() -> None:
    assert check_plan(plan()) == [
        NumberFormat(precision, layout)
        for precision in ("float32", "bfloat16")
        for layout in (False, True)
    ]
    assert check_plan(plan(precisions=["bfloat16"]))[1] == NumberFormat("bfloat16", True)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"steps": 0}, "--steps 0: at least 1"),
        ({"rounds": 0}, "--rounds 0: at least 1"),
        ({"workers": ()}, "--workers"),
        ({"workers": (0, 1)}, "--workers"),
        ({"precisions": ["int8"]}, "--precisions int8: choose of bfloat16, float32"),
        ({"precisions": ["float16"]}, "on a GPU"),
    ],
)
def test_what_cannot_be_measured_is_refused(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        check_plan(plan(**settings))


def test_missing_gpus_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.device_count", lambda: 1)
    config = plan().config
    on_gpu = dataclasses.replace(config, workers=dataclasses.replace(config.workers, use_gpu=True))
    assert NumberFormat("float16", False) in check_plan(TrainPlan(on_gpu, workers=(1,)))
    with pytest.raises(ConfigError, match=r"--workers 2 .* sees 1 here"):
        check_plan(TrainPlan(on_gpu))

"""Failures count while a run makes no progress; a fake trainer stands for a cluster's faults."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import ray
import ray.train

from kintsugi.errors import Diverged, KintsugiError
from kintsugi.runs.checkpoints import CheckpointStore
from kintsugi.runs.run import Run
from kintsugi.train import ray_trainer
from tests.kintsugi.training_runs import debug_config


class Attempts:
    """Each attempt leaves a newest checkpoint and ends by an error or with its last step."""

    def __init__(self, *ends: tuple[int, Exception | int | KintsugiError]) -> None:
        self.ends: Iterator[tuple[int, Any]] = iter(ends)
        self.newest = 0
        self.count = 0

    def __call__(self, *_: Any) -> "Attempts":
        return self

    def fit(self) -> "Attempts":
        self.count += 1
        self.newest, end = next(self.ends)
        if isinstance(end, Exception) and not isinstance(end, KintsugiError):
            raise end
        self.return_value = end
        return self


def worker_died() -> Exception:
    return ray.train.WorkerGroupError("a worker died", {0: RuntimeError("killed")})


def controller_died() -> Exception:
    return ray.exceptions.RayActorError()


@pytest.fixture
def train(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[Attempts], int]:
    config = debug_config(tmp_path)

    def run(attempts: Attempts) -> int:
        monkeypatch.setattr(ray_trainer, "_trainer", attempts)
        monkeypatch.setattr(CheckpointStore, "newest", lambda self: attempts.newest)
        return ray_trainer._train(config, Run.of(config), {})

    return run


def test_a_month_of_failures_ends_no_run_that_goes_on(train: Callable[[Attempts], int]) -> None:
    ends = [(step, worker_died()) for step in range(10, 300, 10)]
    attempts = Attempts(*ends, (300, 300))
    assert train(attempts) == 300
    assert attempts.count == len(ends) + 1


@pytest.mark.parametrize("first", [0, 50])
def test_without_a_checkpoint_in_between_it_ends(
    train: Callable[[Attempts], int], first: int
) -> None:
    ends = [(50, worker_died())] if first else []
    attempts = Attempts(*ends, (first, worker_died()))
    with pytest.raises(Exception, match="worker died"):
        train(attempts)
    assert attempts.count == len(ends) + 1


def test_a_controller_is_started_again_so_often_in_a_row(
    train: Callable[[Attempts], int],
) -> None:
    attempts = Attempts(*[(0, controller_died())] * 3, (40, controller_died()), (90, 90))
    assert train(attempts) == 90
    attempts = Attempts(*[(0, controller_died())] * 9)
    with pytest.raises(KintsugiError, match="controller of the run died"):
        train(attempts)
    assert attempts.count == debug_config(Path("x")).workers.max_failures + 1


def test_what_would_fail_again_is_raised_at_once(train: Callable[[Attempts], int]) -> None:
    attempts = Attempts((70, Diverged("the loss is nan")))
    with pytest.raises(Diverged):
        train(attempts)
    assert attempts.count == 1

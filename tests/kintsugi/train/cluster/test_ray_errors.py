"""A failed run is one line to a person: the cause, how often, and where it stands."""

import dataclasses
from pathlib import Path

import ray.exceptions
from ray.train import ControllerError, WorkerGroupError
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupTimeoutError,
    WorkerHealthCheckFailedError,
    WorkerHealthCheckTimeoutError,
)

from kintsugi.config.run_config import JobConfig
from kintsugi.errors import ConfigError, KintsugiError, StorageError
from kintsugi.runs.checkpoints import CheckpointStore
from kintsugi.storage.checksums import MANIFEST_NAME
from kintsugi.storage.storage import Storage
from kintsugi.train.cluster.ray_errors import describe_failure
from tests.kintsugi.training_runs import debug_config


def described(error: BaseException, folder: Path, *, step: int = 7) -> BaseException:
    config: JobConfig = debug_config(folder)
    config = dataclasses.replace(
        config, workers=dataclasses.replace(config.workers, max_failures=2, wait_s=60)
    )
    checkpoints = CheckpointStore(Storage(folder / "checkpoints"))
    if step:
        checkpoints.storage.write(f"step-{step:08d}/{MANIFEST_NAME}", b"{}")
    return describe_failure(error, config.workers, checkpoints)


def test_an_error_of_our_own_is_found_behind_others(tmp_path: Path) -> None:
    ours = StorageError("shard a.parquet has SHA-256 1, expected 2")
    task = ray.exceptions.RayTaskError("decode", "Traceback:\nlong", ours)
    wrapped = RuntimeError("a task failed")
    wrapped.__cause__ = task.as_instanceof_cause()
    gone = WorkerHealthCheckFailedError("x", RuntimeError("died"))
    error = described(WorkerGroupError("...", {0: gone, 1: wrapped}), tmp_path)
    assert type(error) is KintsugiError
    assert str(error) == (
        "the run ended after 3 failures (workers.max_failures=2): shard a.parquet has SHA-256 1,"
        f" expected 2; its newest checkpoint is step 7 in {tmp_path}/checkpoints: submit it again"
        " to go on from there"
    )


def test_a_configuration_that_is_wrong_stays_so(tmp_path: Path) -> None:
    ours = ConfigError("lower loop.batch_size")
    assert described(WorkerGroupError("...", {0: ours}), tmp_path) is ours


def test_the_dead_worker_is_to_blame_and_not_those_it_left(tmp_path: Path) -> None:
    failures = {
        0: RuntimeError("Connection closed by peer"),
        1: WorkerHealthCheckFailedError("x", RuntimeError("The actor died")),
    }
    error = described(WorkerGroupError("...", failures), tmp_path, step=0)
    assert "worker 1 died" in str(error)
    assert "it has no checkpoint yet" in str(error)
    hung = WorkerGroupError("...", {1: WorkerHealthCheckTimeoutError("40 s")})
    assert "worker 1 no longer answered" in str(described(hung, tmp_path))


def test_what_happens_to_the_controller(tmp_path: Path) -> None:
    full = ControllerError(OSError("no space left"))
    assert "the run ended before its last step: storage failed: no space left" in str(
        described(full, tmp_path)
    )
    waited = ControllerError(WorkerGroupStartupTimeoutError(2))
    assert "missing for workers.wait_s=60 s" in str(described(waited, tmp_path))
    died = ray.exceptions.ActorDiedError()
    assert "the controller of the run died each time" in str(described(died, tmp_path))


def test_a_bug_keeps_its_trace(tmp_path: Path) -> None:
    bug = WorkerGroupError("...", {0: ZeroDivisionError("division by zero")})
    error = described(bug, tmp_path)
    assert error is bug
    assert "step 7" in error.__notes__[0]

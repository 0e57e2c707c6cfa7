"""Processes of a run are killed or stopped: it recovers by itself, to the bit."""

import re
import signal
import time
from collections.abc import Callable
from pathlib import Path

from tests.faults.conftest import FAULTS, OneNode
from tests.faults.training_jobs import NUM_STEPS, PATIENCE_S, Job, gone, kill, processes, submit

pytestmark = FAULTS

Losses = list[tuple[float, ...]]
Note = Callable[[str, float], None]


def workers_of(node: OneNode) -> list[int]:
    found = processes("RayTrainWorker", node.raylet)
    assert len(found) == 2, "two workers were to run"
    return found


def resumed(job: Job, since: float) -> tuple[int, float]:
    """The step that a run goes on from, and the seconds until then."""
    step = int(job.wait_for_words(r"resuming at step (\d+)")[1])
    return step, time.monotonic() - since


def test_a_worker_killed_in_the_middle_of_a_step(
    one_node: OneNode, folder: Path, whole: Losses, took: Note
) -> None:
    job = submit(one_node.address, folder, "f1")
    job.wait_for_step(8)
    time.sleep(0.2)
    victim = workers_of(one_node)[-1]
    since = kill(victim)
    step, seconds = resumed(job, since)
    assert gone(victim)
    took("F1 a worker killed in the middle of a step", seconds)
    assert 8 <= step < NUM_STEPS
    assert job.losses() == whole


def test_a_worker_killed_right_after_its_checkpoint(
    one_node: OneNode, folder: Path, whole: Losses, took: Note
) -> None:
    job = submit(one_node.address, folder, "f2")
    job.wait_for_step(8)
    victim = workers_of(one_node)[0]
    since = kill(victim)
    step, seconds = resumed(job, since)
    assert gone(victim)
    took("F2 a worker killed right after a checkpoint", seconds)
    # The one that was just written is not lost.
    assert step >= 8
    assert job.losses() == whole


def test_all_workers_killed_at_once(
    one_node: OneNode, folder: Path, whole: Losses, took: Note
) -> None:
    job = submit(one_node.address, folder, "f3")
    job.wait_for_step(8)
    victims = workers_of(one_node)
    since = kill(*victims)
    step, seconds = resumed(job, since)
    assert all(gone(victim) for victim in victims)
    took("F3 all workers killed at once", seconds)
    assert step >= 8
    assert job.losses() == whole


def test_a_worker_that_hangs(one_node: OneNode, folder: Path, whole: Losses, took: Note) -> None:
    # Below Ray's own limit, so that it is said who is waited for before anything is ended.
    job = submit(one_node.address, folder, "f6", workers__timeout_s=44)
    job.wait_for_step(8)
    victim = workers_of(one_node)[-1]
    since = kill(victim, number=signal.SIGSTOP)
    # While it is stopped nothing else ends it: the run has noticed.
    while not gone(victim):
        assert time.monotonic() - since < PATIENCE_S, job.log.read_text()
        time.sleep(0.1)
    noticed = time.monotonic() - since
    said = job.wait_for_words(r"rank (\d) has not arrived and writes nothing: it is stopped")
    other = job.run.read(f"stacks/rank-000{1 - int(said[1])}.txt").decode()
    assert "train/step.py" in other, "where the other one waited"
    step, seconds = resumed(job, since)
    took("F6 a worker that hangs: noticed", noticed)
    took("F6 a worker that hangs: training again", seconds)
    assert step >= 8
    assert job.losses() == whole


def test_the_controller_killed(one_node: OneNode, folder: Path, whole: Losses, took: Note) -> None:
    job = submit(one_node.address, folder, "f5-controller")
    job.wait_for_step(8)
    (victim,) = processes("TrainController", one_node.raylet)
    since = kill(victim)
    step, seconds = resumed(job, since)
    assert gone(victim)
    took("F5 the controller killed", seconds)
    assert step >= 8
    assert job.losses() == whole


def test_the_driver_killed_and_the_job_submitted_again(
    one_node: OneNode, folder: Path, whole: Losses, took: Note
) -> None:
    job = submit(one_node.address, folder, "f5-driver")
    job.wait_for_step(8)
    since = kill(job.process.pid)
    assert job.process.wait(10) == -signal.SIGKILL
    again = submit(one_node.address, folder, "f5-driver")
    step, seconds = resumed(again, since)
    took("F5 the driver killed, submitted again at once", seconds)
    assert step >= 8
    assert again.losses() == whole


def test_sigterm_saves_the_run(one_node: OneNode, folder: Path, whole: Losses, took: Note) -> None:
    job = submit(one_node.address, folder, "f23")
    job.wait_for_step(8)
    began, since = time.time(), kill(job.process.pid, number=signal.SIGTERM)
    assert job.process.wait(120) == 143, job.log.read_text()
    took("F23 SIGTERM: the job has ended", time.monotonic() - since)
    step = int(job.wait_for_words(r"stopped at step (\d+)")[1])
    seconds = job.written(step) - began
    took("F23 SIGTERM: checkpoint written", seconds)
    assert job.checkpoints.newest_whole() == step
    assert 8 <= step < NUM_STEPS
    again = submit(one_node.address, folder, "f23")
    assert resumed(again, since)[0] == step
    assert again.losses() == whole


def test_a_run_that_does_not_fit_is_refused(one_node: OneNode, folder: Path, took: Note) -> None:
    began = time.monotonic()
    job = submit(one_node.address, folder, "f20", workers__count=3)
    assert job.process.wait(60) == 2, job.log.read_text()
    took("F20 refused, of which nearly all is starting Python and Ray", time.monotonic() - began)
    assert (
        "3 x (workers.cpus=0.5 + data.tasks=1 x data.task_cpus=0.5 for reading) = 3 logical CPUs,"
        in job.log.read_text()
    )


def test_failing_too_often_ends_in_one_line(one_node: OneNode, folder: Path) -> None:
    job = submit(one_node.address, folder, "too-often", workers__max_failures=0)
    job.wait_for_step(4)
    kill(workers_of(one_node)[-1])
    assert job.process.wait(120) == 1
    said = job.log.read_text()
    assert re.search(
        r"^error: the run ended after 1 failure \(workers\.max_failures=0\): worker \d died; .*"
        rf"its newest checkpoint is step \d+ in {re.escape(job.checkpoints.storage.uri)}: submit it"
        " again to go on from there$",
        said,
        re.MULTILINE,
    )

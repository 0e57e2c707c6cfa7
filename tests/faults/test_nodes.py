"""A node of a cluster is lost: the run moves to a spare one, or goes on with fewer workers."""

import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.faults.conftest import FAULTS, raylet_of, with_dashboard
from tests.faults.training_jobs import NUM_STEPS, Job, kill, processes, submit

pytestmark = FAULTS

Note = Callable[[str, float], None]


@pytest.fixture
def cluster(node_settings: None) -> Iterator[Any]:
    """The driver's node, which has no CPUs, and two nodes with room for one worker each."""
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=with_dashboard(num_cpus=0))
    for _ in range(2):
        cluster.add_node(num_cpus=1)
    yield cluster
    cluster.shutdown()


def lose_a_node(cluster: Any) -> float:
    """Kill the raylet of a node on which a worker runs, and the worker. Returns when."""
    for node in cluster.worker_nodes:
        raylet = raylet_of(node)
        found = processes("RayTrainWorker", raylet)
        if found:
            since = kill(raylet, *found)
            (process,) = node.all_processes["raylet"]
            assert process.process.wait(10) == -signal.SIGKILL
            return since
    raise AssertionError("no node has a worker")


def resumed(job: Job, since: float) -> tuple[int, float]:
    step = int(job.wait_for_words(r"resuming at step (\d+)")[1])
    return step, time.monotonic() - since


def test_a_lost_node_is_replaced_by_a_spare_one(
    cluster: Any, folder: Path, whole: list[tuple[float, ...]], took: Note
) -> None:
    cluster.add_node(num_cpus=1)
    job = submit(cluster.address, folder, "f4-spare")
    job.wait_for_step(8)
    step, seconds = resumed(job, lose_a_node(cluster))
    took("F4 a node lost, a spare one there", seconds)
    assert 8 <= step < NUM_STEPS
    assert job.losses() == whole


def test_an_elastic_run_goes_on_with_fewer_workers(cluster: Any, folder: Path, took: Note) -> None:
    job = submit(cluster.address, folder, "f4-elastic", workers__min_count=1)
    job.wait_for_step(8)
    step, seconds = resumed(job, lose_a_node(cluster))
    took("F4 a node lost, going on with one worker of two", seconds)
    assert len(job.losses()) == NUM_STEPS
    # Two photographs a worker and step; 12 an epoch, none of them left out or used twice.
    position = job.state(NUM_STEPS)["position"]
    in_epoch = sum(part["workers"] * part["steps"] * 2 for part in position["used"])
    assert position["epoch"] * 12 + in_epoch == 4 * step + 2 * (NUM_STEPS - step)

"""A machine of the service is lost: with another one there no request fails; without one a quick
503 names the node that is gone, until it is back."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from kintsugi.deploy.client import Client
from tests.faults.conftest import FAULTS, Note, raylet_of, with_dashboard
from tests.faults.serving import NODES, Service, ask, load, make_releases, service_config
from tests.faults.training_jobs import gone, kill, processes

pytestmark = FAULTS

LOST = "PatchSwap"
# Of the machines that may hold it.
THERE = "core"
LOSSES = int(os.environ.get("KINTSUGI_FAULTS_LOSSES", "2"))


@contextmanager
def running(folder: Path, machines: int, *, on_them: tuple[str, ...]) -> Iterator[Any]:
    """A cluster of a head and machines that each hold one replica of some deployments.

    Yields: The cluster, and the service on it.
    """
    import ray
    from ray import serve
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=with_dashboard(num_cpus=2))
    try:
        for _ in range(machines):
            add_machine(cluster)
        made, cases = make_releases(folder)
        ray.init(cluster.address, log_to_driver=False)
        config = service_config()
        for deployment in config["applications"][0]["deployments"]:
            if deployment["name"] in on_them:
                deployment["ray_actor_options"]["resources"] = {THERE: 0.1}
                deployment |= {"num_replicas": machines, "max_replicas_per_node": 1}
        url = f"http://127.0.0.1:{config['http_options']['port']}"
        service = Service(raylet_of(cluster.head_node), url, cases, config, list(made.items()))
        service.deploy(service.releases[0][1])
        service.wait_until_ready()
        yield cluster, service
    finally:
        if ray.is_initialized():
            serve.shutdown()
            ray.shutdown()
        cluster.shutdown()


def add_machine(cluster: Any) -> Any:
    return cluster.add_node(num_cpus=1, resources={THERE: 1.0})


def lose_machine(service: Service, machine: Any) -> None:
    """Its raylet and every replica on it are killed at once, as when its power goes."""
    raylet = raylet_of(machine)
    replicas = processes("ServeReplica:kintsugi:", raylet)
    assert replicas
    kill(raylet, *replicas)
    service.wait_until(lambda: all(gone(pid) for pid in replicas), "killed")


@pytest.fixture
def settings(node_settings: None) -> None:
    """Before the first process of a cluster."""


def test_a_node_that_is_gone_is_named_at_once(settings: None, tmp_path: Path) -> None:
    with running(tmp_path, 1, on_them=(LOST,)) as (cluster, service):
        client = Client(service.url, max_retries=0, timeout_seconds=300)
        assert ask(client, service.cases[0]).right
        (machine,) = cluster.worker_nodes
        lose_machine(service, machine)
        # A request that comes now waits, as for a replica that is replaced; then its answer says
        # what is wrong, and none is left to its deadline.
        first = ask(client, service.cases[0])
        assert (first.status, first.code) == (503, "node_gone")
        again = [ask(client, case) for case in 5 * service.cases]
        assert {(one.status, one.code) for one in again} == {(503, "node_gone")}
        assert client.ready()[LOST] is False
        assert service.deployment_states(LOST).get("RUNNING", 0) == 0
        add_machine(cluster)
        service.wait_until_ready()
        # Ready means that requests are taken.
        assert [ask(client, case).code for case in service.cases] == [""] * len(service.cases)


def test_one_machine_of_two_is_lost_again_and_again(
    settings: None, tmp_path: Path, took: Note
) -> None:
    """Requests go on at the other one; those that were in the middle are computed again there."""
    with running(tmp_path, 2, on_them=NODES) as (cluster, service):
        machines = sorted(cluster.worker_nodes, key=raylet_of)
        with load(service) as clients:
            for _ in range(LOSSES):
                lose_machine(service, machines.pop(0))
                clients.more(10)
                machines.append(add_machine(cluster))
                took("V19 a machine of two replaced", service.wait_until(service.is_whole, "whole"))
                clients.more(10)
        assert clients.failures() == []
        print(f"{len(clients.outcomes)} requests")

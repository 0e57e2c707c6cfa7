"""The only node that can hold a part of the graph is gone: a quick 503 with a reason, until it is
back."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from kintsugi.deploy.client import Client
from tests.faults.conftest import FAULTS, raylet_of, with_dashboard
from tests.faults.serving import Service, ask, make_releases, service_config
from tests.faults.training_jobs import gone, kill, processes

pytestmark = FAULTS

LOST = "PatchSwap"
# Of nodes that may hold it.
ONLY_THERE = {"match": 1.0}


@pytest.fixture
def cluster(node_settings: None) -> Iterator[Any]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=with_dashboard(num_cpus=2))
    cluster.add_node(num_cpus=1, resources=ONLY_THERE)
    yield cluster
    cluster.shutdown()


@pytest.fixture
def service(cluster: Any, tmp_path: Path) -> Iterator[Service]:
    import ray
    from ray import serve

    made, cases = make_releases(tmp_path)
    ray.init(cluster.address, log_to_driver=False)
    config = service_config()
    for deployment in config["applications"][0]["deployments"]:
        if deployment["name"] == LOST:
            deployment["ray_actor_options"]["resources"] = {"match": 0.1}
    url = f"http://127.0.0.1:{config['http_options']['port']}"
    service = Service(raylet_of(cluster.head_node), url, cases, config, list(made.items()))
    service.deploy(service.releases[0][1])
    service.wait_until_ready()
    yield service
    serve.shutdown()
    ray.shutdown()


def test_a_node_that_is_gone_is_named_at_once(cluster: Any, service: Service) -> None:
    client = Client(service.url, max_retries=0, timeout_seconds=300)
    assert ask(client, service.cases[0]).right
    (node,) = cluster.worker_nodes
    raylet = raylet_of(node)
    replicas = processes(f"ServeReplica:kintsugi:{LOST}", raylet)
    assert len(replicas) == 1
    kill(raylet, *replicas)
    service.wait_until(lambda: all(gone(pid) for pid in replicas), "killed")
    # Whoever asks now waits, as for a replica that is replaced; then hears what is wrong. None is
    # left to its deadline.
    first = ask(client, service.cases[0])
    assert (first.status, first.code) == (503, "node_gone")
    again = [ask(client, case) for case in 5 * service.cases]
    assert {(one.status, one.code) for one in again} == {(503, "node_gone")}
    # Nobody waits for it any more: fifteen take less than the first.
    assert client.ready()[LOST] is False
    assert service.deployment_states(LOST).get("RUNNING", 0) == 0
    cluster.add_node(num_cpus=1, resources=ONLY_THERE)
    service.wait_until_ready()
    assert all(ask(client, case).right for case in service.cases)

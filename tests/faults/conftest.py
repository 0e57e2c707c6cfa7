"""A cluster of one node with two CPUs, an uninterrupted run and the service on it, and a list of
what took how long; set KINTSUGI_FAULTS_JSON to a file to which the list is added."""

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from kintsugi.servers.processes import free_ports
from tests.faults.serving import Service, make_releases, service_config
from tests.faults.training_jobs import NUM_STEPS, ROOT, end_jobs, submit
from tests.kintsugi.training_runs import pack_photos

FAULTS = [
    pytest.mark.ray,
    pytest.mark.faults,
    pytest.mark.timeout(600),
    # ray.cluster_utils 2.60 looks for a free port and leaves the socket to the collector.
    pytest.mark.filterwarnings(
        r"ignore:Exception ignored in. <socket\.socket:pytest.PytestUnraisableExceptionWarning"
    ),
]
Note = Callable[[str, float], None]
_TOOK: list[tuple[str, float]] = []


@dataclass(frozen=True)
class OneNode:
    """A running cluster: where it is reached and the process of its only raylet."""

    address: str
    raylet: int


def raylet_of(node: Any) -> int:
    """The process of a node of `ray.cluster_utils`."""
    (found,) = node.all_processes["raylet"]
    pid: int = found.process.pid
    return pid


def with_dashboard(**arguments: Any) -> dict[str, Any]:
    """Arguments of a head node; Ray frees through its dashboard what a dead controller held."""
    return {"include_dashboard": True, "dashboard_port": free_ports(1)[0], **arguments}


@pytest.fixture(scope="session")
def node_settings() -> Iterator[None]:
    """What all nodes of a test's clusters are started with."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT / "platform"))
        patch.setenv("RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", "0")
        # As the image has them.
        patch.setenv("RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S", "0.5")
        patch.setenv("RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S", "15")
        yield


@pytest.fixture(scope="session")
def one_node(node_settings: None) -> Iterator[OneNode]:
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args=with_dashboard(num_cpus=2))
    yield OneNode(cluster.address, raylet_of(cluster.head_node))
    cluster.shutdown()


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where shards and runs of all tests are; each run has a name of its own."""
    shared = tmp_path_factory.mktemp("faults")
    pack_photos(shared)
    return shared


@pytest.fixture(scope="session")
def whole(one_node: OneNode, folder: Path) -> list[tuple[float, ...]]:
    """The losses of two workers that nothing happened to."""
    found = submit(one_node.address, folder, "whole").losses()
    assert len(found) == NUM_STEPS
    return found


@pytest.fixture(autouse=True)
def no_job_left() -> Iterator[None]:
    yield
    end_jobs()


@pytest.fixture
def took() -> Note:
    """Note how many seconds a recovery took."""

    def note(what: str, seconds: float) -> None:
        _TOOK.append((what, seconds))
        print(f"{what}: {seconds:.1f} s")

    return note


def pytest_terminal_summary(terminalreporter: Any) -> None:
    if not _TOOK:
        return
    terminalreporter.section("seconds from fault to recovery")
    for what, seconds in _TOOK:
        terminalreporter.line(f"{seconds:6.1f}  {what}")
    if "KINTSUGI_FAULTS_JSON" in os.environ:
        with Path(os.environ["KINTSUGI_FAULTS_JSON"]).open("a") as file:
            file.writelines(json.dumps({"fault": w, "seconds": s}) + "\n" for w, s in _TOOK)


@pytest.fixture(scope="module")
def started(one_node: OneNode, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    import ray
    from ray import serve

    folder = tmp_path_factory.mktemp("releases")
    made, cases = make_releases(folder)
    ray.init(one_node.address, log_to_driver=False)
    config = service_config()
    url = f"http://127.0.0.1:{config['http_options']['port']}"
    service = Service(one_node.raylet, url, cases, config, list(made.items()))
    service.deploy(service.releases[0][1])
    yield service
    serve.shutdown()
    ray.shutdown()


@pytest.fixture
def service(started: Service) -> Service:
    started.wait_until_ready()
    return started

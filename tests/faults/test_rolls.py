"""Releases roll under load where no node has room for a second replica of those that compute.

By `user_config` nothing restarts, and no request fails. By `args` each replica is stopped before
its successor starts: a quick 503 says so, and who comes again is answered.
"""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
import yaml

from kintsugi.models.weights import WEIGHTS_NAME
from tests.faults.conftest import FAULTS, Note
from tests.faults.serving import NODES, Service, load
from tests.faults.training_jobs import ROOT, processes

pytestmark = FAULTS

ROLLS = int(os.environ.get("KINTSUGI_FAULTS_ROLLS", "2"))
# A node with GPUs takes most of a minute to start, and a client is asked to come again in 5 s.
PATIENT = 100


@pytest.fixture
def service(service: Service) -> Service:
    """One replica of each node, with the room for a roll that production has."""
    production = yaml.safe_load((ROOT / "k8s" / "values" / "production.yaml").read_text())
    for deployment in service.config["applications"][0]["deployments"]:
        node = production["serving"]["nodes"][deployment["name"]]
        deployment["max_surge_percent"] = node["surge"]
    assert {deployment_of(service, node)["max_surge_percent"] for node in NODES} == {0, 25}
    return service


def deployment_of(service: Service, name: str) -> dict[str, Any]:
    (found,) = [
        each for each in service.config["applications"][0]["deployments"] if each["name"] == name
    ]
    return found


def change_in_place(service: Service, release: str) -> None:
    """As `serve deploy` with another `user_config` and the same `args`."""
    deployment_of(service, "Refiner")["user_config"] = {"release": release}
    service.deploy(service.config["applications"][0]["args"]["release"])


def replicas(service: Service) -> dict[str, list[int]]:
    """Processes of each deployment."""
    return {
        name: sorted(processes(f"ServeReplica:kintsugi:{name}", service.raylet))
        for name in (*NODES, "Ingress")
    }


def test_a_release_in_place_restarts_nothing_and_fails_nothing(
    service: Service, took: Note
) -> None:
    before = replicas(service)
    with load(service) as clients:
        for n in range(ROLLS):
            version, folder = service.releases[(n + 1) % 2]
            change_in_place(service, folder)
            took(
                "V20 another release in place",
                service.wait_until(lambda v=version: service.version() == v, version),
            )
            clients.more(10)
    assert clients.failures() == []
    assert clients.versions() == {version for version, _ in service.releases}
    assert replicas(service) == before


def test_a_release_in_place_that_is_none_changes_nothing(
    service: Service, took: Note, tmp_path: Path
) -> None:
    change_in_place(service, service.releases[0][1])
    service.wait_until(lambda: service.version() == service.releases[0][0], "the first")
    shutil.copytree(service.releases[1][1], tmp_path / "cut")
    weights = tmp_path / "cut" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1])
    before = replicas(service)
    with load(service) as clients:
        for broken in ("missing", "cut"):
            change_in_place(service, str(tmp_path / broken))
            clients.more(20)
            service.wait_until(lambda: service.status() == "RUNNING", "RUNNING")
    assert clients.failures() == []
    assert clients.versions() == {service.releases[0][0]}
    assert replicas(service) == before


def test_a_release_by_restart_is_said_at_once_and_who_comes_again_is_answered(
    service: Service, took: Note
) -> None:
    deployment_of(service, "Refiner").pop("user_config", None)
    before = replicas(service)
    with load(service) as hasty, load(service, max_retries=PATIENT) as patient:
        for n in range(ROLLS):
            version, folder = service.releases[(n + 1) % 2]
            took("V21 another release by restart", service.roll_out(version, folder))
            hasty.more(10)
            patient.more(10)
    assert patient.failures() == []
    assert patient.versions() == {version for version, _ in service.releases}
    # Nobody waits for the deadline, and nothing else goes wrong.
    assert {(one.status, one.code) for one in hasty.failures()} <= {(503, "node_gone")}
    print(f"{len(hasty.failures())} of {len(hasty.outcomes)} requests were asked to come again")
    after = replicas(service)
    assert all(set(after[name]).isdisjoint(before[name]) for name in before)

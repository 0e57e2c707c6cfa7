"""Jobs that outlive their service, are shared by two, take too long or fail every time."""

import json
import threading
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.api import build_api
from kintsugi.deploy.async_jobs.records import Claim, JobRecord, digests, fresh_id
from kintsugi.deploy.async_jobs.store import JobStore
from kintsugi.deploy.engine import Filled
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.inpainter import Inpainter
from tests.deploy.async_jobs.conftest import (
    FILES,
    LEASE_SECONDS,
    HeldEngine,
    submit,
    wait_for,
    wait_until,
)
from tests.deploy.conftest import decode, let_time_pass, problem

# Jobs are taken up within a second or so, and a service is started again.
pytestmark = pytest.mark.slow

Start = Callable[..., TestClient]
DEAD = "d" * 32


def leave_behind(folder: Path | str, count: int = 1, *, starts: int = 0) -> list[str]:
    """Jobs of a service that was killed while it ran them."""
    store = JobStore(str(folder), ttl_seconds=60)
    store.heartbeat(DEAD)
    ids = []
    for _ in range(count):
        record = JobRecord(
            id=fresh_id(),
            kind="inpaint",
            options={},
            files=digests(FILES),
            key_name="",
            request_id="r-1",
            created=time.time(),
        )
        store.create(record, FILES, DEAD)
        store.claim(record.id, Claim(owner=DEAD, starts=starts, started=time.time()))
        ids.append(record.id)
    return ids


def test_a_job_goes_on_when_its_service_is_stopped_and_started(
    start: Start, folder: Path, held: HeldEngine
) -> None:
    args = AppArgs(release="unused", jobs=str(folder), jobs_lease_seconds=600)
    with TestClient(build_api(held, args)) as client:
        ids = [submit(client).json()["id"] for _ in range(2)]
        wait_for(client, ids[0], "running")
        # It is said before the engine is asked.
        wait_until(lambda: held.begun == 1)
    assert held.given_up == 1
    # At once, though the lease is long: the first one said that it stopped.
    client = start(jobs_lease_seconds=600)
    assert [wait_for(client, job_id)["state"] for job_id in ids] == ["done", "done"]
    claim = json.loads((folder / "jobs" / ids[0] / "claim.json").read_text())
    # Being stopped is no failure.
    assert claim["starts"] == 1


def test_a_job_goes_on_when_its_service_was_killed(start: Start, folder: Path) -> None:
    (job_id,) = leave_behind(folder, starts=1)
    began = time.monotonic()
    # Long against what else this takes.
    client = start(jobs_lease_seconds=2)
    assert client.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
    assert wait_for(client, job_id)["state"] == "done"
    # Not before it can be known that nobody works on it.
    assert time.monotonic() - began >= 2
    assert client.get(f"/v1/jobs/{job_id}/result").status_code == 200


def test_jobs_of_a_service_that_lives_are_its_own(
    start: Start, folder: Path, held: HeldEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Signs of life come twenty times a second, and may stay away for some, on a busy machine.
    first = start(held, jobs_lease_seconds=0.15)
    job_id = submit(first).json()["id"]
    wait_until(lambda: held.begun == 1)
    looks = 0
    look = JobStore.open_jobs

    def counted(store: JobStore) -> Any:
        nonlocal looks
        looks += 1
        return look(store)

    monkeypatch.setattr(JobStore, "open_jobs", counted)
    # It looks three times a lease, and the first one all the while.
    second = start(jobs_lease_seconds=4)
    began = time.monotonic()
    wait_until(lambda: looks > 10 and time.monotonic() - began > 6)
    assert second.get(f"/v1/jobs/{job_id}").json()["state"] == "running"
    held.go = True
    assert wait_for(second, job_id)["state"] == "done"
    assert held.begun == 1


def test_two_services_run_each_job_that_was_left_behind_once(
    start: Start, folder: Path, inpainter: Inpainter
) -> None:
    ids = leave_behind(folder, 6)
    engines = [HeldEngine(inpainter) for _ in range(2)]
    for engine in engines:
        engine.go = True
    # Neither is dead because the machine is busy.
    clients = [start(engine, jobs_lease_seconds=3) for engine in engines]
    for job_id in ids:
        assert wait_for(clients[0], job_id)["state"] == "done"
    assert sum(engine.begun for engine in engines) == len(ids)


def test_a_job_that_runs_elsewhere_can_be_given_up(start: Start, held: HeldEngine) -> None:
    first, second = start(held), start(jobs_lease_seconds=60)
    job_id = submit(first).json()["id"]
    wait_until(lambda: held.begun == 1)
    assert second.delete(f"/v1/jobs/{job_id}").json()["state"] == "cancelled"
    wait_until(lambda: held.given_up == 1)


def test_a_job_that_kills_its_service_again_and_again_is_given_up(
    start: Start, folder: Path, held: HeldEngine
) -> None:
    (job_id,) = leave_behind(folder, starts=3)
    failed = wait_for(start(held), job_id)
    assert (failed["state"], failed["problem"]["code"]) == ("failed", "job_given_up")
    assert held.begun == 0


def test_it_waits_while_the_engine_is_busy(start: Start, held: HeldEngine) -> None:
    held.go, held.busy = True, 1
    client = start(held)
    assert wait_for(client, submit(client).json()["id"])["state"] == "done"
    assert held.begun == 2


class Late(HeldEngine):
    """Takes an hour."""

    async def inpaint(self, *args: Any, **kwargs: Any) -> Filled:
        let_time_pass(3600)
        return await super().inpaint(*args, **kwargs)


def test_its_deadline_is_its_own(start: Start, inpainter: Inpainter) -> None:
    held = Late(inpainter)
    client = start(held, deadline_seconds=7200, jobs_deadline_seconds=1800)
    failed = wait_for(client, submit(client).json()["id"])
    assert (failed["state"], failed["problem"]["code"]) == ("failed", "deadline_exceeded")
    assert failed["problem"]["status"] == 504
    assert held.given_up == 1
    patient = start(deadline_seconds=60)
    assert wait_for(patient, submit(patient).json()["id"])["state"] == "done"


class Broken(HeldEngine):
    """Has a bug."""

    async def inpaint(self, *args: Any, **kwargs: Any) -> Filled:
        raise RuntimeError("secret detail")


def test_a_bug_fails_the_job_and_no_other(start: Start, inpainter: Inpainter) -> None:
    client = start(Broken(inpainter))
    failed = wait_for(client, submit(client).json()["id"])
    assert failed["problem"]["code"] == "internal_error"
    assert "secret" not in json.dumps(failed)
    assert wait_for(client, submit(client).json()["id"])["state"] == "failed"


@pytest.mark.parametrize("name", ["record.json", "claim.json", "input-image"])
def test_a_damaged_file_stops_that_job_alone(
    start: Start, folder: Path, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    (job_id,) = leave_behind(folder)
    (folder / "jobs" / job_id / name).write_bytes(b"{")
    client = start()
    wait_until(lambda: name in caplog.text)
    assert wait_for(client, submit(client).json()["id"])["state"] == "done"
    time.sleep(4 * LEASE_SECONDS)
    assert sum(name in record.message for record in caplog.records) == 1
    answer = client.get(f"/v1/jobs/{job_id}")
    if name == "input-image":
        assert answer.json()["problem"]["code"] == "job_damaged"
    else:
        problem(answer, 500, "job_damaged")


def test_the_time_of_a_job_is_over(
    start: Start, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = SimpleNamespace(now=1000.0)
    set_store = partial(JobStore, clock=lambda: clock.now)
    monkeypatch.setattr("kintsugi.deploy.async_jobs.service.JobStore", set_store)
    # It is swept a 24th of this apart, by the clock of the machine.
    client = start(jobs_ttl_seconds=2.4)
    job = wait_for(client, submit(client, idempotency_key="k").json()["id"])
    assert client.get(job["result"]).status_code == 200
    clock.now += 2.4
    assert wait_for(client, job["id"])["state"] == "expired"
    problem(client.get(job["result"]), 410, "job_expired")
    wait_until(lambda: not list(folder.rglob("result-*")))
    # The same request again makes another one.
    assert submit(client, idempotency_key="k").status_code == 202
    assert wait_for(client, job["id"])["state"] == "done"
    clock.now += 2 * 2.4
    wait_until(lambda: not list((folder / "jobs").iterdir()))
    problem(client.get(job["result"]), 404, "job_unknown")
    wait_until(lambda: not list((folder / "keys").iterdir()))


def test_in_a_bucket(start: Start, s3_uri: str) -> None:
    left = leave_behind(s3_uri)
    client = start(jobs=s3_uri)
    answers = [submit(client, idempotency_key="k") for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 200]
    for job_id in (answers[0].json()["id"], *left):
        done = wait_for(client, job_id)
        assert done["state"] == "done"
        assert decode(client.get(done["result"]).content).shape == (80, 112, 3)
    assert client.delete(f"/v1/jobs/{left[0]}").json()["state"] == "cancelled"


def test_no_thread_is_left(folder: Path, held: HeldEngine) -> None:
    before = threading.active_count()
    args = AppArgs(release="unused", jobs=str(folder))
    with TestClient(build_api(held, args)) as client:
        submit(client)
        wait_until(lambda: held.begun == 1)
    wait_until(lambda: threading.active_count() <= before)

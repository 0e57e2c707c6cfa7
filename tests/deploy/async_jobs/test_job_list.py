"""GET /v1/jobs: a key's own jobs, the newest first, page by page."""

import time
from collections.abc import Callable
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.async_jobs.records import JobRecord
from kintsugi.deploy.async_jobs.store import JobStore
from tests.deploy.async_jobs.conftest import submit, wait_for
from tests.deploy.conftest import problem

ANN, BOB = "a" * 32, "b" * 32
Start = Callable[..., TestClient]


def ids(answer: dict[str, list[dict[str, str]]]) -> list[str]:
    return [job["id"] for job in answer["jobs"]]


def test_the_newest_first_page_by_page(start: Start) -> None:
    client = start()
    made = []
    for seed in range(3):
        made.append(submit(client, {"seed": str(seed)}).json()["id"])
        time.sleep(0.01)
    for job in made:
        wait_for(client, job)
    whole = client.get("/v1/jobs").json()
    assert ids(whole) == made[::-1]
    assert whole["next"] is None
    assert {job["state"] for job in whole["jobs"]} == {"done"}
    first = client.get("/v1/jobs?limit=2").json()
    assert ids(first) == made[:0:-1]
    last = client.get(f"/v1/jobs?limit=2&after={first['next']}").json()
    assert (ids(last), last["next"]) == (made[:1], None)


def test_a_key_sees_its_own_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann: {ANN}\nbob: {BOB}\n")
    client = start(api_keys=str(tmp_path / "keys"))
    job = submit(client, x_api_key=ANN).json()["id"]
    assert ids(client.get("/v1/jobs", headers={"x-api-key": ANN}).json()) == [job]
    assert ids(client.get("/v1/jobs", headers={"x-api-key": BOB}).json()) == []
    problem(client.get("/v1/jobs"), 401, "key_missing")
    wait_for(client, job, x_api_key=ANN)


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("limit=0", "limit_out_of_range"),
        ("limit=201", "limit_out_of_range"),
        ("limit=x", "limit_out_of_range"),
        ("after=../../etc", "after_unknown"),
        ("state=done", "unknown_field"),
    ],
)
def test_wrong_questions_are_named(start: Start, query: str, code: str) -> None:
    problem(start().get(f"/v1/jobs?{query}"), 422, code)


def test_what_is_removed_leaves_the_list(tmp_path: Path) -> None:
    now = [0.0]
    store = JobStore(str(tmp_path), ttl_seconds=10, clock=lambda: now[0])
    record = JobRecord(
        id="0" * 32, kind="inpaint", options={}, files={}, key_name="", request_id="r", created=0.0
    )
    store.create(record, {}, "me")
    assert [job.record.id for job in store.jobs_of("", after="", limit=9)[0]] == [record.id]
    now[0] = 100.0
    store.sweep()
    store.sweep()
    assert store.jobs_of("", after="", limit=9) == ([], "")
    assert not list((tmp_path / "lists").rglob("*-*"))

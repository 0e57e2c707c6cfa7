"""GET /v1/jobs: a key's own jobs, the newest first, page by page."""

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.async_jobs import service
from kintsugi.deploy.async_jobs.expiry import Expiry
from kintsugi.deploy.async_jobs.records import JobRecord, digest
from kintsugi.deploy.async_jobs.store import JobStore
from kintsugi.storage.storage import Storage
from tests.deploy.async_jobs.conftest import HeldEngine, submit, wait_for
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
        ("limit=", "limit_out_of_range"),
        ("limit=-1", "limit_out_of_range"),
        ("limit=0000002009999", "limit_out_of_range"),
        # More digits than Python reads.
        pytest.param("limit=000000001" + "0" * 5000, "limit_out_of_range", id="long"),
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
    assert [name.rpartition("-")[2] for name in store.listed("")] == [record.id]
    now[0] = 100.0
    Expiry(store).sweep()
    Expiry(store).sweep()
    assert store.listed("") == []
    assert not list((tmp_path / "lists").rglob("*-*"))


@pytest.fixture
def two_keys(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "keys").write_text(f"ann: {ANN}\nbob: {BOB}\n")
    return {"api_keys": str(tmp_path / "keys")}


def test_a_slow_page_is_shorter_and_the_next_goes_on(
    start: Start, held: HeldEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No time at all: each page holds what is read at one time."""
    client = start(held)
    made = []
    for seed in range(9):
        made.append(submit(client, {"seed": str(seed)}).json()["id"])
        time.sleep(0.002)
    monkeypatch.setattr(service, "_PAGE_SECONDS", 0.0)
    found, pages, after = [], 0, ""
    while after is not None:
        page = client.get("/v1/jobs?limit=200" + (f"&after={after}" if after else "")).json()
        found += ids(page)
        pages, after = pages + 1, page["next"]
    assert found == made[::-1]
    assert pages == 3


def test_lists_that_hang_hold_up_no_other_key(
    start: Start, held: HeldEngine, two_keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(held, **two_keys)
    submit(client, x_api_key=ANN)
    job = submit(client, x_api_key=BOB).json()["id"]
    monkeypatch.setattr(service, "_CALLER_SECONDS", 0.3)
    client = start(held, **two_keys)
    go_on = threading.Event()
    really = Storage.list

    def slow(place: Storage, prefix: str = "") -> list[str]:
        if prefix == f"lists/{digest(b'ann')}":
            go_on.wait()
        return really(place, prefix)

    monkeypatch.setattr(Storage, "list", slow)
    try:
        with ThreadPoolExecutor(9) as askers:
            lists = [
                askers.submit(client.get, "/v1/jobs", headers={"x-api-key": ANN}) for _ in range(9)
            ]
            answers = [each.result() for each in lists]
        # Those that had a thread, and those that waited for one.
        codes = {answer.json()["code"] for answer in answers}
        assert codes == {"jobs_unavailable", "jobs_busy"}
        assert {answer.status_code for answer in answers} == {503}
        headers = {"x-api-key": BOB}
        assert client.get(f"/v1/jobs/{job}", headers=headers).status_code == 200
        assert ids(client.get("/v1/jobs", headers=headers).json()) == [job]
    finally:
        go_on.set()


def test_looks_of_one_key_that_hang_hold_up_no_other(
    start: Start, held: HeldEngine, two_keys: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = start(held, **two_keys)
    hangs = submit(client, x_api_key=ANN).json()["id"]
    job = submit(client, x_api_key=BOB).json()["id"]
    go_on, inside = threading.Event(), threading.Semaphore(0)
    really = Storage.list

    def slow(place: Storage, prefix: str = "") -> list[str]:
        if prefix == f"jobs/{hangs}":
            inside.release()
            go_on.wait()
        return really(place, prefix)

    monkeypatch.setattr(Storage, "list", slow)
    headers = {"x-api-key": ANN}
    with ThreadPoolExecutor(9) as askers:
        looks = [askers.submit(client.get, f"/v1/jobs/{hangs}", headers=headers) for _ in range(9)]
        try:
            for _ in range(service._THREADS_OF_ONE):
                inside.acquire()
            headers = {"x-api-key": BOB}
            assert client.get(f"/v1/jobs/{job}", headers=headers).status_code == 200
        finally:
            go_on.set()
        assert {look.result().status_code for look in looks} == {200}

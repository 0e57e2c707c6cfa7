"""What is deleted when; by a clock that is set."""

import os
from collections.abc import Callable
from itertools import combinations_with_replacement
from pathlib import Path
from typing import Any

import pytest

from kintsugi.deploy.async_jobs.expiry import Expiry
from kintsugi.deploy.async_jobs.records import (
    JobOutcome,
    JobRecord,
    Result,
    digest,
    digests,
    fresh_id,
    keyed_id,
)
from kintsugi.deploy.async_jobs.store import JobStore
from kintsugi.storage.storage import Storage

FILES = {"image": b"photo", "mask": b"mask"}
TTL = 100.0
OWNER = "0" * 32


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path, clock: Clock) -> JobStore:
    return JobStore(str(tmp_path), ttl_seconds=TTL, clock=clock)


def record(**changes: object) -> JobRecord:
    values = {
        "id": fresh_id(),
        "kind": "inpaint",
        "options": {"feather": 3},
        "files": digests(FILES),
        "key_name": "",
        "request_id": "r",
        "created": 1000.0,
    }
    return JobRecord.model_validate(values | changes)


def finish(store: JobStore, job: JobRecord) -> None:
    result = Result(
        file="result-1", sha256=digest(b"i"), media_type="image/png", model_version="m", notes=""
    )
    store.finish(job, JobOutcome(finished=store.now(), result=result), b"i")


def listed(store: JobStore) -> list[JobRecord]:
    jobs = [store.listed_job("", name) for name in store.listed("")]
    return [job.record for job in jobs if job is not None]


def files_of(folder: Path, job: JobRecord) -> set[str]:
    return {path.name for path in (folder / "jobs" / job.id).glob("*")}


def test_images_go_after_the_time_and_the_rest_after_twice_the_time(
    store: JobStore, clock: Clock, tmp_path: Path
) -> None:
    ended, waits = record(), record()
    for job in (ended, waits):
        store.create(job, FILES, OWNER)
    clock.now = 1050
    finish(store, ended)

    def sweep_at(now: float) -> tuple[int, set[str], set[str]]:
        clock.now = now
        return Expiry(store).sweep(), files_of(tmp_path, ended), files_of(tmp_path, waits)

    rest = {"record.json", "claim.json"}
    images = {"input-image", "input-mask"}
    assert sweep_at(1099) == (0, {*rest, "result-1", "outcome.json"}, {*rest, *images})
    # One that never ended counts from when it was made.
    assert sweep_at(1101) == (1, {*rest, "result-1", "outcome.json"}, rest)
    assert store.open_jobs() == []
    assert sweep_at(1151) == (1, {*rest, "outcome.json"}, rest)
    assert sweep_at(1152) == (0, {*rest, "outcome.json"}, rest)
    assert sweep_at(1201) == (1, {*rest, "outcome.json"}, set())
    assert sweep_at(1251) == (1, set(), set())


def test_what_was_never_made_whole_goes(store: JobStore, clock: Clock, tmp_path: Path) -> None:
    half = record()
    store.create(half, FILES, OWNER)
    (tmp_path / "jobs" / half.id / "record.json").unlink()
    assert store.job(half.id) is None
    # It may be about to be written.
    assert Expiry(store).sweep() == 0
    clock.now += TTL
    assert Expiry(store).sweep() == 1
    assert files_of(tmp_path, half) == set()


def writes_of(job: JobRecord, folder: Path, monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is written when a job is made, in its order: (name, bytes) each."""
    written: list[Any] = []
    write = Storage.write

    def noted(place: Storage, name: str, data: bytes) -> None:
        written.append((name, data))
        write(place, name, data)

    with monkeypatch.context() as patch:
        patch.setattr(Storage, "write", noted)
        JobStore(str(folder), ttl_seconds=TTL).create(job, FILES, OWNER)
    return written


def sweep_with(store: JobStore, monkeypatch: pytest.MonkeyPatch, act: Callable[[int], None]) -> int:
    """Sweep, and call ``act`` with its number before each look. Returns: how many."""
    count = 0
    is_acting = False

    def between(operation: Callable[..., Any]) -> Callable[..., Any]:
        def acts_first(*args: Any) -> Any:
            nonlocal count, is_acting
            if not is_acting:
                is_acting = True
                act(count)
                count += 1
                is_acting = False
            return operation(*args)

        return acts_first

    with monkeypatch.context() as patch:
        for name in ("list", "read", "exists"):
            patch.setattr(Storage, name, between(getattr(Storage, name)))
        Expiry(store).sweep()
    return count


def test_a_sweep_loses_no_job_whenever_it_is_sent_and_ends(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Hundreds of folders, which no power cut shall outlive.
    monkeypatch.setattr(os, "fsync", lambda _: None)
    half, job = record(), record(created=1000 + 2 * TTL)
    writes = writes_of(job, tmp_path / "scratch", monkeypatch)
    number = 0

    def run(parts: int, first: int, second: int) -> int:
        """Write so many of a job's files at one operation of a sweep, and all the rest at another.

        Returns: how many operations there were.
        """
        nonlocal number
        number += 1
        clock.now = 1000.0
        folder = tmp_path / str(number)
        store = JobStore(str(folder), ttl_seconds=TTL, clock=clock)
        # What the sweep has to do besides.
        store.create(half, FILES, OWNER)
        (folder / "jobs" / half.id / "record.json").unlink()
        clock.now += 2 * TTL

        def act(operation: int) -> None:
            for moment, some in ((first, writes[:parts]), (second, writes[parts:])):
                for name, data in some if operation == moment else []:
                    store.place.write(name, data)
            if operation == second:
                finish(store, job)

        count = sweep_with(store, monkeypatch, act)
        assert not files_of(folder, half)
        if second < count:
            when = f"{parts} files before operation {first}, the rest before {second}"
            found = store.job(job.id)
            assert found is not None, when
            assert found.state == "done", when
            assert store.image(found) == b"i", when
            assert listed(store) == [job], when
        return count

    operations = run(0, 1000, 1000)
    assert operations > 5
    for first, second in combinations_with_replacement(range(operations), 2):
        # Its first mark; all but the record.
        for parts in (1, len(writes) - 1):
            run(parts, first, second)


def test_a_job_that_is_sent_again_after_its_time_stands_in_the_list_once(
    store: JobStore, clock: Clock, tmp_path: Path
) -> None:
    old = record()
    store.create(old, FILES, OWNER)
    clock.now += TTL
    again = record(id=old.id, created=clock.now)
    # By a service that was stopped between the two.
    store.create(again, FILES, OWNER)
    assert listed(store) == [again]
    store.remove(again)
    store.create(record(id=old.id, created=1300.0), FILES, OWNER)
    assert len(list((tmp_path / "lists").rglob("*-*"))) == 2


def test_keys_and_services_are_forgotten(store: JobStore, clock: Clock, tmp_path: Path) -> None:
    store.keep_key("k", "j")
    store.heartbeat(OWNER)
    clock.now += 2 * TTL - 1
    Expiry(store).sweep()
    assert store.job_of_key("k") == "j"
    clock.now += 1
    assert store.job_of_key("k") is None
    Expiry(store).sweep()
    assert not list((tmp_path / "keys").iterdir())
    assert not list((tmp_path / "owners").iterdir())


def test_what_is_made_after_it_was_given_up_is_deleted(store: JobStore, tmp_path: Path) -> None:
    job = record()
    store.create(job, FILES, OWNER)
    store.cancel(job.id)
    finish(store, job)
    assert "result-1" not in files_of(tmp_path, job)
    found = store.job(job.id)
    assert found is not None
    assert (found.state, found.outcome) == ("cancelled", None)


def test_damage_stops_no_sweep(
    store: JobStore, clock: Clock, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    damaged, other = record(), record()
    for job in (damaged, other):
        store.create(job, FILES, OWNER)
    for name in (f"jobs/{damaged.id}/record.json", f"open/{damaged.id}"):
        (tmp_path / name).write_text("{")
    clock.now += 2 * TTL
    assert (Expiry(store).sweep(), Expiry(store).sweep()) == (1, 0)
    assert files_of(tmp_path, other) == set()
    assert len(caplog.records) == 2


def test_an_id_follows_from_all_that_was_sent_with_its_key() -> None:
    one = keyed_id(record(), "k")
    assert one == keyed_id(record(created=2.0, request_id="s"), "k")
    different = [
        keyed_id(record(), "l"),
        keyed_id(record(options={"feather": 4}), "k"),
        keyed_id(record(files=digests({**FILES, "mask": b"other"})), "k"),
        keyed_id(record(kind="stylize"), "k"),
        keyed_id(record(key_name="ann"), "k"),
        keyed_id(record(webhook="https://hooks.example.org/1"), "k"),
        keyed_id(record(webhook="https://hooks.example.org/2"), "k"),
    ]
    assert len({one, *different}) == 8

"""/v1/batches: each photograph a job or a row that says why not; once, whatever is sent again."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.async_jobs.expiry import Expiry
from kintsugi.deploy.async_jobs.forms import MOST_AT_ONCE
from kintsugi.deploy.async_jobs.records import BatchRecord, BatchRow
from kintsugi.deploy.async_jobs.store import JobStore
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage
from tests.deploy.async_jobs.conftest import HeldEngine, submit, wait_for, wait_until
from tests.deploy.conftest import MASK, PHOTO, STYLE, decode, draw_photo, encode, post, problem

Start = Callable[..., TestClient]
ANN, BOB = "a" * 32, "b" * 32
OTHER = draw_photo(80, 112, seed=4)


def send(
    client: TestClient,
    files: list[tuple[str, str, bytes]],
    fields: dict[str, str] | None = None,
    **headers: str,
) -> Any:
    sent = [(field, (name, data)) for field, name, data in files]
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/batches", files=sent, data=fields or {}, headers=named)


TWO = [
    ("image", "beach.png", encode(PHOTO)),
    ("image", "street.png", encode(OTHER)),
    ("mask", "one.png", encode(MASK)),
]


def wait_for_batch(client: TestClient, batch_id: str) -> dict[str, Any]:
    document: dict[str, Any] = {}

    def has_ended() -> bool:
        document.update(client.get(f"/v1/batches/{batch_id}").json())
        return bool(document["state"] == "ended")

    wait_until(has_ended)
    return document


def test_each_photograph_is_a_job_and_a_bad_one_a_row(start: Start) -> None:
    client = start()
    files = [
        *TWO[:2],
        ("image", "broken.png", b"no picture"),
        *(("mask", f"{number}.png", encode(MASK)) for number in range(3)),
    ]
    taken = send(client, files, {"feather": "3"})
    assert taken.status_code == 202, taken.text
    batch = taken.json()
    assert taken.headers["location"] == f"/v1/batches/{batch['id']}"
    assert [row["name"] for row in batch["rows"]] == ["beach.png", "street.png", "broken.png"]
    ended = wait_for_batch(client, batch["id"])
    assert (ended["done"], ended["failed"], ended["progress"]) == (2, 1, 1.0)
    first, second, broken = ended["rows"]
    assert broken["job"] is None
    assert broken["problem"]["code"] == "image_format_not_allowed"
    for row, photo in ((first, PHOTO), (second, OTHER)):
        image = client.get(row["job"]["result"]).content
        assert image == post(client, {"feather": "3"}, image=encode(photo)).content


def test_one_mask_or_one_look_is_for_all(start: Start) -> None:
    client = start()
    ended = wait_for_batch(client, send(client, TWO).json()["id"])
    assert ended["done"] == 2
    files = [("content", "a", encode(PHOTO)), ("content", "b", encode(OTHER))]
    files.append(("style", "c", encode(STYLE)))
    ended = wait_for_batch(client, send(client, files, {"kind": "stylize"}).json()["id"])
    assert [row["job"]["kind"] for row in ended["rows"]] == ["stylize"] * 2
    assert decode(client.get(ended["rows"][1]["job"]["result"]).content).shape == OTHER.shape


def test_sent_again_with_its_key_it_is_the_same(start: Start) -> None:
    client = start()
    one = send(client, TWO, idempotency_key="k").json()
    again = send(client, TWO, idempotency_key="k").json()
    assert again["id"] == one["id"]
    jobs = [[row["job"]["id"] for row in each["rows"]] for each in (one, again)]
    assert jobs[0] == jobs[1]
    assert len(client.get("/v1/jobs").json()["jobs"]) == 2
    wait_for_batch(client, one["id"])


def test_another_batch_with_its_key_is_refused_and_harms_nothing(start: Start) -> None:
    client = start()
    broken = ("image", "broken.png", b"no picture")
    first = send(client, [*TWO, broken], idempotency_key="k").json()
    others = [
        [("image", "other.png", encode(STYLE)), *TWO[1:], broken],
        TWO,
        [TWO[1], TWO[0], TWO[2], broken],
        # In place of one that was refused, too.
        [*TWO, ("image", "broken.png", encode(STYLE))],
    ]
    for files in others:
        problem(send(client, files, idempotency_key="k"), 422, "idempotency_key_reused")
    options = {"feather": "3"}
    answer = send(client, [*TWO, broken], options, idempotency_key="k")
    problem(answer, 422, "idempotency_key_reused")
    ended = wait_for_batch(client, first["id"])
    assert (ended["done"], ended["failed"]) == (2, 1)
    assert len(client.get("/v1/jobs").json()["jobs"]) == 2
    again = send(client, [*TWO, broken], idempotency_key="k").json()
    assert again == ended


def test_what_was_cut_short_goes_on_when_it_is_sent_again(start: Start, folder: Path) -> None:
    client = start()
    first = send(client, TWO, idempotency_key="k").json()
    wait_for_batch(client, first["id"])
    shutil.rmtree(folder / "jobs" / first["rows"][1]["job"]["id"])
    assert client.get(f"/v1/batches/{first['id']}").json()["rows"][1]["job"] is None
    again = send(client, TWO, idempotency_key="k").json()
    assert [row["job"]["id"] for row in again["rows"]] == [
        row["job"]["id"] for row in first["rows"]
    ]
    assert wait_for_batch(client, first["id"])["done"] == 2


def test_where_too_many_wait_none_is_taken(start: Start, held: HeldEngine, folder: Path) -> None:
    client = start(held, jobs_waiting=3)
    first = send(client, TWO).json()
    wait_for(client, first["rows"][0]["job"]["id"], "running")
    three = [*TWO, ("image", "third.png", encode(draw_photo(80, 112, seed=5)))]
    before = sorted(folder.rglob("*/*"))
    full = send(client, three, idempotency_key="k")
    problem(full, 503, "jobs_full")
    assert full.headers["retry-after"] == "10"
    # The service says meanwhile that it runs.
    assert [path for path in sorted(folder.rglob("*/*")) if "owners" not in path.parts] == [
        path for path in before if "owners" not in path.parts
    ]
    four = [*three, ("image", "fourth.png", encode(draw_photo(80, 112, seed=6)))]
    problem(send(client, four), 422, "batch_too_large")
    held.go = True
    wait_for_batch(client, first["id"])
    taken = send(client, three, idempotency_key="k").json()
    assert wait_for_batch(client, taken["id"])["done"] == 3


def test_a_hundred_of_one_key_are_taken(start: Start, held: HeldEngine, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann: {ANN}\n")
    client = start(held, api_keys=str(tmp_path / "keys"))
    mask = np.zeros((16, 16), np.bool_)
    mask[4:8, 4:8] = True
    photo = encode(draw_photo(16, 16))
    files = [("image", f"{number}.png", photo) for number in range(MOST_AT_ONCE)]
    files.append(("mask", "mask.png", encode(mask)))
    batch = send(client, files, x_api_key=ANN).json()
    assert [row["problem"] for row in batch["rows"]] == [None] * MOST_AT_ONCE
    assert client.delete(f"/v1/batches/{batch['id']}", headers={"x-api-key": ANN}).json()[
        "state"
    ] == ("ended")


def test_all_are_given_up_together(start: Start, held: HeldEngine, folder: Path) -> None:
    client = start(held)
    batch = send(client, TWO).json()
    wait_for(client, batch["rows"][0]["job"]["id"], "running")
    shown = client.get(f"/v1/batches/{batch['id']}")
    assert shown.headers["retry-after"] == "1"
    assert shown.json()["state"] == "running"
    assert 0 <= shown.json()["progress"] < 1
    given = client.delete(f"/v1/batches/{batch['id']}").json()
    assert given["state"] == "ended"
    assert [row["job"]["state"] for row in given["rows"]] == ["cancelled"] * 2
    assert not list(folder.rglob("input-*"))
    assert not list(folder.rglob("result-*"))


def test_a_key_sees_its_own_alone(start: Start, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann: {ANN}\nbob: {BOB}\n")
    client = start(api_keys=str(tmp_path / "keys"))
    batch = send(client, TWO, x_api_key=ANN).json()["id"]
    address = f"/v1/batches/{batch}"
    assert client.get(address, headers={"x-api-key": ANN}).status_code == 200
    for ask in (client.get, client.delete):
        problem(ask(address, headers={"x-api-key": BOB}), 404, "batch_unknown")
    problem(client.get(address), 401, "key_missing")
    # The same Idempotency-Key of another is another batch.
    one, other = (send(client, TWO, x_api_key=key, idempotency_key="k") for key in (ANN, BOB))
    assert one.json()["id"] != other.json()["id"]


@pytest.mark.parametrize(
    ("files", "fields", "code"),
    [
        (TWO[2:], {}, "image_missing"),
        ([*TWO, ("image", "c", b""), TWO[2]], {}, "mask_count"),
        (TWO[:2], {"kind": "stylize"}, "unknown_field"),
        (TWO[:2], {"kind": "both"}, "kind_unknown"),
        (TWO, {"feather": "soft"}, "feather_not_integer"),
        (TWO, {"strength": "1"}, "unknown_field"),
        ([("content", "a", encode(PHOTO))], {"kind": "stylize"}, "style_missing"),
        ([("image", "a", b"")] * 101, {}, "image_repeated"),
    ],
)
def test_what_is_wrong_with_all_is_said_at_once(
    start: Start, folder: Path, files: list[Any], fields: dict[str, str], code: str
) -> None:
    problem(send(start(), files, fields), 422, code)
    assert not list(folder.rglob("batches/*"))


FOUR = [*((TWO[0][0], f"{number}.png", TWO[0][2]) for number in range(4)), TWO[2]]


def failing_third(monkeypatch: pytest.MonkeyPatch) -> None:
    """A store that takes no third job: all but the last of its files is written."""
    count, really = 0, Storage.write

    def write(place: Storage, name: str, data: bytes) -> None:
        nonlocal count
        count += name.endswith("record.json")
        if count == 3 and name.endswith("record.json"):
            raise StorageError("the disk is full for a moment")
        really(place, name, data)

    monkeypatch.setattr(Storage, "write", write)


def states(client: TestClient) -> list[str]:
    return [job["state"] for job in client.get("/v1/jobs").json()["jobs"]]


def test_a_batch_that_cannot_be_kept_whole_is_taken_back(
    start: Start, held: HeldEngine, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.go = True
    client = start(held)
    failing_third(monkeypatch)
    refused = send(client, FOUR)
    problem(refused, 503, "jobs_unavailable")
    wait_until(lambda: states(client) == ["cancelled"] * 2)
    # As its hint says.
    again = send(client, FOUR).json()
    ended = wait_for_batch(client, again["id"])
    assert (ended["done"], held.begun) == (4, 4)
    assert sorted(states(client)) == ["cancelled"] * 2 + ["done"] * 4
    assert not list(folder.glob("jobs/*/input-*"))
    assert not list(folder.glob("open/*"))


def test_one_with_a_key_goes_on_where_it_could_not_be_kept(
    start: Start, held: HeldEngine, monkeypatch: pytest.MonkeyPatch
) -> None:
    held.go = True
    client = start(held)
    failing_third(monkeypatch)
    problem(send(client, FOUR, idempotency_key="k"), 503, "jobs_unavailable")
    again = send(client, FOUR, idempotency_key="k").json()
    assert wait_for_batch(client, again["id"])["done"] == 4
    assert states(client) == ["done"] * 4
    assert held.begun == 4


def test_each_photograph_of_a_batch_counts_in_the_rate_of_its_key(
    start: Start, held: HeldEngine, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"ann: {ANN}\n")
    client = start(held, api_keys=str(tmp_path / "keys"), requests_per_minute=0.5, burst=2)
    assert send(client, FOUR, x_api_key=ANN, idempotency_key="k").status_code == 202
    limited = send(client, TWO, x_api_key=ANN)
    problem(limited, 429, "rate_limited")
    # Two more than there were, and one for this: three times two minutes.
    assert 300 < int(limited.headers["retry-after"]) <= 360


def test_a_batch_that_finds_no_room_keeps_its_rate(
    start: Start, held: HeldEngine, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text(f"ann: {ANN}\n")
    limits = {"requests_per_minute": 0.01, "burst": 5, "jobs_waiting": 8}
    client = start(held, api_keys=str(tmp_path / "keys"), **limits)
    assert send(client, FOUR, x_api_key=ANN).status_code == 202
    for _ in range(3):
        problem(send(client, FOUR, x_api_key=ANN), 503, "jobs_full")
    assert submit(client, x_api_key=ANN).status_code == 202
    problem(submit(client, x_api_key=ANN), 429, "rate_limited")


def test_json_and_services_without_jobs(start: Start, make_client: Start) -> None:
    problem(start().post("/v1/batches", json={"image": []}), 415, "content_type")
    problem(send(make_client(), TWO), 501, "jobs_disabled")
    problem(start().get("/v1/batches/../../etc"), 404, "http_error")
    problem(start().get("/v1/batches/" + "0" * 32), 404, "batch_unknown")


def test_it_is_forgotten_with_its_jobs(tmp_path: Path) -> None:
    now = [1000.0]
    store = JobStore(str(tmp_path), ttl_seconds=10, clock=lambda: now[0])
    batch = BatchRecord(
        id="0" * 32, key_name="", request_id="r", created=1000, rows=(BatchRow(name="a"),)
    )
    store.keep_batch(batch)
    Expiry(store).sweep()
    assert store.batch(batch.id) == batch
    now[0] = 1010
    Expiry(store).sweep()
    assert store.batch(batch.id) is None

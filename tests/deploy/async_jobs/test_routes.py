"""/v1/jobs over an engine in this process: every state, every refusal, one key each."""

import base64
import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from fastapi.testclient import TestClient

from tests.deploy.async_jobs.conftest import FILES, HeldEngine, submit, wait_for, wait_until
from tests.deploy.conftest import (
    MASK,
    MODEL,
    PHOTO,
    STYLE,
    decode,
    draw_photo,
    encode,
    post,
    problem,
)

Start = Callable[..., TestClient]


def test_a_job_makes_the_image_of_the_request(start: Start, folder: Path) -> None:
    client = start()

    accepted = submit(client, {"feather": "3", "format": "webp"})

    assert accepted.status_code == 202, accepted.text
    job = accepted.json()
    assert accepted.headers["location"] == f"/v1/jobs/{job['id']}"
    assert (job["state"], job["kind"], job["result"]) == ("queued", "inpaint", None)
    done = wait_for(client, job["id"])
    assert (done["state"], done["progress"], done["problem"]) == ("done", 1.0, None)
    assert done["result"] == f"/v1/jobs/{job['id']}/result"
    made, finished, expires = (
        datetime.fromisoformat(done[name]) for name in ("created", "finished", "expires")
    )
    assert made < finished
    assert expires - finished == timedelta(days=1)
    image = client.get(done["result"])
    files = {name: ("a", data) for name, data in FILES.items()}
    same = client.post("/v1/inpaint", files=files, data={"feather": "3", "format": "webp"})
    assert image.content == same.content
    for name in ("content-type", "x-model-version", "x-content-type-options", "cache-control"):
        assert image.headers[name] == same.headers[name]
    # What was sent is not kept longer than it is needed.
    kept = [path.name for path in (folder / "jobs" / job["id"]).iterdir()]
    assert not [name for name in kept if name.startswith("input")]
    assert not list((folder / "open").iterdir())


def test_a_style_transfer_and_notes(start: Start) -> None:
    client = start()
    transparent = np.dstack([PHOTO, np.full(PHOTO.shape[:2], 90, np.uint8)])
    files = {"content": encode(transparent), "style": encode(STYLE)}

    job = submit(client, {"kind": "stylize", "format": "jpeg"}, files=files).json()

    image = client.get(wait_for(client, job["id"])["result"])
    assert image.headers["content-type"] == "image/jpeg"
    assert image.headers["x-image-notes"] == "transparency dropped: jpeg has none"
    assert decode(image.content).shape == PHOTO.shape


def test_json_is_taken_too(start: Start) -> None:
    client = start()
    encoded = {name: base64.b64encode(data).decode() for name, data in FILES.items()}
    job = client.post("/v1/jobs", json={**encoded, "kind": "inpaint", "grow_mask": 4}).json()
    assert wait_for(client, job["id"])["state"] == "done"
    wrong = client.post("/v1/jobs", json={**encoded, "grow_mask": "4"})
    problem(wrong, 422, "grow_mask_not_integer")


@pytest.mark.slow
def test_how_far_it_is(start: Start, held: HeldEngine) -> None:
    client = start(held)
    job = submit(client).json()
    running = wait_for(client, job["id"], "running")
    wait_until(lambda: client.get(f"/v1/jobs/{job['id']}").json()["progress"] > 0)
    running = client.get(f"/v1/jobs/{job['id']}")
    assert running.headers["retry-after"] == "1"
    assert running.json()["progress"] == pytest.approx(1 / 15)
    assert running.json()["step"] == {"crop": 0, "crops": 1, "scale": 1, "scales": 4}
    early = client.get(f"/v1/jobs/{job['id']}/result")
    problem(early, 409, "job_not_done")
    assert early.headers["retry-after"] == "1"
    held.go = True
    assert wait_for(client, job["id"])["state"] == "done"


@pytest.mark.parametrize(
    ("fields", "files", "status", "code"),
    [
        ({"kind": "outpaint"}, {}, 422, "kind_unknown"),
        ({"kind": "stylize"}, {}, 422, "unknown_field"),
        ({"strength": "1"}, {}, 422, "unknown_field"),
        ({"colour": "red"}, {}, 422, "unknown_field"),
        ({"feather": "70"}, {}, 422, "feather_out_of_range"),
        ({}, {"image": b"GIF90a"}, 415, "image_format_not_allowed"),
        ({}, {"mask": encode(MASK[:40])}, 422, "size_mismatch"),
        ({}, {"mask": encode(np.zeros_like(MASK))}, 422, "mask_empty"),
    ],
)
def test_what_a_request_would_be_refused_for_is_refused_at_once(
    start: Start,
    folder: Path,
    fields: dict[str, str],
    files: dict[str, bytes],
    status: int,
    code: str,
) -> None:
    client = start()
    problem(submit(client, fields, files={**FILES, **files}), status, code)
    assert not (folder / "jobs").exists()


def test_a_job_that_fails_says_why(start: Start) -> None:
    client = start()
    sent = submit(client, {"scales": "9"})
    failed = wait_for(client, sent.json()["id"])
    assert failed["state"] == "failed"
    assert failed["problem"]["code"] == "options_do_not_fit"
    assert failed["problem"]["status"] == 422
    assert failed["problem"]["request_id"] == sent.headers["x-request-id"]
    problem(client.get(f"/v1/jobs/{failed['id']}/result"), 409, "job_failed")


def test_giving_up_a_job_that_runs_and_one_that_waits(
    start: Start, held: HeldEngine, folder: Path
) -> None:
    client = start(held)
    ids = [submit(client).json()["id"] for _ in range(2)]
    wait_for(client, ids[0], "running")
    wait_until(lambda: held.begun == 1)
    # The one that waits first: otherwise it would begin.
    for job_id in reversed(ids):
        for _ in range(2):
            answer = client.delete(f"/v1/jobs/{job_id}")
            assert (answer.status_code, answer.json()["state"]) == (200, "cancelled")
        problem(client.get(f"/v1/jobs/{job_id}/result"), 410, "job_cancelled")
        kept = {path.name for path in (folder / "jobs" / job_id).iterdir()}
        assert not {name for name in kept if name.startswith(("input", "result"))}
    wait_until(lambda: held.given_up == 1)
    held.go = True
    assert wait_for(client, submit(client).json()["id"])["state"] == "done"
    assert held.begun == 2


def test_giving_up_a_job_that_is_done_deletes_its_image(start: Start, folder: Path) -> None:
    client = start()
    job = wait_for(client, submit(client).json()["id"])
    assert list(folder.rglob("result-*"))
    assert client.delete(f"/v1/jobs/{job['id']}").json()["state"] == "cancelled"
    assert not list(folder.rglob("result-*"))
    problem(client.get(job["result"]), 410, "job_cancelled")


def test_the_same_request_with_the_same_key_is_one_job(start: Start, held: HeldEngine) -> None:
    client = start(held, jobs_running=2)
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: submit(client, idempotency_key="a-1"), range(4)))
    assert sorted(answer.status_code for answer in answers) == [200, 200, 200, 202]
    assert len({answer.json()["id"] for answer in answers}) == 1
    held.go = True
    done = wait_for(client, answers[0].json()["id"])
    again = submit(client, idempotency_key="a-1")
    assert (again.status_code, again.json()) == (200, done)
    assert held.begun == 1
    for fields, files in (({"seed": "1"}, FILES), ({}, {**FILES, "image": encode(PHOTO + 1)})):
        other = submit(client, fields, files=files, idempotency_key="a-1")
        problem(other, 422, "idempotency_key_reused")
    assert submit(client, idempotency_key="a-2").json()["id"] != done["id"]
    for key in ("", "a b", "x" * 256):
        problem(submit(client, idempotency_key=key), 422, "idempotency_key_invalid")


def test_a_job_is_of_the_key_that_made_it(start: Start, tmp_path: Path) -> None:
    keys = tmp_path / "keys"
    keys.write_text("ann: secret-of-ann-1234\nbob: secret-of-bob-1234\n")
    client = start(api_keys=str(keys))
    ann, bob = {"x_api_key": "secret-of-ann-1234"}, {"x_api_key": "secret-of-bob-1234"}
    problem(submit(client), 401, "key_missing")
    ids = {submit(client, idempotency_key="k", **who).json()["id"] for who in (ann, bob)}
    assert len(ids) == 2
    job_id = submit(client, **ann).json()["id"]
    path = wait_for(client, job_id, **ann)["result"]
    for ask in (client.get, client.delete):
        problem(
            ask(f"/v1/jobs/{job_id}", headers={"x-api-key": "secret-of-bob-1234"}),
            404,
            "job_unknown",
        )
    problem(client.get(path, headers={"x-api-key": "secret-of-bob-1234"}), 404, "job_unknown")
    assert client.get(path, headers={"x-api-key": "secret-of-ann-1234"}).status_code == 200


@pytest.mark.parametrize("job_id", ["0" * 32, "x", "..", "A" * 32])
def test_what_is_no_job_is_unknown(start: Start, job_id: str) -> None:
    client = start()
    for path in (f"/v1/jobs/{job_id}", f"/v1/jobs/{job_id}/result"):
        assert client.get(path).status_code == 404
    assert client.delete(f"/v1/jobs/{job_id}").status_code == 404


def test_too_many_that_wait(start: Start, held: HeldEngine) -> None:
    client = start(held, jobs_waiting=1)
    first = submit(client).json()["id"]
    wait_for(client, first, "running")
    assert submit(client).status_code == 202
    full = submit(client)
    problem(full, 503, "jobs_full")
    assert full.headers["retry-after"] == "10"
    held.go = True
    wait_for(client, first)
    wait_until(lambda: submit(client).status_code == 202)


def test_what_finds_no_place_keeps_its_rate(start: Start, held: HeldEngine, tmp_path: Path) -> None:
    (tmp_path / "keys").write_text(f"ann: {'a' * 20}\n")
    limits = {"requests_per_minute": 0.01, "burst": 2, "max_in_progress": 1, "max_waiting": 1}
    client = start(held, api_keys=str(tmp_path / "keys"), **limits)
    client.headers["x-api-key"] = "a" * 20
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(post, client)
        try:
            wait_until(lambda: held.begun == 1)
            for _ in range(4):
                problem(post(client), 503, "busy")
        finally:
            held.go = True
        assert first.result().status_code == 200
    assert post(client).status_code == 200
    problem(post(client), 429, "rate_limited")


def test_without_a_place_for_jobs(make_client: Start) -> None:
    client = make_client()
    problem(submit(client), 501, "jobs_disabled")
    for path in ("/v1/jobs/x", "/v1/jobs/x/result"):
        problem(client.get(path), 501, "jobs_disabled")


def test_a_place_that_cannot_be_used(start: Start, folder: Path) -> None:
    folder.write_text("a file")
    client = start()
    answer = submit(client)
    problem(answer, 503, "jobs_unavailable")
    assert answer.headers["retry-after"] == "10"
    assert str(folder) not in answer.text
    # All else goes on.
    assert client.get("/v1/models").json()["models"][0]["name"] == MODEL.name


def test_what_was_kept_of_a_job_is_damaged(
    start: Start, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    client = start()
    job = wait_for(client, submit(client).json()["id"])
    (image,) = folder.rglob("result-*")
    image.write_bytes(encode(draw_photo(80, 112, seed=9)))
    problem(client.get(job["result"]), 500, "job_damaged")
    (folder / "jobs" / job["id"] / "outcome.json").write_text('{"finished": "yes"}')
    caplog.clear()
    answer = client.get(f"/v1/jobs/{job['id']}")
    problem(answer, 500, "job_damaged")
    assert str(folder) not in answer.text
    assert "outcome.json" in caplog.text
    # Others go on.
    assert wait_for(client, submit(client).json()["id"])["state"] == "done"


def test_openapi_documents_jobs(start: Start) -> None:
    client = start()
    paths = client.get("/openapi.json").json()["paths"]
    create = paths["/v1/jobs"]["post"]
    form = create["requestBody"]["content"]["multipart/form-data"]
    fields = {"kind", "image", "mask", "feather", "content", "style", "strength"}
    assert fields <= set(form["schema"]["properties"])
    assert set(form["example"]) <= fields
    assert form["schema"]["required"] == []
    assert {"name": "Idempotency-Key"}.items() <= create["parameters"][0].items()
    schema = json.dumps(client.get("/openapi.json").json()["components"]["schemas"]["JobDocument"])
    for state in ("queued", "running", "done", "failed", "cancelled", "expired"):
        assert state in schema
    assert "example" in schema
    assert set(paths["/v1/jobs/{job_id}"]) == {"get", "delete"}
    assert "410" in paths["/v1/jobs/{job_id}/result"]["get"]["responses"]

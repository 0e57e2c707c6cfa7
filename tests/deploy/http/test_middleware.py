"""Limits, routes that are none, and an engine that fails."""

import asyncio
import json
import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.admission.fair_queue import FairQueue, TurnRequest
from kintsugi.deploy.admission.orderly_stop import OrderlyStop
from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import Busy, Filled, ModelInfo, Observer
from kintsugi.deploy.http import middleware
from kintsugi.deploy.http.access_log import AccessRecord
from kintsugi.deploy.http.image_service import ImageService
from kintsugi.deploy.http.middleware import MOST_BYTES, whole_number
from kintsugi.deploy.http.request_kinds import InpaintForm
from kintsugi.deploy.options import InpaintOptions
from kintsugi.deploy.settings import AppArgs
from tests.deploy.conftest import (
    MASK,
    MODEL,
    PHOTO,
    Mask,
    Pixels,
    encode,
    let_time_pass,
    post,
    post_style,
    problem,
)

MakeClient = Callable[..., TestClient]


def test_a_declared_length_is_refused_before_the_body_is_read(make_client: MakeClient) -> None:
    app = make_client(max_bytes=1000).app
    sent = []

    async def receive() -> Any:
        raise AssertionError("the body was read")

    async def send(message: Any) -> None:
        sent.append(message)

    headers = [(b"content-length", b"400000000"), (b"content-type", b"multipart/form-data")]
    scope = {"type": "http", "method": "POST", "path": "/v1/inpaint", "headers": headers}
    asyncio.run(app({**scope, "query_string": b"", "state": {}}, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 413
    assert json.loads(sent[1]["body"])["code"] == "body_too_large"


def test_a_body_without_a_length_is_cut_off_at_the_limit(make_client: MakeClient) -> None:
    read = 0

    def body() -> Iterator[bytes]:
        nonlocal read
        yield b'--x\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        for _ in range(100):
            read += 1
            yield bytes(1000)

    headers = {"content-type": "multipart/form-data; boundary=x"}
    client = make_client(max_bytes=10_000)
    response = client.post("/v1/inpaint", content=body(), headers=headers)
    problem(response, 413, "body_too_large")


@pytest.mark.parametrize("kind", [b"multipart/form-data; boundary=x", b"application/json"])
def test_a_body_that_trickles_is_cut_off(
    make_client: MakeClient, kind: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It would hold a place for ever."""
    monkeypatch.setattr(middleware, "PAUSE_SECONDS", 0.05)
    app = make_client().app
    coming = [{"type": "http.request", "body": b"--x", "more_body": True}] * 3
    sent = []

    async def receive() -> Any:
        await asyncio.sleep(0.01 if coming else 3600)
        return coming.pop()

    async def send(message: Any) -> None:
        sent.append(message)

    scope = {"type": "http", "method": "POST", "path": "/v1/inpaint", "query_string": b""}
    headers = [(b"content-type", kind)]
    asyncio.run(app({**scope, "headers": headers, "state": {}}, receive, send))  # type: ignore[arg-type]
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]
    assert json.loads(sent[1]["body"])["code"] == "too_slow"


def test_a_body_that_comes_steadily_is_not(
    make_client: MakeClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However long it takes in all: here each piece earns more time than there is."""
    monkeypatch.setattr(middleware, "PAUSE_SECONDS", 3600.0)
    monkeypatch.setattr(middleware, "LEAST_BYTES_A_SECOND", 1e-9)
    client = make_client()
    assert post(client).status_code == 200


@pytest.mark.parametrize(
    "kind", [b"multipart/form-data; boundary=x", b"application/json", b"image/png"]
)
def test_a_client_that_vanishes_is_no_bug(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture, kind: bytes
) -> None:
    app = make_client().app
    coming = [{"type": "http.request", "body": b"--x", "more_body": True}]

    async def receive() -> Any:
        return coming.pop() if coming else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        raise AssertionError("nobody listens")

    scope = {"type": "http", "method": "POST", "path": "/v1/inpaint", "query_string": b""}
    headers = [(b"content-type", kind)]
    if kind == b"image/png":
        scope["path"] = "/v2/models/tiny-random/infer"
    with caplog.at_level(logging.INFO):
        asyncio.run(app({**scope, "headers": headers, "state": {}}, receive, send))  # type: ignore[arg-type]
    (record,) = (each for each in caplog.records if each.levelno >= logging.INFO)
    assert record.access["code"] == "client_gone"  # type: ignore[attr-defined]
    assert record.access["status"] == 0  # type: ignore[attr-defined]


def test_other_routes_and_methods(client: TestClient) -> None:
    document = problem(client.get("/v1/nothing"), 404, "http_error")
    for known in ("POST /v1/inpaint", "POST /v1/stylize", "GET /v1/models", "GET /readyz"):
        assert known in document["hint"]
    problem(client.get("/v1/inpaint/../../admin"), 404, "http_error")
    response = client.get("/v1/inpaint")
    assert problem(response, 405, "http_error")["hint"] == "use POST"
    assert response.headers["allow"] == "POST"


class FailingEngine:
    """Raises, or takes too long."""

    def __init__(self, error: Exception | None = None) -> None:
        self.error = error
        self.given_up = False

    async def inpaint(self, pixels: Pixels, mask: Mask, options: object) -> Filled:
        return await self._fail()

    async def stylize(self, content: Pixels, style: Pixels, options: object) -> Filled:
        return await self._fail()

    async def _fail(self) -> Filled:
        if self.error:
            raise self.error
        let_time_pass(3600)
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            self.given_up = True
            raise
        raise AssertionError

    async def models(self) -> list[ModelInfo]:
        return [MODEL]

    async def ready(self) -> dict[str, bool]:
        return {"Refiner": True, "PatchSwap": False}


def test_the_deadline_gives_the_work_up(make_client: MakeClient) -> None:
    engine = FailingEngine()
    problem(post(make_client(engine, deadline_seconds=120)), 504, "deadline_exceeded")
    assert engine.given_up
    engine = FailingEngine()
    problem(post_style(make_client(engine, deadline_seconds=120)), 504, "deadline_exceeded")
    assert engine.given_up


def test_a_turn_that_does_not_come_in_time_is_no_504() -> None:
    """Nothing was computed, and later it will be: who asked hears when."""
    args, turns = AppArgs(release="unused", deadline_seconds=0.5), FairQueue(1)
    work = ImageService(FailingEngine(), args, Observer(), turns)
    form = InpaintForm(encode(PHOTO), encode(MASK), InpaintOptions())

    async def go() -> int:
        async with turns.turn(TurnRequest("other")):
            with pytest.raises(Busy) as caught:
                await work.inpaint(form, AccessRecord())
        assert turns.all_waiting() == turns.running() == 0
        return caught.value.retry_after

    try:
        assert asyncio.run(go()) >= 1
    finally:
        work.close()


def test_a_busy_engine_says_when_to_try_again(make_client: MakeClient) -> None:
    response = post(make_client(FailingEngine(Busy("queue of 12"))))
    problem(response, 503, "busy")
    assert response.headers["retry-after"] == "2"


def test_a_bug_goes_to_the_log_and_not_to_the_client(
    make_client: MakeClient, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        response = post(make_client(FailingEngine(RuntimeError("secret /etc/path"))))
    document = problem(response, 500, "internal_error")
    assert "secret" not in response.text
    assert document["request_id"] in caplog.text
    assert "secret /etc/path" in caplog.text


def test_readiness_names_the_node_that_does_not_answer(make_client: MakeClient) -> None:
    response = make_client(FailingEngine()).get("/readyz")
    assert response.status_code == 503
    assert response.json() == {
        "ready": False,
        "requests": 0,
        "nodes": {"Refiner": True, "PatchSwap": False},
    }


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("0", 0),
        ("0012", 12),
        ("999999999999999999", 999999999999999999),
        ("1" + 18 * "0", MOST_BYTES),
        ("9" * 5000, MOST_BYTES),
        ("", None),
        ("-1", None),
        ("1e3", None),
        ("²", None),
    ],
)
def test_a_size_that_a_header_says(text: str, number: int | None) -> None:
    assert whole_number(text) == number


def test_a_declared_length_of_thousands_of_digits_is_too_large(client: TestClient) -> None:
    answer = client.post("/v1/inpaint", content=b"", headers={"content-length": "9" * 5000})
    problem(answer, 413, "body_too_large")


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("127.0.0.1:8000", 200),
        ("LOCALHOST", 200),
        ("[::1]:8000", 200),
        ("evil.example", 421),
        ("evil.example:8000", 421),
        ("127.0.0.1.evil.example", 421),
        ("[::2]:8000", 421),
    ],
)
def test_other_names_are_sent_away(make_client: MakeClient, host: str, status: int) -> None:
    """A page of elsewhere points its own name at this machine: its browser then sends that."""
    client = make_client(hosts=["localhost", "127.0.0.1", "::1"])
    for path in ("/v1/models", "/readyz", "/"):
        answer = client.get(path, headers={"host": host})
        assert answer.status_code == status
        if status == 421:
            problem(answer, 421, "host_not_served")


PAGES = [
    ({}, True),
    ({"sec-fetch-site": "same-origin", "origin": "http://127.0.0.1:8000"}, True),
    ({"sec-fetch-site": "none"}, True),
    ({"origin": "http://127.0.0.1:8000"}, True),
    ({"origin": "https://photos.example"}, True),
    ({"sec-fetch-site": "cross-site", "origin": "https://evil.example"}, False),
    # Another port of this machine, where somebody else's page may be.
    ({"sec-fetch-site": "same-site", "origin": "http://127.0.0.1:3000"}, False),
    ({"sec-fetch-site": "cross-site", "origin": "http://127.0.0.1:8000"}, False),
    ({"origin": "https://evil.example"}, False),
    ({"origin": "http://127.0.0.1:3000"}, False),
    ({"origin": "http://127.0.0.1.evil.example"}, False),
    ({"origin": "null"}, False),
]


@pytest.mark.parametrize(("headers", "is_own"), PAGES)
def test_a_page_of_elsewhere_makes_no_work(
    make_client: MakeClient, headers: dict[str, str], is_own: bool
) -> None:
    """A form crosses sites without leave: it would fill the disk of who visits a page."""
    client = make_client(hosts=["photos.example", "127.0.0.1"])
    client.headers["host"] = "127.0.0.1:8000"
    asks = [
        client.post("/v1/jobs", headers=headers),
        client.post("/v1/inpaint", headers=headers),
        client.post("/v2/models/x/infer", headers=headers),
        client.delete("/v1/jobs/0", headers=headers),
    ]
    assert [answer.status_code == 403 for answer in asks] == [not is_own] * 4
    if not is_own:
        problem(asks[0], 403, "cross_site")
    assert client.get("/v1/models", headers=headers).status_code == 200


def test_where_keys_are_asked_for_pages_of_elsewhere_may_have_one(
    make_client: MakeClient, tmp_path: Path
) -> None:
    (tmp_path / "keys").write_text("a" * 20)
    client = make_client(api_keys=str(tmp_path / "keys"))
    headers = {"sec-fetch-site": "cross-site", "origin": "https://shop.example"}
    problem(client.post("/v1/inpaint", headers=headers), 401, "key_missing")
    headers["x-api-key"] = "a" * 20
    problem(client.post("/v1/inpaint", headers=headers), 415, "content_type")


@pytest.mark.parametrize(
    ("hosts", "status"),
    [(["localhost", "127.0.0.1", "::1"], 200), (["photos.example.com"], 421), ([], 200)],
)
def test_names_of_this_machine_do_not_shut_out_who_has_a_key(
    make_client: MakeClient,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    hosts: list[str],
    status: int,
) -> None:
    """deploy/serve.yaml has them, and everybody else comes by another name."""
    (tmp_path / "keys").write_text("a: 0123456789abcdef\n")
    client = make_client(hosts=hosts, api_keys=str(tmp_path / "keys"))
    headers = {"host": "other.example.com:8000", "x-api-key": "0123456789abcdef"}
    assert client.get("/v1/models", headers=headers).status_code == status
    # What stands in front asks for the key alone: else its answer would hide the cause.
    assert client.get("/keyz", headers=headers).status_code == 204
    assert ("hosts is passed over" in caplog.text) == (hosts == ["localhost", "127.0.0.1", "::1"])


def test_what_is_stopped_answers_what_it_has_begun_and_nothing_else() -> None:
    """Probes are answered: they say for what it waits."""
    stop = OrderlyStop()
    engine = FailingEngine()
    client = TestClient(build_api(engine, AppArgs(release=""), stop=stop))  # type: ignore[arg-type]
    with stop.one_more():
        stop.begun = True
        refused = client.get("/")
        document = problem(refused, 503, "stopping")
        assert refused.headers["retry-after"] == "5"
        assert "5 seconds" in document["hint"]
        assert client.get("/v2/health/ready").status_code == 503
        assert client.get("/healthz").status_code == 200
        assert client.get("/readyz").json() == {
            "ready": False,
            "requests": 1,
            "nodes": {},
            "stopping": True,
        }
    assert client.get("/readyz").json()["requests"] == 0

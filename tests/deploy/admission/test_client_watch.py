"""Who leaves gives the work up, at a real socket: what runs, what waits, and what is opened."""

import asyncio
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import numpy as np
import pytest

from kintsugi.deploy.admission.client_watch import ClientWatch
from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import Answered, Filled, ModelInfo, Observer
from kintsugi.deploy.sandbox import codec_pool
from kintsugi.deploy.sandbox.codec_pool import CodecPool
from kintsugi.deploy.settings import AppArgs
from tests.deploy.conftest import MASK, MODEL, PHOTO, encode
from tests.http_server import serving

PATIENCE = 60.0


class HeldEngine:
    """Fills when it is let go; one at a time, as a laptop does."""

    def __init__(self) -> None:
        self.begun, self.given_up, self.made = 0, 0, 0
        self.let_go = threading.Event()
        self._one = asyncio.Lock()

    async def inpaint(self, pixels: Any, mask: Any, options: Any, **_: Any) -> Filled:
        self.begun += 1
        try:
            async with self._one:
                while not self.let_go.is_set():
                    await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        self.made += 1
        return Filled(np.full_like(pixels[..., :3], 9), MODEL)

    async def models(self) -> list[ModelInfo]:
        return [MODEL]

    async def ready(self) -> dict[str, bool]:
        return {"Held": True}


class Outcomes(Observer):
    """What became of each request."""

    def __init__(self) -> None:
        self.all: list[str] = []

    def answered(self, answer: Answered) -> None:
        self.all.append(answer.outcome)


class Service:
    """One that listens."""

    def __init__(self) -> None:
        self.engine, self.outcomes = HeldEngine(), Outcomes()
        args = AppArgs(release="unused", max_in_progress=2)
        self.app = build_api(self.engine, args, observer=self.outcomes)  # type: ignore[arg-type]
        self.url = ""

    def asked(self) -> socket.socket:
        """A client that has sent a fill."""
        parts = urlsplit(self.url)
        client = socket.create_connection((parts.hostname, parts.port), timeout=PATIENCE)
        client.sendall(fill_request())
        return client


@pytest.fixture
def service() -> Iterator[Service]:
    service = Service()
    with serving(service.app) as service.url:
        try:
            yield service
        finally:
            service.engine.let_go.set()


def fill_request() -> bytes:
    parts = b"".join(
        b'--x\r\ncontent-disposition: form-data; name="%s"; filename="f"\r\n\r\n%s\r\n'
        % (name, encode(pixels))
        for name, pixels in ((b"image", PHOTO), (b"mask", MASK))
    )
    body = parts + b"--x--\r\n"
    head = (
        "POST /v1/inpaint HTTP/1.1\r\nhost: a\r\ncontent-type: multipart/form-data; boundary=x\r\n"
        f"content-length: {len(body)}\r\nconnection: close\r\n\r\n"
    )
    return head.encode() + body


def wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


def test_what_a_client_who_leaves_has_asked_for_is_given_up(service: Service) -> None:
    engine, outcomes = service.engine, service.outcomes.all
    # Two are computed, and one waits for its turn.
    clients = [service.asked() for _ in range(3)]
    wait_for(lambda: engine.begun == 2)
    for client in clients:
        client.close()
    wait_for(lambda: len(outcomes) == 3)
    assert outcomes == ["client_gone"] * 3
    assert (engine.begun, engine.given_up) == (2, 2)
    engine.let_go.set()
    with service.asked() as last:
        assert last.recv(2**10).startswith(b"HTTP/1.1 200 ")
    wait_for(lambda: len(outcomes) == 4)
    assert engine.made == 1
    assert outcomes[3] == "ok"


def test_its_codec_process_is_killed(service: Service, monkeypatch: pytest.MonkeyPatch) -> None:
    """Within an opening that would not end by itself."""
    opening, ended = threading.Event(), threading.Event()
    end = codec_pool.Opened.close

    async def held(pool: CodecPool, *given: Any) -> Any:
        opening.set()
        await asyncio.sleep(PATIENCE)

    async def noted(opened: codec_pool.Opened) -> None:
        await end(opened)
        ended.set()

    monkeypatch.setattr(CodecPool, "exchange", held)
    monkeypatch.setattr(codec_pool.Opened, "close", noted)
    with service.asked():
        assert opening.wait(PATIENCE)
        assert not ended.is_set()
    assert ended.wait(PATIENCE / 2)
    assert service.engine.begun == 0


def test_an_answer_that_is_sent_is_not_given_up() -> None:
    """Once it is whole the server says that its client has gone, whether or not it has."""
    done = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        assert (await receive())["type"] == "http.request"
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": b"x"})
        assert (await receive())["type"] == "http.disconnect"
        await asyncio.sleep(0.05)
        done.append(True)

    answered = asyncio.Event()
    coming = [{"type": "http.request", "body": b"", "more_body": False}]

    async def receive() -> Any:
        if coming:
            return coming.pop()
        await answered.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        if message["type"] == "http.response.body":
            answered.set()

    asyncio.run(ClientWatch(app)({"type": "http"}, receive, send))  # type: ignore[arg-type]
    assert done


def test_what_cancels_the_whole_is_no_client_who_left() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await asyncio.sleep(PATIENCE)

    async def receive() -> Any:
        await asyncio.sleep(PATIENCE)

    async def go() -> None:
        task = asyncio.ensure_future(ClientWatch(app)({"type": "http"}, receive, receive))  # type: ignore[arg-type]
        await asyncio.sleep(0.01)
        task.cancel()
        await task

    with pytest.raises(asyncio.CancelledError):
        asyncio.run(go())

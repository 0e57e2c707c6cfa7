"""Connections that are slow, or say too much, at uvicorn as one process serves: real sockets."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import uvicorn
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from kintsugi.deploy.http import connections
from kintsugi.deploy.http.connections import BoundedConnection, Bounds
from kintsugi.deploy.http.middleware import LEAST_BYTES_A_SECOND
from kintsugi.deploy.http.problems import ProblemDocument

LONG = 8 * 2**20


class OverH11(Bounds, H11Protocol):
    """Where httptools is not installed."""


async def app(scope: Scope, receive: Receive, send: Send) -> None:
    """Reads what it is sent, but at /early; answers with a byte, but at /long."""
    if scope["type"] != "http":
        return
    more = scope["path"] != "/early"
    while more:
        more = (await receive()).get("more_body", False)
    body = bytes(LONG) if scope["path"] == "/long" else b"x"
    headers = [(b"content-length", str(len(body)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


@contextmanager
def serving(protocol: type[Any]) -> Iterator[int]:
    config = uvicorn.Config(app, port=0, http=protocol, ws="none", log_config=None, lifespan="off")
    server = uvicorn.Server(config)
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: asyncio.run(server.serve()))
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield server.servers[0].sockets[0].getsockname()[1]
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)


@pytest.fixture(params=[BoundedConnection, OverH11], ids=["as installed", "h11"])
def port(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Iterator[int]:
    for name in ("HEAD_SECONDS", "LINGER_SECONDS", "WRITE_SECONDS"):
        monkeypatch.setattr(connections, name, 0.5)
    with serving(request.param) as found:
        yield found


def connect(port: int) -> socket.socket:
    return socket.create_connection(("127.0.0.1", port), timeout=120)


def rest(client: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    got = b""
    with suppress(ConnectionError):
        while some := client.recv(2**16):
            got += some
    return got


def problem(answer: bytes) -> ProblemDocument:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert b"application/problem+json" in head
    document = ProblemDocument.model_validate(json.loads(body))
    assert head.startswith(f"HTTP/1.1 {document.status} ".encode())
    return document


def test_who_asks_for_nothing_is_disconnected(port: int) -> None:
    with connect(port) as client:
        assert rest(client) == b""


def test_a_header_that_does_not_end(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\n")
        assert problem(rest(client)).code == "too_slow"


@pytest.mark.parametrize("line", [b"a: " + b"b" * 1000 + b"\r\n", b"c" * 1000], ids=["many", "one"])
def test_a_header_that_is_too_long(port: int, line: bytes) -> None:
    """However it comes; little is kept of it."""
    sent = 0
    with connect(port) as client:
        client.sendall(b"GET / HTTP/1.1\r\nhost: a\r\nd: ")
        client.setblocking(False)
        give_up = time.monotonic() + 120
        with suppress(ConnectionError):
            while time.monotonic() < give_up:
                with suppress(BlockingIOError):
                    sent += client.send(line)
                with suppress(BlockingIOError):
                    if not client.recv(2**16, socket.MSG_PEEK):
                        break
    # No more than fits into the sockets' buffers between them.
    assert sent < 100 * 2**20


def test_what_is_no_request_is_a_problem_document(port: int) -> None:
    with connect(port) as client:
        client.sendall(b"what\r\n\r\n")
        assert problem(rest(client)).code == "bad_request"


def test_who_does_not_read_is_disconnected(port: int) -> None:
    with connect(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.sendall(b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        time.sleep(3)
        assert len(rest(client)) < LONG


def test_a_body_that_nobody_reads_ends_too(port: int) -> None:
    """Refused early, it goes on a while, so that its client reads why, and no longer."""
    head = b"POST /early HTTP/1.1\r\nhost: a\r\ncontent-length: 1000000000\r\n\r\n"
    with connect(port) as client:
        client.sendall(head)
        assert client.recv(2**16).startswith(b"HTTP/1.1 200 ")
        give_up = time.monotonic() + 120
        with suppress(ConnectionError):
            while time.monotonic() < give_up:
                client.sendall(b"x")
                time.sleep(0.05)
        assert time.monotonic() < give_up


def test_pipelined_and_repeated_requests_are_answered_in_order(port: int) -> None:
    with connect(port) as client:
        one = b"GET / HTTP/1.1\r\nhost: a\r\n\r\n"
        post = b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100000\r\n\r\n" + bytes(100_000)
        last = one.replace(b"host", b"connection: close\r\nhost")
        client.sendall(one * 300 + post + one * 300 + post + last)
        answers = rest(client)
    assert answers.count(b"HTTP/1.1 200 OK\r\n") == 603
    assert answers.endswith(b"\r\n\r\nx")


class Clock:
    """An event loop's clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.timers: list[Timer] = []

    def call_later(self, seconds: float, call: Callable[[], None]) -> "Timer":
        self.timers.append(Timer(self.now + seconds, call))
        return self.timers[-1]

    def pass_by(self, seconds: float) -> None:
        self.now += seconds
        for timer in [each for each in self.timers if each.at <= self.now]:
            self.timers.remove(timer)
            if not timer.cancelled:
                timer.call()


@dataclass
class Timer:
    at: float
    call: Callable[[], None]
    cancelled: bool = False

    def cancel(self) -> None:
        self.cancelled = True


@dataclass
class Wire:
    """A transport, and what is held for its client."""

    socket: socket.socket
    aborted: bool = False
    held: int = 0

    def get_write_buffer_size(self) -> int:
        return self.held

    def get_extra_info(self, name: str) -> Any:
        return getattr(self, name)

    def abort(self) -> None:
        self.aborted = True

    def is_closing(self) -> bool:
        return self.aborted


class Below(asyncio.Protocol):
    """What is left of uvicorn's: a cycle begins when a header is whole."""

    cycle: Any = None

    def __init__(self, loop: Clock) -> None:
        self.loop = loop

    def connection_made(self, transport: Any) -> None:
        self.transport = transport

    def data_received(self, data: bytes) -> None:
        if data.endswith(b"\r\n\r\n"):
            self.cycle = SimpleNamespace(response_complete=True, scope={"headers": []})


class Bounded(Bounds, Below):
    """Ours over that."""


@pytest.fixture
def bounded() -> Iterator[tuple[Bounded, Clock, Wire]]:
    with socket.socket() as unused:
        clock, wire = Clock(), Wire(unused)
        connection = Bounded(clock)
        connection.connection_made(wire)  # type: ignore[arg-type]
        yield connection, clock, wire


def test_who_reads_slowly_is_not_disconnected(bounded: tuple[Bounded, Clock, Wire]) -> None:
    """Each pause is short of the limit, and all together are longer."""
    connection, clock, wire = bounded
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    for _ in range(10):
        connection.pause_writing()
        clock.pass_by(0.9 * connections.WRITE_SECONDS)
        connection.resume_writing()
    assert not wire.aborted
    connection.pause_writing()
    clock.pass_by(1.1 * connections.WRITE_SECONDS)
    assert wire.aborted


def test_one_answer_may_take_long_while_it_is_read(bounded: tuple[Bounded, Clock, Wire]) -> None:
    connection, clock, wire = bounded
    enough = int(connections.WRITE_SECONDS * LEAST_BYTES_A_SECOND)
    connection.data_received(b"GET / HTTP/1.1\r\n\r\n")
    wire.held = 20 * enough
    connection.pause_writing()
    for _ in range(10):
        wire.held -= enough
        clock.pass_by(1.01 * connections.WRITE_SECONDS)
        assert not wire.aborted
    wire.held -= enough - 1
    clock.pass_by(1.01 * connections.WRITE_SECONDS)
    assert wire.aborted, "a trickle holds memory like one who does not read"


def test_who_reads_steadily_gets_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """In several times the seconds after which it is looked."""
    monkeypatch.setattr(connections, "WRITE_SECONDS", 1.0)
    with serving(BoundedConnection) as port, connect(port) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2**16)
        client.sendall(b"GET /long HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        got = 0
        while some := client.recv(2**16):
            got += len(some)
            time.sleep(0.05)
    assert got > LONG


def test_each_header_of_a_connection_has_its_own_time(
    bounded: tuple[Bounded, Clock, Wire],
) -> None:
    connection, clock, wire = bounded
    for _ in range(10):
        connection.data_received(b"GET / HTTP/1.1\r\n")
        clock.pass_by(0.9 * connections.HEAD_SECONDS)
        connection.data_received(b"\r\n\r\n")
    assert not wire.aborted
    # Nothing waits for one that is not begun: uvicorn ends such a connection itself.
    clock.pass_by(1000)
    assert not wire.aborted
    connection.data_received(b"GET / HTTP/1.1\r\n")
    clock.pass_by(1.1 * connections.LINGER_SECONDS)
    assert wire.aborted

"""Requests that are hostile in themselves, at the service without nginx: what others get meanwhile,
and what is left of them."""

import select
import socket
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, suppress

import httpx2
import numpy as np
import pytest

from kintsugi.servers.draining import unread
from tests.abuse.conftest import ABUSE, Note
from tests.abuse.laptop import MASK, PHOTO, Laptop, family, laptop, wait_until
from tests.deploy.conftest import draw_mask, draw_photo, encode
from tests.kintsugi import bombs

pytestmark = ABUSE

IDLE, TRICKLED, CANCELLED, DEAF = 1500, 60, 200, 12


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, release: str) -> Iterator[Laptop]:
    with laptop(tmp_path_factory.mktemp("laptop"), release, deadline_seconds=600) as running:
        running.post()
        yield running


def connect(service: Laptop) -> socket.socket:
    address = service.url.removeprefix("http://").split(":")
    return socket.create_connection((address[0], int(address[1])), timeout=300)


def head(path: str = "/v1/inpaint", *lines: str) -> bytes:
    kind = "content-type: multipart/form-data; boundary=x"
    return "\r\n".join([f"POST {path} HTTP/1.1", "host: 127.0.0.1", kind, *lines, "", ""]).encode()


def part(name: str) -> bytes:
    """Before a file."""
    about = f'content-disposition: form-data; name="{name}"; filename="a"'
    return f"--x\r\n{about}\r\n\r\n".encode()


def form(path: str, **files: bytes) -> bytes:
    """A whole request."""
    parts = b"".join(part(name) + data + b"\r\n" for name, data in files.items())
    body = parts + b"--x--\r\n"
    return head(path, f"content-length: {len(body)}") + body


def requests_inside(service: Laptop) -> int:
    return int(service.get("/readyz", timeout=300).json()["requests"])


def all_is_quiet(service: Laptop) -> None:
    """Nothing is left of them, and the next one is served."""
    wait_until(lambda: requests_inside(service) == 0, "done with all", 300, service)
    # The service and the server that forks its codec processes.
    wait_until(lambda: len(family(service.process.pid)) <= 2, "rid of its processes", 120, service)
    assert service.post().status_code == 200


def test_connections_that_ask_for_nothing(service: Laptop, measured: Note) -> None:
    """Some say nothing at all, some begin a header and never end it."""
    with ExitStack() as stack:
        idle = [stack.enter_context(connect(service)) for _ in range(IDLE)]
        for client in idle[::2]:
            client.sendall(b"GET / HTTP/1.1\r\nhost: ")
        assert {service.post().status_code for _ in range(5)} == {200}
        ended = Counter[bytes]()
        for client in idle:
            with suppress(ConnectionError):
                ended[client.recv(12)] += 1
    # All of them were let go by the service.
    assert set(ended) <= {b"", b"HTTP/1.1 408"}
    measured("1,500 connections without a request: ended", sum(ended.values()))
    all_is_quiet(service)


@pytest.mark.parametrize("kind", ["counted", "chunked"])
def test_bodies_that_trickle(service: Laptop, kind: str, measured: Note) -> None:
    """They take the places of their key, and are sent away while they still trickle."""
    length = "content-length: 3000000" if kind == "counted" else "transfer-encoding: chunked"
    ended = threading.Event()
    with ExitStack() as stack:
        slow = [stack.enter_context(connect(service)) for _ in range(TRICKLED)]
        for client in slow:
            begun = part("image")
            size = b"" if kind == "counted" else f"{len(begun):x}\r\n".encode()
            client.sendall(head("/v1/inpaint", length) + size + begun + (b"\r\n" if size else b""))

        def trickle() -> None:
            while not ended.wait(1):
                for client in slow:
                    with suppress(OSError):
                        client.send(b"-" if kind == "counted" else b"1\r\n-\r\n")

        thread = threading.Thread(target=trickle)
        thread.start()
        try:
            # All are let go while they still send, and none waits for another.
            wait_until(lambda: all(map(is_answered, slow)), "let go", 300, service)
            statuses = [service.post().status_code for _ in range(3)]
        finally:
            ended.set()
            thread.join()
        answers = Counter[bytes]()
        for client in slow:
            with suppress(ConnectionError):
                answers[client.recv(12)[9:]] += 1
    assert statuses == [200] * 3
    # Those for whom there was a place were cut off; the others had none.
    assert set(answers) <= {b"408", b"503", b""}
    assert answers[b"408"] > 0
    measured(f"60 {kind} bodies that trickle: cut off while they did", answers[b"408"])
    all_is_quiet(service)


def is_answered(client: socket.socket) -> bool:
    """Whether something has come, or its end."""
    return bool(select.select([client], [], [], 0)[0])


def test_requests_that_are_given_up(service: Laptop) -> None:
    """Two hundred that are gone before they are answered: nothing goes on for them."""
    files = {"image": encode(draw_photo(640, 640)), "mask": encode(draw_mask(640, 640))}
    request = form("/v1/inpaint", **files)
    before = service.counted('kintsugi_stage_seconds_count{stage="inpaint"}')
    for index in range(CANCELLED):
        with connect(service) as client:
            client.sendall(request if index % 3 else request[: len(request) // 2])
    all_is_quiet(service)
    made = service.counted('kintsugi_stage_seconds_count{stage="inpaint"}') - before
    assert made < CANCELLED / 4


def test_clients_that_do_not_read(service: Laptop) -> None:
    """Their answers are megabytes; others are served, and they are disconnected."""
    noise = np.random.default_rng(0).integers(0, 256, (1400, 1400, 4), np.uint8)
    # With transparency it is answered as PNG, which makes no noise smaller.
    request = form("/v1/preview", image=encode(noise, compress_level=1))
    with ExitStack() as stack:
        deaf = []
        for _ in range(DEAF):
            client = stack.enter_context(socket.socket())
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            address = service.url.removeprefix("http://").split(":")
            client.connect((address[0], int(address[1])))
            client.settimeout(300)
            client.sendall(request)
            deaf.append(client)
        for _ in range(5):
            assert service.post().status_code == 200
        all_is_quiet(service)
        port = int(service.url.rpartition(":")[2])
        wait_until(lambda: unread(port) == 0, "rid of them", 300, service)
        for client in deaf:
            got = 0
            with suppress(ConnectionError):
                while some := client.recv(2**20):
                    got += len(some)
            assert got < len(request)


def test_a_thousand_requests_at_once_on_one_connection(service: Laptop) -> None:
    """Pipelined: they are answered one after the other, and others meanwhile."""
    one = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n"
    last = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\nconnection: close\r\n\r\n"
    with connect(service) as client:
        client.sendall(one * 500 + form("/v1/inpaint", image=PHOTO, mask=MASK) + one * 500 + last)
        assert service.post().status_code == 200
        got = b""
        while some := client.recv(2**20):
            got += some
    assert got.count(b'{"healthy":true}') == 1001
    assert got.count(b"content-type: image/png") == 1
    all_is_quiet(service)


@pytest.mark.parametrize(
    ("lines", "status"),
    [
        # Nobody is asked to send what is refused.
        (("content-length: 400000000", "expect: 100-continue"), b"413"),
        (("content-length: 3000", "expect: 100-continue", "content-encoding: gzip"), b"415"),
        (("content-length: 3000", *[f"a{n}: {'b' * 60}" for n in range(1000)]), b"431"),
        (("content-length: 3000", f"a: {'b' * 200_000}"), b"431"),
    ],
    ids=["length", "gzip", "many headers", "long header"],
)
def test_headers_that_say_too_much(service: Laptop, lines: tuple[str, ...], status: bytes) -> None:
    with connect(service) as client:
        sent = head("/v1/inpaint", *lines)
        with suppress(ConnectionError):
            for start in range(0, len(sent), 4096):
                client.sendall(sent[start : start + 4096])
                time.sleep(0.001)
        got = client.recv(2**16)
    assert got.split()[1] == status, got[:80]
    assert b"100 Continue" not in got
    assert b"application/problem+json" in got
    all_is_quiet(service)


def test_many_values_in_json(service: Laptop) -> None:
    """Forty megabytes of empty lists would be more than a gigabyte of them."""
    body = b'{"seed":[' + b"[]," * 13_000_000 + b"[]]}"
    held = service.own_bytes()
    kind = {"content-type": "application/json"}
    answer = service.client.post(f"{service.url}/v1/inpaint", content=body, headers=kind)
    assert (answer.status_code, answer.json()["code"]) == (400, "json_malformed")
    wait_until(lambda: service.own_bytes() - held < 100 * 2**20, "given back", 120, service)


@pytest.mark.parametrize("role", ["image", "mask"])
def test_files_that_ask_for_far_more_than_they_are(
    service: Laptop, role: str, measured: Note
) -> None:
    """Each is refused, for less of a processor than a large photograph takes."""
    most = 0.0
    for name, data in bombs.costly().items():
        before = service.processor_seconds()
        answer = service.post(**{role: data})
        took = service.processor_seconds() - before
        assert (answer.status_code, answer.json()["code"]) == (422, f"{role}_too_costly"), name
        most = max(most, took)
    measured(f"costly {role}s: processor of the dearest, s", most)
    assert most < 2
    all_is_quiet(service)


def test_a_range_of_thousands_of_parts(service: Laptop) -> None:
    """Of the page's own files: they are sent whole, or once."""
    page = service.get("/")
    assert page.status_code == 200
    ranges = ",".join(f"{n}-" for n in range(0, 3000))
    answer = httpx2.get(f"{service.url}/", headers={"range": f"bytes={ranges}"[:30_000]})
    assert answer.status_code in (200, 206, 400, 416)
    assert len(answer.content) <= 2 * len(page.content)

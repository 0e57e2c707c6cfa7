"""A thousand connections that trickle, and what is no request, at nginx and the service."""

import json
import re
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx2
import pytest

from kintsugi.deploy.http.problems import ProblemDocument
from tests.abuse.conftest import ABUSE, Note
from tests.abuse.laptop import MASK, PHOTO, laptop
from tests.deploy.edge import edge

pytestmark = ABUSE

SLOW = 1000
# nginx.conf lets in sixteen of one address.
OF_ONE_ADDRESS = 15
EVERY_SECONDS = 3.0
_HOST = b"host: 127.0.0.1\r\n"
SLOW_HEAD = (
    b"POST /v1/inpaint HTTP/1.1\r\n"
    + _HOST
    + b"content-type: multipart/form-data; boundary=x\r\ncontent-length: 3000000\r\n\r\n"
)


class Trickle:
    """Connections that each send a byte of their body now and then, until the block ends."""

    def __init__(self, port: int, count: int, head: bytes) -> None:
        self._clients = []
        for index in range(count):
            client = socket.socket()
            client.bind((f"127.0.2.{index // OF_ONE_ADDRESS + 1}", 0))
            client.connect(("127.0.0.1", port))
            client.sendall(head)
            client.setblocking(False)
            self._clients.append(client)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._send)

    def __enter__(self) -> "Trickle":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
        for client in self._clients:
            client.close()

    def answers(self) -> Counter[str]:
        """Status of each connection; "" for one that is open and was not answered."""
        found: Counter[str] = Counter()
        for client in self._clients:
            try:
                got = client.recv(16, socket.MSG_PEEK)
                found[got[9:12].decode() if got else "closed"] += 1
            except BlockingIOError:
                found[""] += 1
            except ConnectionError:
                found["reset"] += 1
        return found

    def _send(self) -> None:
        while not self._ended.wait(EVERY_SECONDS):
            for client in self._clients:
                with suppress(OSError):
                    client.send(b"x")


@contextmanager
def behind_the_edge(folder: Path, release: str, **settings: object) -> Iterator[int]:
    """The service with nginx in front, as deploy/edge configures it. Yields nginx's port."""
    with laptop(folder, release, **settings) as service:
        service.post()
        with edge(folder, int(service.url.rpartition(":")[2]), {}) as port:
            yield port


def fill(port: int, **headers: str) -> int:
    files = {"image": ("image.bin", PHOTO), "mask": ("mask.bin", MASK)}
    url = f"http://127.0.0.1:{port}/v1/inpaint"
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx2.post(url, files=files, headers=named, timeout=300).status_code


def test_a_thousand_trickled_bodies(tmp_path: Path, release: str, measured: Note) -> None:
    with behind_the_edge(tmp_path, release) as port, Trickle(port, SLOW, SLOW_HEAD) as slow:
        statuses = [fill(port) for _ in range(20)]
        # All of them were there all the while, and nothing was said to them.
        assert slow.answers() == {"": SLOW}
    measured("1,000 trickled bodies: fills of others answered", statuses.count(200))
    assert statuses == [200] * 20


def test_without_a_key_that_holds_nobody_trickles(
    tmp_path: Path, release: str, measured: Note
) -> None:
    """Answered from the header alone, and given no place at all."""
    keys = tmp_path / "keys"
    keys.write_text("mine: my-key-of-enough-length\n")
    head = SLOW_HEAD.replace(_HOST, _HOST + b"x-api-key: some-other-key-0123456789\r\n")
    with (
        behind_the_edge(tmp_path, release, api_keys=str(keys)) as port,
        Trickle(port, SLOW, head) as slow,
    ):
        statuses = [fill(port, x_api_key="my-key-of-enough-length") for _ in range(20)]
        refused = slow.answers()
    assert statuses == [200] * 20
    measured("1,000 trickled bodies with a wrong key: refused with 403", refused["403"])
    # Each was answered and is disconnected soon after; with 503 where its key asks too often at one
    # time, or the service cannot say of so many at once whether they hold.
    assert not set(refused) - {"403", "503", "reset", "closed"}
    assert refused["403"] > 0


@pytest.fixture(scope="module")
def port(tmp_path_factory: pytest.TempPathFactory, release: str) -> Iterator[int]:
    with behind_the_edge(tmp_path_factory.mktemp("edge"), release) as found:
        yield found


MALFORMED = {
    "no target": b"GET\r\n\r\n",
    "an empty target": b"GET  HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a version that is none": b"GET / HTTP/9.9\r\n" + _HOST + b"\r\n",
    "a word too many": b"GET / HTTP/1.1 x\r\n" + _HOST + b"\r\n",
    "letters for a version": b"GET / HTTP/x.y\r\n" + _HOST + b"\r\n",
    "a NUL in the method": b"G\0T / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a NUL in the target": b"GET /\0 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a method in lower case": b"get / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a URL without a host": b"GET http:// HTTP/1.1\r\n" + _HOST + b"\r\n",
    "above the root": b"GET /../../etc/passwd HTTP/1.1\r\n" + _HOST + b"\r\n",
    "above the root, encoded": b"GET /%2e%2e/%2e%2e/x HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an escape that is none": b"GET /%zz HTTP/1.1\r\n" + _HOST + b"\r\n",
    "an encoded NUL": b"GET /%00 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a star": b"GET * HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a proxy's method": b"CONNECT a:443 HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a method that echoes": b"TRACE / HTTP/1.1\r\n" + _HOST + b"\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(range(64)) + b"\r\n\r\n",
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + bytes(9),
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    "a host with a space": b"GET / HTTP/1.1\r\nhost: a b\r\n\r\n",
    "a target of 40 kB": b"GET /" + b"a" * 40_000 + b" HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a header of 40 kB": b"GET / HTTP/1.1\r\n" + _HOST + b"a: " + b"b" * 40_000 + b"\r\n\r\n",
    "a header without a colon": b"GET / HTTP/1.1\r\n" + _HOST + b"abc\r\n\r\n",
    "a header with a space": b"GET / HTTP/1.1\r\n" + _HOST + b"a b: c\r\n\r\n",
    "a folded header": b"GET / HTTP/1.1\r\n" + _HOST + b" folded: x\r\n\r\n",
    "no UTF-8": b"GET /\xff\xfe HTTP/1.1\r\n" + _HOST + b"\r\n",
    "a length of letters": b"POST /v1/inpaint HTTP/1.1\r\n" + _HOST + b"content-length: x\r\n\r\n",
    "a negative length": b"POST /v1/inpaint HTTP/1.1\r\n" + _HOST + b"content-length: -1\r\n\r\n",
    "chunks of no length": b"POST /v1/inpaint HTTP/1.1\r\n"
    + _HOST
    + b"transfer-encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "an expectation": b"GET / HTTP/1.1\r\n" + _HOST + b"expect: wonders\r\n\r\n",
}


def ask(port: int, sent: bytes) -> bytes:
    """All that is answered."""
    got = b""
    with socket.create_connection(("127.0.0.1", port), timeout=30) as client:
        with suppress(ConnectionError):
            client.sendall(sent)
        client.shutdown(socket.SHUT_WR)
        with suppress(ConnectionError):
            while some := client.recv(2**16):
                got += some
    return got


@pytest.mark.parametrize("kind", MALFORMED)
def test_what_is_no_request_is_refused_as_one(port: int, kind: str) -> None:
    answer = ask(port, MALFORMED[kind])
    head, _, body = answer.partition(b"\r\n\r\n")
    status = re.match(rb"HTTP/1\.[01] (\d{3}) ", head)
    # Nothing at all is an answer to what is none; 2xx where there is nothing wrong after all.
    assert answer == b"" or status is not None, answer[:80]
    if status is None:
        return
    assert 200 <= int(status[1]) < 500, answer[:80]
    if int(status[1]) >= 400:
        assert b"application/problem+json" in head.lower(), head
        document = ProblemDocument.model_validate(json.loads(body))
        assert document.status == int(status[1])


def test_it_still_serves(port: int) -> None:
    assert len(MALFORMED) >= 20
    assert fill(port) == 200

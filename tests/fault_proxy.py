"""An HTTP proxy before a real object store that injects faults and counts what it injected."""

import http.client
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# How long a connection stalls: as long as a whole test may take.
HELD_SECONDS = 300.0
_SLOW_DOWN = (
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>"
)
# Between hops only, or no longer true of what is sent on.
_OWN_HEADERS = {"connection", "transfer-encoding", "expect", "content-length"}


@dataclass(frozen=True)
class Refuse:
    """The connection ends without an answer."""


@dataclass(frozen=True)
class SlowDown:
    """503, as S3 answers a client that asks too often."""


@dataclass(frozen=True)
class ServerError:
    """500, as S3 answers now and then."""


@dataclass(frozen=True)
class Cut:
    """The connection ends after so many bytes of the answer's body."""

    after_bytes: int


@dataclass(frozen=True)
class Stall:
    """Nothing more is sent after so many bytes of the answer's body; None: nothing is even read."""

    after_bytes: int | None = 0


@dataclass(frozen=True)
class Slow:
    """The answer comes later and slower."""

    delay_seconds: float
    bytes_per_second: float


Fault = Refuse | SlowDown | ServerError | Cut | Stall | Slow
# (method, path) of a request -> what happens to it.
Plan = Callable[[str, str], Fault | None]


class FaultProxy(ThreadingHTTPServer):
    """Passes requests on to `target` but for what `plan` says.

    Attributes:
        plan: May be replaced at any time.
        requests: How many came, by method.
        injected: How many met a fault.
        held: How many connections stall now.
    """

    daemon_threads = True
    block_on_close = False

    def __init__(self, target: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.target = target.removeprefix("http://")
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.plan: Plan = lambda method, path: None
        self.requests: Counter[str] = Counter()
        self.injected = 0
        self.held = 0
        self.ended = threading.Event()
        self.lock = threading.Lock()

    def next_fault(self, method: str, path: str) -> Fault | None:
        with self.lock:
            self.requests[method] += 1
            fault = self.plan(method, path)
            self.injected += fault is not None
            return fault

    def first(self, count: int, fault: Fault, method: str = "GET") -> None:
        """Let the next `count` requests of a method meet a fault, and no others."""
        left = iter([fault] * count)
        self.plan = lambda asked, path: next(left, None) if asked == method else None

    def outage(self, seconds: float) -> None:
        """Be gone from now on for so long."""
        end = time.monotonic() + seconds
        self.plan = lambda method, path: Refuse() if time.monotonic() < end else None


@contextmanager
def fault_proxy(target: str) -> Iterator[FaultProxy]:
    """A running proxy before the store at the URL `target`."""
    proxy = FaultProxy(target)
    thread = threading.Thread(target=proxy.serve_forever, args=(0.05,), daemon=True)
    thread.start()
    try:
        yield proxy
    finally:
        proxy.ended.set()
        proxy.shutdown()
        proxy.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: FaultProxy

    def _answer(self) -> None:
        fault = self.server.next_fault(self.command, self.path)
        if isinstance(fault, Refuse):
            self.close_connection = True
            return
        if fault == Stall(after_bytes=None):
            self._hold()
            return
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if isinstance(fault, SlowDown):
            self._send(503, {}, _SLOW_DOWN)
            return
        if isinstance(fault, ServerError):
            self._send(500, {}, b"<Error><Code>InternalError</Code></Error>")
            return
        if isinstance(fault, Slow):
            time.sleep(fault.delay_seconds)
        store = http.client.HTTPConnection(self.server.target)
        headers = {k: v for k, v in self.headers.items() if k.lower() not in _OWN_HEADERS}
        store.request(self.command, self.path, body, headers)
        answer = store.getresponse()
        data = answer.read()
        headers = {k: v for k, v in answer.getheaders() if k.lower() not in _OWN_HEADERS}
        length = answer.getheader("Content-Length", "0")
        store.close()
        self._send(answer.status, headers, data, fault, length)

    do_GET = do_PUT = do_POST = do_HEAD = do_DELETE = _answer

    def _send(
        self,
        status: int,
        headers: dict[str, str],
        data: bytes,
        fault: Fault | None = None,
        length: str = "0",
    ) -> None:
        self.send_response_only(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status != 204:
            self.send_header("Content-Length", length if self.command == "HEAD" else str(len(data)))
        self.end_headers()
        if isinstance(fault, Cut | Stall):
            self.wfile.write(data[: fault.after_bytes])
            self.wfile.flush()
            if isinstance(fault, Stall):
                self._hold()
            self.close_connection = True
        elif isinstance(fault, Slow):
            piece = max(1, int(fault.bytes_per_second / 20))
            for start in range(0, len(data), piece):
                self.wfile.write(data[start : start + piece])
                time.sleep(0.05)
        else:
            self.wfile.write(data)

    def _hold(self) -> None:
        """Say nothing more for far longer than a client waits."""
        with self.server.lock:
            self.server.held += 1
        self.server.ended.wait(HELD_SECONDS)
        with self.server.lock:
            self.server.held -= 1
        self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        pass

"""nginx with deploy/edge/nginx.conf in front of an HTTP server that remembers what it was sent."""

import os
import shutil
import threading
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.error import URLError

import pytest

from kintsugi.servers.processes import Server, free_ports, running

FOLDER = Path(__file__).resolve().parents[2] / "deploy" / "edge"


@dataclass
class Upstream:
    """A server in Serve's place.

    Attributes:
        answers: Path -> status, headers, body; anything else is 200 with `{}`.
        keys: Keys that were asked about before a body was read.
        wrong_keys: Keys that it does not know.
        seen: Headers of every other request, in lower case, in the order they came.
        hold: While it is clear, requests wait.
        hold_keys: The same of what asks whether a key holds.
    """

    port: int = 0
    answers: dict[str, tuple[int, dict[str, str], bytes]] = field(default_factory=dict)
    keys: list[str] = field(default_factory=list)
    wrong_keys: set[str] = field(default_factory=set)
    seen: list[dict[str, str]] = field(default_factory=list)
    bodies: list[int] = field(default_factory=list)
    hold: threading.Event = field(default_factory=threading.Event)
    hold_keys: threading.Event = field(default_factory=threading.Event)


@contextmanager
def upstream() -> Iterator[Upstream]:
    state = Upstream()
    state.hold.set()
    state.hold_keys.set()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            if self.path == "/keyz":
                key = self.headers.get("x-api-key", "")
                state.keys.append(key)
                state.hold_keys.wait(300)
                self.send_response(403 if key in state.wrong_keys else 204)
                self.send_header("content-length", "0")
                self.end_headers()
                return
            state.seen.append({name.lower(): value for name, value in self.headers.items()})
            state.bodies.append(len(self.rfile.read(int(self.headers.get("content-length", 0)))))
            state.hold.wait(300)
            status, headers, body = state.answers.get(self.path, (200, {}, b"{}"))
            self.send_response(status)
            for name, value in {"content-length": str(len(body)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_PUT = do_PATCH = do_DELETE = do_OPTIONS = do_HEAD = do_GET

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                # The edge gave up on it, which some tests are about.
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    state.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield state
    finally:
        state.hold.set()
        state.hold_keys.set()
        server.shutdown()
        server.server_close()
        thread.join()


def configure(folder: Path, upstream_port: int, replacements: Mapping[str, str]) -> int:
    """Write nginx.conf with other values into ``folder``. Returns the port it listens at.

    Args:
        replacements: Old -> new text; each must occur, so that a test cannot go on
            about a setting that is no longer there.
    """
    port, metrics_port, keys_port = free_ports(3)
    text = (FOLDER / "nginx.conf").read_text()
    listen = {
        "listen 8080 default_server": f"listen 127.0.0.1:{port} default_server",
        "listen 8081": f"listen 127.0.0.1:{metrics_port}",
        # Where it listens, and where it is asked.
        "127.0.0.1:8082": f"127.0.0.1:{keys_port}",
    }
    # Two workers would each count for themselves what is counted per worker, and start slower.
    one = {"worker_processes 2": "worker_processes 1"}
    for old, new in {**listen, **one, **replacements}.items():
        assert old in text, old
        text = text.replace(old, new)
    if os.getuid() == 0:
        # Its workers else become a user that must not enter a test's folder.
        text = f"user root;\n{text}"
    (folder / "nginx.conf").write_text(text)
    where = (FOLDER / "upstream.conf").read_text().replace(":8000", f":{upstream_port}")
    (folder / "upstream.conf").write_text(where)
    return port


def nginx() -> str:
    """The program; skips where it is missing."""
    found = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if found is None:
        pytest.skip("no program `nginx`: install Debian's package nginx")
    return found


@contextmanager
def edge(folder: Path, upstream_port: int, replacements: Mapping[str, str]) -> Iterator[int]:
    """Run nginx until the block ends. Yields its port on 127.0.0.1."""
    program = nginx()
    port = configure(folder, upstream_port, replacements)
    command = [program, "-p", f"{folder}/", "-c", str(folder / "nginx.conf")]
    server = Server("nginx", command, dict(os.environ), folder, folder / "nginx.log")
    with running(server, lambda: _answers(port)):
        yield port


def _answers(port: int) -> bool:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/edge/healthz", timeout=2):
            return True
    except (URLError, ConnectionError, TimeoutError):
        return False

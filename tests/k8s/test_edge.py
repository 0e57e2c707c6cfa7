"""The edge as its manifest starts it, and whether its memory holds what nginx.conf lets in."""

import os
import re
import selectors
import socket
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx2
import pytest

from kintsugi.servers.processes import free_ports
from tests.deploy.edge import nginx
from tests.k8s.manifests import ENVIRONMENTS, Manifest, environment, named, service
from tests.k8s.test_pods import quantity

# Largest share of the limit, with as many connections as there may be.
MOST_SHARE = 0.8
# What nginx needs without any: two workers, their tables of connections, shared zones.
BASE_BYTES = 40 * 2**20
SIZES = {"k": 2**10, "m": 2**20}


def files(name: str = "production") -> dict[str, str]:
    found: dict[str, str] = named(service(name), "ConfigMap", "kintsugi-edge")["data"]
    return found


def container(name: str) -> Manifest:
    deployment = named(environment(name), "Deployment", "kintsugi-edge")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


def directive(text: str, name: str) -> list[str]:
    """The words of a directive; of one that is repeated those of the largest number."""
    lines = re.findall(rf"^\s*{name}\s+([^;]+);", text, re.MULTILINE)
    return max((line.split() for line in lines), key=lambda words: size(words[-1]))


def size(word: str) -> float:
    match = re.fullmatch(r"(\d+)([km]?)", word)
    return int(match[1]) * SIZES.get(match[2], 1) if match else 0.0


def connections_at_most(text: str) -> int:
    """How many requests with a body or an answer it has at one time; health may have more."""
    return min(int(number) for number in re.findall(r"limit_conn everyone (\d+);", text))


def memory_at_most(text: str) -> float:
    """Bytes that nginx holds with as many requests at one time as it lets in."""
    connections = connections_at_most(text)
    count, each = directive(text, "proxy_buffers")
    headers, header = directive(text, "large_client_header_buffers")
    body = size(directive(text, "client_body_buffer_size")[-1])
    # Of the head of an answer; a page where nothing is said.
    body += sum(size(word) for word in re.findall(r"proxy_buffer_size (\d+k);", text))
    one = int(count) * size(each) + int(headers) * size(header) + body
    zones = sum(size(zone) for zone in re.findall(r"zone=\w+:(\d+[km])", text))
    return BASE_BYTES + zones + connections * one


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_memory_holds_buffers_times_connections(name: str) -> None:
    limit = quantity(container(name)["resources"]["limits"]["memory"])
    assert memory_at_most(files(name)["nginx.conf"]) <= MOST_SHARE * limit


@pytest.mark.parametrize("name", ENVIRONMENTS)
def test_the_disk_holds_bodies_on_their_way(name: str) -> None:
    text = files(name)["nginx.conf"]
    # Those of eight digits and more are large.
    assert '"~^[0-9]{0,7}:$" "";' in text
    (large,) = re.findall(r"limit_conn large (\d+);", text)
    bodies = int(large) * 100_000_000 + connections_at_most(text) * 9_999_999
    deployment = named(environment(name), "Deployment", "kintsugi-edge")
    volumes = {v["name"]: v for v in deployment["spec"]["template"]["spec"]["volumes"]}
    assert quantity(volumes["working"]["emptyDir"]["sizeLimit"]) >= bodies


def test_more_edges_come_with_load_in_production() -> None:
    scaler = named(environment("production"), "HorizontalPodAutoscaler", "kintsugi-edge")["spec"]
    deployment = named(environment("production"), "Deployment", "kintsugi-edge")
    assert scaler["scaleTargetRef"]["name"] == deployment["metadata"]["name"]
    assert 2 <= scaler["minReplicas"] < scaler["maxReplicas"]
    # Said twice, each apply would take away what the autoscaler added.
    assert "replicas" not in deployment["spec"]


@pytest.mark.parametrize(
    ("names", "expected"),
    [
        ("nameserver 10.96.0.10\n", "resolver 10.96.0.10 valid=5s ipv6=off;\n"),
        (
            "search a.b\nnameserver 169.254.20.10\nnameserver 10.96.0.10\noptions ndots:5\n",
            "resolver 169.254.20.10 10.96.0.10 valid=5s ipv6=off;\n",
        ),
        ("nameserver fd00::a\n", "resolver [fd00::a] valid=5s ipv6=off;\n"),
        ("nameserver fe80::1%eth0\n", "resolver [fe80::1] valid=5s ipv6=off;\n"),
        ("search a.b\n", ""),
    ],
)
def test_it_asks_the_name_servers_of_its_pod(names: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "resolv.conf").write_text(names)
    (tmp_path / "nginx").write_text("#!/bin/sh\nexit 0\n")
    (tmp_path / "nginx").chmod(0o755)
    (tmp_path / "start.sh").write_text(files()["start-edge.sh"])
    command = ["sh", str(tmp_path / "start.sh"), str(tmp_path), str(tmp_path / "resolv.conf")]
    path = f"{tmp_path}:{os.environ['PATH']}"
    done = subprocess.run(command, env={"PATH": path}, capture_output=True, text=True)
    if not expected:
        assert done.returncode != 0
        assert "no name server" in done.stderr
        return
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "resolver.conf").read_text() == expected


@contextmanager
def memory_group(limit: int) -> Iterator[Path]:
    """A control group with this limit; skips where none can be made."""
    folder = Path("/sys/fs/cgroup/memory") / f"kintsugi-edge-{os.getpid()}"
    try:
        folder.mkdir()
    except OSError as error:
        pytest.skip(f"no control group of memory (version 1) can be made here: {error}")
    try:
        (folder / "memory.limit_in_bytes").write_text(str(limit))
        yield folder
    finally:
        # Busy until its last process is gone.
        for _ in range(100):
            with suppress(OSError):
                folder.rmdir()
                break
            time.sleep(0.1)


ANSWER = os.urandom(2**20) * 3


@contextmanager
def big_answers() -> Iterator[int]:
    """A server in Serve's place whose answers have 3 MB. Yields its port."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            # Where the edge asks whether a key holds.
            body = b"" if self.path == "/keyz" else ANSWER
            self.send_response(200)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def handle(self) -> None:
            try:
                super().handle()
            except ConnectionError:
                self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Quiet."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        # All of them come at once: it is read when the server begins to listen.
        request_queue_size = 300

    server = Server(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield server.server_port
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@contextmanager
def started_edge(folder: Path, group: Path, upstream: int) -> Iterator[int]:
    """The files of the manifest, started as it starts them. Yields the port."""
    nginx()
    port, metrics, keys = free_ports(3)
    text = files()
    config = text["nginx.conf"].replace("listen 8080", f"listen 127.0.0.1:{port}")
    config = config.replace("listen 8081", f"listen 127.0.0.1:{metrics}")
    config = config.replace("127.0.0.1:8082", f"127.0.0.1:{keys}")
    # The server here, of Python, says seldom of so many at once whether a key holds.
    waits = ("client_body_timeout 10s", "send_timeout 15s")
    for slow in (*waits, "proxy_read_timeout 10s", "proxy_read_timeout 15s"):
        assert slow in config
        # All are slow to the end, however seldom this busy machine lets them send a little.
        config = config.replace(slow, f"{slow.split()[0]} 100s")
    # Its workers else become a user that must not enter a test's folder.
    (folder / "nginx.conf").write_text(f"user root;\n{config}" if os.getuid() == 0 else config)
    where = text["upstream.conf"].replace("/var/run/edge", str(folder))
    where = re.sub(r"set \$serve .*;", f"set $serve http://127.0.0.1:{upstream};", where)
    (folder / "upstream.conf").write_text(where)
    (folder / "start.sh").write_text(text["start-edge.sh"])
    (folder / "resolv.conf").write_text("nameserver 127.0.0.1\n")
    enter = f"echo $$ > {group}/cgroup.procs; exec sh {folder}/start.sh {folder}"
    command = f"{enter} {folder}/resolv.conf {folder}/nginx.conf"
    environment = os.environ | {"PATH": f"{os.environ['PATH']}:/usr/sbin"}
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(["sh", "-c", command], env=environment, stdout=log, stderr=log)
        try:
            give_up = time.monotonic() + 30
            while time.monotonic() < give_up:
                try:
                    httpx2.get(f"http://127.0.0.1:{port}/edge/healthz", timeout=2)
                    break
                except httpx2.TransportError:
                    assert process.poll() is None, (folder / "log").read_text()[-2000:]
                    time.sleep(0.1)
            yield port
        finally:
            process.terminate()
            process.wait(30)


def slow_client(port: int, index: int, *, sends: bool) -> socket.socket:
    """A connection that has asked for a large answer and reads little, or sends a body slowly.

    At most sixteen of one address: nginx.conf lets no more in.
    """
    found = socket.socket()
    found.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    found.bind((f"127.0.1.{index // 15 + 1}", 0))
    found.connect(("127.0.0.1", port))
    found.setblocking(True)
    head = b"POST /v1/inpaint HTTP/1.1\r\nhost: x\r\ncontent-length: 3000000\r\n\r\n"
    found.sendall(head + bytes(200_000) if sends else b"GET /big HTTP/1.1\r\nhost: x\r\n\r\n")
    return found


# Of `make test-faults`: it takes what a busy machine has not.
@pytest.mark.faults
@pytest.mark.timeout(240)
def test_slow_readers_and_senders_fit_into_the_memory_of_the_manifest(tmp_path: Path) -> None:
    limit = int(quantity(container("local")["resources"]["limits"]["memory"]))
    connections = min(256, connections_at_most(files()["nginx.conf"]))
    folder = tmp_path.resolve()
    highest = 0
    with ExitStack() as stack:
        group = stack.enter_context(memory_group(limit))
        upstream = stack.enter_context(big_answers())
        port = stack.enter_context(started_edge(folder, group, upstream))
        clients = []
        for index in range(connections):
            clients.append(slow_client(port, index, sends=index % 2 == 0))
            stack.callback(clients[-1].close)
        waiting = selectors.DefaultSelector()
        for index, each in enumerate(clients):
            if index % 2:
                waiting.register(each, selectors.EVENT_READ)
        give_up, statuses = time.monotonic() + 120, dict[object, bytes]()
        # Until every reader has begun, however busy the machine is, and a little longer.
        rounds_left = 8
        while rounds_left and time.monotonic() < give_up:
            rounds_left -= len(statuses) == connections // 2
            for index, each in enumerate(clients):
                if index % 2 == 0:
                    each.send(bytes(2000))
            for key, _ in waiting.select(0):
                got = key.fileobj.recv(2000)  # type: ignore[union-attr]
                statuses.setdefault(key.fileobj, got[:12])
            stat = dict(line.split() for line in (group / "memory.stat").read_text().splitlines())
            highest = max(highest, int(stat["total_rss"]) + int(stat.get("total_shmem", 0)))
            time.sleep(0.4)
        # The attack took place: every reader has begun to read an answer.
        assert Counter(statuses.values()) == {b"HTTP/1.1 200": connections // 2}
        assert httpx2.get(f"http://127.0.0.1:{port}/edge/healthz", timeout=10).status_code == 200
        killed = re.search(r"oom_kill (\d+)", (group / "memory.oom_control").read_text())
        assert killed is None or killed[1] == "0"
    share = highest / limit
    print(f"{connections} slow clients: {highest / 2**20:.0f} MiB, {share:.0%} of the limit")
    assert 0.05 < share <= MOST_SHARE

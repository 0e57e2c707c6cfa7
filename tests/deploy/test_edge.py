"""The edge: what nginx lets through, limits, and answers itself; marker `edge`."""

import gzip
import re
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import httpx2
import pytest
import uvicorn
import yaml

from kintsugi.deploy.api import build_api
from kintsugi.deploy.http.problems import ProblemDocument
from kintsugi.deploy.settings import AppArgs
from tests.deploy.edge import FOLDER, Upstream, configure, edge, nginx, upstream
from tests.deploy.http.test_middleware import FailingEngine

ROOT = FOLDER.parents[1]
# Settings that would make a test slow, and what they are here.
QUICK = {
    "client_max_body_size 100000000;": "client_max_body_size 1000;",
    "client_header_timeout 5s;": "client_header_timeout 1s;",
    "client_body_timeout 10s;": "client_body_timeout 1s;",
    "send_timeout 15s;": "send_timeout 1s;",
    "proxy_read_timeout 135s;": "proxy_read_timeout 1s;",
    "proxy_read_timeout 10s;": "proxy_read_timeout 1s;",
    "proxy_read_timeout 15s;": "proxy_read_timeout 2s;",
    "limit_conn client 16;": "limit_conn client 3;",
}

pytestmark = pytest.mark.edge


def settings(name: str) -> list[str]:
    """The values of a directive in nginx.conf, in their order."""
    text = (FOLDER / "nginx.conf").read_text()
    found: list[str] = re.findall(rf"^\s*{name} (.*);$", text, re.MULTILINE)
    return found


def setting(name: str) -> str:
    """The value of one that it has once."""
    (value,) = settings(name)
    return value


@pytest.fixture(scope="module")
def behind() -> Iterator[Upstream]:
    with upstream() as state:
        yield state


@pytest.fixture(autouse=True)
def forget(behind: Upstream) -> Iterator[None]:
    behind.seen.clear()
    behind.bodies.clear()
    behind.answers.clear()
    behind.keys.clear()
    behind.wrong_keys.clear()
    yield
    behind.hold.set()
    behind.hold_keys.set()


@pytest.fixture(scope="module")
def port(behind: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    with edge(tmp_path_factory.mktemp("edge"), behind.port, QUICK) as running_at:
        yield running_at


@contextmanager
def application(args: AppArgs) -> Iterator[int]:
    """The service itself in Serve's place. Yields its port."""
    api = build_api(FailingEngine(), args)  # type: ignore[arg-type]
    with socket.create_server(("127.0.0.1", 0)) as listener:
        server = uvicorn.Server(uvicorn.Config(api, log_config=None, lifespan="off"))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        try:
            while not server.started:
                time.sleep(0.01)
            yield listener.getsockname()[1]
        finally:
            server.should_exit = True
            thread.join()


@pytest.fixture
def client(port: int) -> Iterator[httpx2.Client]:
    with httpx2.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as opened:
        yield opened


def problem(response: httpx2.Response) -> ProblemDocument:
    assert response.headers["content-type"] == "application/problem+json"
    document = ProblemDocument.model_validate(response.json())
    assert document.status == response.status_code
    assert document.request_id == response.headers["x-request-id"]
    return document


def raw(port: int, *parts: bytes, pause: float = 0.0) -> tuple[bytes, int]:
    """Send bytes slowly. Returns the answer, and how many parts were sent when it was cut off.

    Raises: TimeoutError: it was not cut off.
    """
    sent = 0
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        answer = b""
        try:
            for part in parts:
                connection.sendall(part)
                sent += 1
                time.sleep(pause)
            while received := connection.recv(65536):
                answer += received
        except ConnectionError:
            # Reset: nginx has given up on it.
            pass
    return answer, sent


def test_debians_nginx_takes_the_configuration(tmp_path: Path) -> None:
    program = nginx()
    configure(tmp_path, 8000, {})
    command = [program, "-t", "-p", f"{tmp_path}/", "-c", str(tmp_path / "nginx.conf")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.returncode == 0, done.stderr
    assert "warn" not in done.stderr


def test_limits_agree_with_the_application() -> None:
    config: dict[str, Any] = yaml.safe_load((ROOT / "deploy" / "serve.yaml").read_text())
    args = AppArgs.model_validate(config["applications"][0]["args"])
    assert int(setting("client_max_body_size")) == args.max_bytes
    # The application answers first, then the edge, and Serve's 408 never.
    of_a_key, asks, waits = (
        float(each.removesuffix("s")) for each in settings("proxy_read_timeout")
    )
    assert of_a_key < asks <= 15 < waits
    assert args.deadline_seconds < waits < config["http_options"]["request_timeout_s"]


def test_only_what_the_application_reads_goes_through(
    client: httpx2.Client, behind: Upstream
) -> None:
    kept = {
        "accept": "image/webp",
        "content-encoding": "gzip",
        "content-type": "application/json",
        "idempotency-key": "a",
        "if-none-match": '"a"',
        "inference-header-content-length": "12",
        "origin": "https://elsewhere.example",
        "sec-fetch-site": "cross-site",
        "traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
        "x-api-key": "secret",
    }
    stripped = {
        "x-request-timeout-seconds": "0",
        "x-request-disconnect-disabled": "?1",
        "x-session-id": "a",
        "x-serve-router-anything": "a",
        "serve_multiplexed_model_id": "../../x",
        "serve-multiplexed-model-id": "../../x",
        "x-forwarded-prefix": "/elsewhere",
        "cookie": "a=b",
    }
    client.post("/v1/inpaint", headers=kept | stripped, content=b"{}")
    (seen,) = behind.seen
    assert kept.items() <= seen.items()
    assert not stripped.keys() & seen.keys()
    assert seen["x-forwarded-for"] == "127.0.0.1"


def test_every_header_that_the_application_reads_goes_through() -> None:
    """What is missing is read as not sent: gzip was taken for a broken form."""
    sources = {
        path: path.read_text()
        for path in (ROOT / "deploy").rglob("*.py")
        if "client" not in path.relative_to(ROOT / "deploy").parts
    }
    constants = dict(re.findall(r'^(\w+) = "([^"]+)"$', "\n".join(sources.values()), re.MULTILINE))
    found = "\n".join(sources.values())
    names = re.findall(r'headers\.get\(\s*(?:"([a-z-]+)"|([A-Z_]+))', found)
    read = {literal or constants[name] for literal, name in names}
    assert {"host", "content-encoding", "x-api-key", "inference-header-content-length"} <= read
    _, _, app = (FOLDER / "nginx.conf").read_text().partition("location @app {")
    app, _, _ = app.partition("\n        }")
    passed = {name.lower() for name in re.findall(r"proxy_set_header ([\w-]+)", app)}
    # The length nginx sets itself.
    assert read - passed == {"content-length"}


def test_the_applications_own_reason_comes_through(tmp_path: Path) -> None:
    """For a name that it is not asked for under, and for a body that it cannot read."""
    (tmp_path / "keys").write_text("a: 0123456789abcdef\n")
    args = AppArgs(release="", api_keys=str(tmp_path / "keys"), hosts=["photos.example.com"])
    headers = {"x-api-key": "0123456789abcdef", "content-type": "application/json"}
    with application(args) as behind, edge(tmp_path, behind, {}) as at:
        for method, host, more, status, code in (
            ("GET", "other.example.com", {}, 421, "host_not_served"),
            ("POST", "other.example.com", {}, 421, "host_not_served"),
            ("POST", "photos.example.com", {"content-encoding": "gzip"}, 415, "content_encoding"),
            ("POST", "photos.example.com", {"x-api-key": "wrong"}, 403, "key_wrong"),
        ):
            answer = httpx2.request(
                method,
                f"http://127.0.0.1:{at}/v1/{'models' if method == 'GET' else 'inpaint'}",
                headers=headers | {"host": host} | more,
                content=b"" if method == "GET" else gzip.compress(b"{}"),
                timeout=20,
            )
            assert (answer.status_code, problem(answer).code) == (status, code), (method, host)


@pytest.mark.parametrize("hostile", ["a b", "x" * 65, "a;b", "%0d%0a", ""])
def test_hostile_request_ids_are_replaced(
    client: httpx2.Client, behind: Upstream, hostile: str
) -> None:
    behind.answers["/v1/models"] = (200, {"x-request-id": "theirs"}, b"{}")
    response = client.get("/v1/models", headers={"x-request-id": hostile})
    (seen,) = behind.seen
    assert re.fullmatch(r"[0-9a-f]{32}", seen["x-request-id"])
    assert response.headers.get_list("x-request-id") == [seen["x-request-id"]]


def test_a_harmless_request_id_is_kept(client: httpx2.Client, behind: Upstream) -> None:
    response = client.get("/v1/models", headers={"x-request-id": "order-66"})
    assert behind.seen[0]["x-request-id"] == "order-66"
    assert response.headers["x-request-id"] == "order-66"


@pytest.mark.parametrize(
    "path", ["/-/routes", "/-/healthz", "/metrics", "//-/routes", "/%2d/routes", "/a/../-/routes"]
)
def test_serves_own_routes_are_not_for_the_world(port: int, behind: Upstream, path: str) -> None:
    """Raw, because clients mend such paths before they send them."""
    answer, _ = raw(port, f"GET {path} HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n".encode())
    assert answer.startswith(b"HTTP/1.1 404 ")
    assert behind.seen == []


def test_too_large_a_body_is_refused_from_its_length(
    client: httpx2.Client, behind: Upstream
) -> None:
    assert client.post("/v1/inpaint", content=b"x" * 1000).status_code == 200
    response = client.post("/v1/inpaint", content=b"x" * 1001)
    assert response.status_code == 413
    assert problem(response).code == "body_too_large"
    assert behind.bodies == [1000]


def test_too_large_a_body_without_length_is_refused_while_it_comes(
    client: httpx2.Client, behind: Upstream
) -> None:
    response = client.post("/v1/inpaint", content=iter([b"x" * 700, b"x" * 700]))
    assert response.status_code == 413
    assert problem(response).code == "body_too_large"
    assert behind.seen == []


def test_the_applications_problems_pass_as_they_are(
    client: httpx2.Client, behind: Upstream
) -> None:
    for status in (404, 413, 422, 500, 503, 504):
        headers = {"content-type": "application/problem+json", "retry-after": "7"}
        behind.answers["/v1/inpaint"] = (status, headers, b'{"code":"theirs"}')
        response = client.post("/v1/inpaint", content=b"x")
        assert (response.status_code, response.json()) == (status, {"code": "theirs"})
        assert response.headers["retry-after"] == "7"


def test_what_takes_too_long_is_504_and_asked_once(client: httpx2.Client, behind: Upstream) -> None:
    """Serve would say 408 later, which invites clients to send the same again."""
    behind.hold.clear()
    response = client.post("/v1/inpaint", content=b"x")
    assert response.status_code == 504
    assert problem(response).code == "deadline_exceeded"
    assert len(behind.seen) == 1


def test_without_serve_it_says_when_to_try_again(tmp_path: Path) -> None:
    with upstream() as gone:
        pass
    with edge(tmp_path, gone.port, {}) as port:
        response = httpx2.get(f"http://127.0.0.1:{port}/v1/models")
    assert response.status_code == 503
    assert int(response.headers["retry-after"]) > 0
    assert problem(response).code == "busy"


def test_a_service_that_does_not_say_whether_a_key_holds(
    client: httpx2.Client, behind: Upstream
) -> None:
    """It gets no body, and its client an answer."""
    behind.hold_keys.clear()
    response = client.post("/v1/inpaint", content=b"x", headers={"x-api-key": "a"})
    assert response.status_code == 503
    assert problem(response).code == "busy"
    assert int(response.headers["retry-after"]) > 0
    assert behind.seen == []


def test_one_client_cannot_have_every_connection(port: int, behind: Upstream) -> None:
    behind.hold.clear()

    def ask(_: int) -> httpx2.Response:
        return httpx2.post(f"http://127.0.0.1:{port}/v1/inpaint", content=b"x", timeout=20)

    with ThreadPoolExecutor(6) as pool:
        answers = list(pool.map(ask, range(6)))
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 3
    assert all("retry-after" in answer.headers for answer in refused)


def test_large_bodies_have_fewer_places(tmp_path: Path, behind: Upstream) -> None:
    """Each may fill its part of the disk; small ones, and what has none, go on."""
    behind.hold.clear()
    few = {"limit_conn large 256;": "limit_conn large 1;"}

    # How long the body is, and its beginning.
    counted = b"Content-Length: 10000000", b"x"
    chunked = b"Transfer-Encoding: chunked", b"1\r\nx\r\n"

    def large(length: bytes, begun: bytes) -> socket.socket:
        opened = socket.create_connection(("127.0.0.1", port), timeout=20)
        head = b"POST /v1/jobs HTTP/1.1\r\nHost: a\r\n" + length
        opened.sendall(head + b"\r\n\r\n" + begun)
        return opened

    with edge(tmp_path, behind.port, few) as port, large(*counted):
        for body in (counted, chunked):
            give_up = time.monotonic() + 20
            # Until the first one is in its place.
            while time.monotonic() < give_up:
                with large(*body) as second:
                    second.settimeout(1)
                    with suppress(TimeoutError):
                        if second.recv(100).startswith(b"HTTP/1.1 503 "):
                            break
            else:
                pytest.fail(f"{body!r} was let in")
        behind.hold.set()
        url = f"http://127.0.0.1:{port}/v1/inpaint"
        assert httpx2.post(url, content=bytes(1_000_000), timeout=20).status_code == 200
        assert httpx2.get(f"http://127.0.0.1:{port}/v1/models").status_code == 200


BODIES = {"counted": b"Content-Length: 900", "chunked": b"Transfer-Encoding: chunked"}


@pytest.mark.parametrize("length", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize(
    "method", ["POST", "PUT", "PATCH", "DELETE", "GET", "HEAD", "OPTIONS", "ANY"]
)
def test_without_a_key_no_method_brings_a_body(
    port: int, behind: Upstream, method: str, length: bytes
) -> None:
    behind.wrong_keys.add("")
    # The body is not waited for, and would not be read.
    head = f"{method} /v1/inpaint HTTP/1.1\r\nHost: a\r\nConnection: close\r\n".encode()
    answer, _ = raw(port, head + length + b"\r\n\r\n")
    assert answer.startswith(b"HTTP/1.1 403 "), answer[:80]
    assert behind.seen == []


def test_a_body_of_http_1_0_needs_no_host(port: int, behind: Upstream) -> None:
    answer, _ = raw(port, b"POST /v1/inpaint HTTP/1.0\r\nContent-Length: 1\r\n\r\nx")
    assert answer.startswith(b"HTTP/1.1 200 "), answer[:80]
    assert behind.keys == [""]


def test_who_brings_no_body_is_not_asked_for_a_key(client: httpx2.Client, behind: Upstream) -> None:
    """The page, its files and how the service stands are for all; the application asks itself."""
    behind.wrong_keys.add("")
    for method in ("GET", "HEAD", "DELETE"):
        assert client.request(method, "/", headers={"content-length": "0"}).status_code == 200
        assert client.request(method, "/").status_code == 200
    assert behind.keys == []


@pytest.mark.parametrize("places", ["large 256", "everyone 2048"])
def test_bodies_without_a_key_hold_no_place(tmp_path: Path, behind: Upstream, places: str) -> None:
    """Nor while their clients read why they were refused."""
    behind.wrong_keys.add("")
    few = {
        f"limit_conn {places};": f"limit_conn {places.split()[0]} 2;",
        "lingering_time 2s;": "lingering_time 300s;",
        "lingering_timeout 1s;": "lingering_timeout 300s;",
    }
    with edge(tmp_path, behind.port, few) as port, ExitStack() as held:
        flood = []
        for _ in range(8):
            opened = socket.create_connection(("127.0.0.1", port), timeout=60)
            flood.append(held.enter_context(opened))
            head = b"PUT /v1/inpaint HTTP/1.1\r\nHost: a\r\nContent-Length: 12000000\r\n\r\n"
            opened.sendall(head)
            assert opened.recv(65536).startswith(b"HTTP/1.1 403 ")
        url = f"http://127.0.0.1:{port}/v1/inpaint"
        headers = {"x-api-key": "a"}
        answer = httpx2.post(url, content=bytes(12_000_000), headers=headers, timeout=60)
        assert answer.status_code == 200
        # They are all there still.
        for each in flood:
            each.sendall(b"x")
            each.setblocking(False)
            with suppress(BlockingIOError):
                assert each.recv(65536), "closed"
    assert behind.bodies == [12_000_000]


def test_one_client_asks_about_few_keys_at_one_time(tmp_path: Path, behind: Upstream) -> None:
    """A client without a key asks Serve no more than others, and hears so at once."""
    behind.hold_keys.clear()
    few = {"limit_conn asking 16;": "limit_conn asking 2;"}

    def ask(key: int) -> httpx2.Response:
        headers = {"x-api-key": str(key)}
        url = f"http://127.0.0.1:{port}/v1/inpaint"
        return httpx2.post(url, content=b"x", headers=headers, timeout=120)

    with edge(tmp_path, behind.port, few) as port, ThreadPoolExecutor(6) as pool:
        asked = [pool.submit(ask, key) for key in range(6)]
        wait_until(lambda: sum(each.done() for each in asked) == 4 and len(behind.keys) == 2)
        behind.hold_keys.set()
        answers = [each.result() for each in asked]
    refused = [answer for answer in answers if answer.status_code == 503]
    assert len(refused) == 4
    assert {problem(answer).code for answer in refused} == {"busy"}
    assert all(int(answer.headers["retry-after"]) > 0 for answer in refused)


def test_a_key_has_its_own_limit(tmp_path: Path, behind: Upstream) -> None:
    behind.hold.clear()

    def ask(key: str) -> int:
        url = f"http://127.0.0.1:{port}/v1/inpaint"
        headers = {"x-api-key": key}
        return httpx2.post(url, content=b"x", headers=headers, timeout=120).status_code

    few = {"limit_conn key 64;": "limit_conn key 2;"}
    with edge(tmp_path, behind.port, few) as port, ThreadPoolExecutor(6) as pool:
        mine = [pool.submit(ask, "mine") for _ in range(4)]
        wait_until(lambda: sum(each.done() for each in mine) == 2)
        theirs = pool.submit(ask, "theirs")
        wait_until(lambda: len(behind.seen) == 3)
        behind.hold.set()
        assert sorted(each.result() for each in mine) == [200, 200, 503, 503]
        assert theirs.result() == 200


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.05)


def test_a_header_that_drips_is_cut_off(port: int) -> None:
    # Of a minute's lines it takes those of one second, however steadily they come.
    lines = [b"GET / HTTP/1.1\r\nHost: a\r\n", *[b"a: b\r\n"] * 600]
    _, sent = raw(port, *lines, pause=0.1)
    assert sent < len(lines) / 2


def test_who_does_not_read_is_cut_off_and_serve_was_rid_of_it_before(
    port: int, behind: Upstream
) -> None:
    size = 20_000_000
    behind.answers["/v1/models"] = (200, {}, bytes(size))
    with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
        connection.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
        # Other clients are answered meanwhile: the server behind has no thread that waits.
        time.sleep(3)
        assert httpx2.get(f"http://127.0.0.1:{port}/v1/jobs/a").status_code == 200
        received = 0
        try:
            while some := connection.recv(2**20):
                received += len(some)
        except ConnectionError:
            # Reset: nginx has given up on it.
            pass
    assert 0 < received < size


def test_a_body_that_stops_is_cut_off_and_serve_hears_nothing(port: int, behind: Upstream) -> None:
    head = b"POST /v1/inpaint HTTP/1.1\r\nHost: a\r\nContent-Length: 900\r\n\r\n"
    raw(port, head, b"x")
    assert behind.seen == []


@pytest.mark.parametrize(
    "headers",
    [
        b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n",
        b"Content-Length: 3\r\nContent-Length: 4\r\n",
        b"Content-Length: -1\r\n",
        b"Transfer-Encoding: chunked, gzip\r\n",
    ],
)
def test_ambiguous_lengths_are_refused(port: int, behind: Upstream, headers: bytes) -> None:
    """Two servers that read one request differently are how requests are smuggled."""
    answer, _ = raw(port, b"POST / HTTP/1.1\r\nHost: a\r\n" + headers + b"\r\nabc")
    assert re.match(rb"HTTP/1.1 (400|501) ", answer), answer[:80]
    assert behind.seen == []


def test_too_long_a_header_is_refused(client: httpx2.Client, behind: Upstream) -> None:
    response = client.get("/v1/models", headers={"x-long": "a" * 40_000})
    assert response.status_code == 431
    assert problem(response).code == "headers_too_large"
    assert behind.seen == []

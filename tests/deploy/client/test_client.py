"""The client against a server of canned answers, and against the API for its forms."""

import json
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import get_type_hints

import pytest
from pydantic import BaseModel

from kintsugi.deploy import client as client_module
from kintsugi.deploy import options
from kintsugi.deploy.client import Client, ClientError
from kintsugi.deploy.client.__main__ import main

BUSY = {"code": "busy", "detail": "no worker", "hint": "again", "request_id": "r-1"}


class Canned(HTTPServer):
    """Gives its answers one after the other, and keeps what it was sent."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[tuple[int, dict[str, str], bytes]] = []
        self.sent: list[bytes] = []
        self.paths: list[str] = []
        self.keys: list[str | None] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


# The connection ends.
_NO_ANSWER: tuple[int, dict[str, str], bytes] = (0, {}, b"")


class _Handler(BaseHTTPRequestHandler):
    server: Canned

    def do_POST(self) -> None:
        self.server.paths.append(self.path)
        self.server.keys.append(self.headers["x-api-key"])
        self.server.sent.append(self.rfile.read(int(self.headers["content-length"])))
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        status, headers, body = self.server.answers.pop(0)
        if status == 0:
            self.close_connection = True
            return
        self.send_response(status)
        for name, value in {**headers, "content-length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """Keep the tests' output clean."""


@pytest.fixture
def server() -> Iterator[Canned]:
    with Canned() as server:
        # It looks so often, in seconds, whether it is to end.
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def refusal(retry_after: str = "0") -> tuple[int, dict[str, str], bytes]:
    headers = {"content-type": "application/problem+json", "retry-after": retry_after}
    return 503, headers, json.dumps(BUSY).encode()


def test_a_busy_service_is_asked_again(server: Canned, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"photo")
    filled = {"content-type": "image/png", "x-model-version": "m@sha256:1", "x-request-id": "r-2"}
    server.answers = [refusal(), refusal(), (200, filled, b"filled")]

    answer = Client(server.url).inpaint(tmp_path / "a.png", b"mask", seed=3)

    assert (answer.data, answer.content_type) == (b"filled", "image/png")
    assert (answer.model_version, answer.request_id) == ("m@sha256:1", "r-2")
    assert len(server.sent) == 3
    assert len(set(server.sent)) == 1
    for part in (b'name="image"; filename=', b"photo", b"mask", b'name="seed"\r\n\r\n3\r\n'):
        assert part in server.sent[0]


@pytest.mark.parametrize(
    ("said", "seconds"),
    [("3", 3.0), ("500", 30.0), ("", 1.0), ("soon", 1.0), ("Thu, 01 Jan 1970 00:01:40 GMT", 5.0)],
)
def test_it_waits_as_long_as_it_is_asked_to(
    server: Canned, monkeypatch: pytest.MonkeyPatch, said: str, seconds: float
) -> None:
    pauses: list[float] = []
    clock = SimpleNamespace(sleep=pauses.append, time=lambda: 95.0)
    monkeypatch.setattr(client_module, "time", clock)
    too_many = (429, *refusal(said)[1:])
    server.answers = [too_many, (200, {"content-type": "image/png"}, b"filled")]
    assert Client(server.url).inpaint(b"a", b"b").data == b"filled"
    assert pauses == [seconds]


def test_it_gives_up_after_the_last_retry(server: Canned) -> None:
    server.answers = [refusal(), refusal(), refusal()]
    with pytest.raises(ClientError, match="no worker") as caught:
        Client(server.url, max_retries=1).inpaint(b"a", b"b")
    assert (caught.value.status, caught.value.code) == (503, "busy")
    assert caught.value.request_id == "r-1"
    assert len(server.answers) == 1


def test_what_is_no_problem_document_is_an_error_too(server: Canned) -> None:
    server.answers = [(502, {"content-type": "text/html"}, b"<h1>Bad gateway</h1>")]
    with pytest.raises(ClientError, match="Bad gateway") as caught:
        Client(server.url, max_retries=0).inpaint(b"a", b"b")
    assert (caught.value.status, caught.value.code) == (502, "")


@pytest.mark.parametrize("status", [500, 502])
def test_who_died_before_it_answered_is_asked_again(
    server: Canned,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    status: int,
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=pauses.append, time=time.time))
    # First a proxy's answer; then the connection ends without one.
    in_front = (status, {"content-type": "text/plain", "retry-after": "2"}, b"Server Error")
    server.answers = [in_front, _NO_ANSWER, (200, {"content-type": "image/png"}, b"filled")]
    assert Client(server.url).inpaint(b"a", b"b").data == b"filled"
    assert pauses == [2, 0.5]
    assert f"answered {status}; again in 2 s" in caplog.messages[0]


def test_a_bug_of_the_service_is_not_asked_for_again(server: Canned) -> None:
    bug = json.dumps(BUSY | {"code": "internal_error"}).encode()
    server.answers = [(500, {"content-type": "application/problem+json"}, bug)]
    with pytest.raises(ClientError) as caught:
        Client(server.url).inpaint(b"a", b"b")
    assert (caught.value.status, caught.value.code) == (500, "internal_error")


def test_a_service_that_stays_away_is_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pauses: list[float] = []
    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=pauses.append))
    with pytest.raises(ConnectionRefusedError):
        Client("http://127.0.0.1:9").inpaint(b"a", b"b")
    # Longer than Serve takes to replace its proxy.
    assert sum(pauses) > 6
    # And not in silence; Python shows warnings where no logging is set up.
    assert caplog.messages[0].startswith("127.0.0.1:9: ConnectionRefusedError: ")
    assert caplog.messages[0].endswith("; again in 0.25 s")
    assert len(caplog.messages) == len(pauses)


def test_nobody_there_is_not_ready(server: Canned) -> None:
    server.answers = [
        (503, {"content-type": "application/json"}, b'{"ready":false,"nodes":{"Refiner":false}}'),
        (404, {"content-type": "text/plain"}, b"no routes yet"),
    ]
    assert Client(server.url).ready() == {"Refiner": False}
    assert Client(server.url).ready() == {}
    assert Client("http://127.0.0.1:9").ready() == {}


def test_an_url_without_a_scheme_is_refused() -> None:
    with pytest.raises(ValueError, match="give one like"):
        Client("localhost:8000")


def test_a_key_goes_with_every_try(
    server: Canned, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = {"content-type": "image/png"}
    server.answers = [refusal(), (200, made, b"filled")]
    Client(server.url, api_key="k-1").inpaint(b"a", b"b")
    assert server.keys == ["k-1", "k-1"]
    monkeypatch.setenv("KINTSUGI_API_KEY", "k-2")
    server.answers = [(200, made, b"filled")]
    (tmp_path / "a").write_bytes(b"photo")
    files = [str(tmp_path / name) for name in ("a", "a", "made")]
    assert main(["inpaint", *files, "--url", server.url]) == 0
    assert server.keys[2] == "k-2"
    with pytest.raises(ValueError, match="line breaks") as caught:
        Client(server.url, api_key="secret\n")
    assert "secret" not in str(caught.value)


def test_a_style_transfer(server: Canned, tmp_path: Path) -> None:
    (tmp_path / "a.png").write_bytes(b"photo")
    styled = {"content-type": "image/webp", "x-model-version": "m@sha256:1"}
    server.answers = [(200, styled, b"styled")]

    answer = Client(server.url).stylize(str(tmp_path / "a.png"), b"painting", strength=0.25)

    assert (answer.data, answer.content_type) == (b"styled", "image/webp")
    assert server.paths == ["/v1/stylize"]
    for part in (b'name="content"; filename=', b"photo", b'name="style"; filename=', b"painting"):
        assert part in server.sent[0]
    assert b'name="strength"\r\n\r\n0.25\r\n' in server.sent[0]


@pytest.mark.parametrize("kind", ["InpaintOptions", "StylizeOptions"])
def test_the_options_are_the_services(kind: str) -> None:
    theirs: type[BaseModel] = getattr(options, kind)
    assert get_type_hints(getattr(client_module, kind)) == get_type_hints(theirs)


def test_as_a_command(server: Canned, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "a").write_bytes(b"photo")
    files = [str(tmp_path / name) for name in ("a", "a", "made")]
    made = {"content-type": "image/png", "x-model-version": "m@sha256:1"}
    server.answers = [
        (200, made, b"filled"),
        (200, made, b"styled"),
        (422, {"content-type": "application/problem+json"}, json.dumps(BUSY).encode()),
    ]
    fill = ["inpaint", *files, "--url", server.url, "--grow-mask", "8"]
    assert main(fill) == 0
    assert (tmp_path / "made").read_bytes() == b"filled"
    assert b'name="grow_mask"\r\n\r\n8\r\n' in server.sent[0]
    assert b"feather" not in server.sent[0]
    assert main(["stylize", *files, "--url", server.url, "--strength", "0.5"]) == 0
    assert (tmp_path / "made").read_bytes() == b"styled"
    assert b'name="strength"\r\n\r\n0.5\r\n' in server.sent[1]
    assert server.paths == ["/v1/inpaint", "/v1/stylize"]
    assert main(fill) == 1
    assert "no worker; again" in capsys.readouterr().err


def test_the_outputs_name_says_the_format(
    server: Canned, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "a").write_bytes(b"photo")
    given = [str(tmp_path / "a")] * 2
    made = {"content-type": "image/jpeg", "x-model-version": "m@sha256:1"}
    server.answers = [(200, made, b"filled")] * 3
    for name, flags in (("b.JPG", []), ("b.jpg", ["--format", "webp"]), ("b", [])):
        assert main(["inpaint", *given, str(tmp_path / name), "--url", server.url, *flags]) == 0
    assert b'name="format"\r\n\r\njpeg\r\n' in server.sent[0]
    assert b'name="format"\r\n\r\nwebp\r\n' in server.sent[1]
    assert b'name="format"' not in server.sent[2]
    assert main(["inpaint", *given, str(tmp_path / "no" / "b.png"), "--url", server.url]) == 1
    assert "no is no folder to write to" in capsys.readouterr().err
    assert len(server.sent) == 3, "nothing is filled that cannot be written"


def test_help_lists_every_option_of_each_command(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--help"])
    assert ended.value.code == 0
    said = capsys.readouterr().out
    fill, transfer = said.split("usage: ")[2:]
    for kind, text in (("InpaintOptions", fill), ("StylizeOptions", transfer)):
        for name in get_type_hints(getattr(client_module, kind)):
            assert f"--{name.replace('_', '-')} VALUE" in text


class Silent(BaseHTTPRequestHandler):
    """Takes a request and hangs up."""

    def do_POST(self) -> None:
        self.close_connection = True


def test_what_stops_the_command_is_one_line(
    server: Canned,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(client_module, "time", SimpleNamespace(sleep=lambda _: None))
    (tmp_path / "a").write_bytes(b"photo")
    here, missing = str(tmp_path / "a"), str(tmp_path / "nope.png")

    def said(*arguments: str) -> str:
        assert main(["inpaint", *arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("error: ")
        assert error.count("\n") == 1
        return error

    nobody = "http://127.0.0.1:9"
    assert f"is the service up at {nobody}?" in said(here, here, "out", "--url", nobody)
    server.RequestHandlerClass = Silent
    assert f"is the service up at {server.url}?" in said(here, here, "out", "--url", server.url)
    for files in ((missing, here), (here, missing)):
        error = said(*files, "out", "--url", nobody)
        assert missing in error
        assert "service" not in error

"""Webhooks: signed, at allowed hosts only, sent again until they are taken."""

import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.async_jobs import webhooks
from kintsugi.deploy.async_jobs.webhooks import SIGNATURE, signature
from kintsugi.deploy.settings import AppArgs
from tests.deploy.async_jobs.conftest import submit, wait_for, wait_until
from tests.deploy.conftest import problem

Start = Callable[..., TestClient]
SECRET = "between us"


@dataclass
class Listener:
    """A webhook's receiver; answers with these statuses, the last one again and again."""

    statuses: list[int] = field(default_factory=lambda: [200])
    heard: list[tuple[str, dict[str, str], bytes]] = field(default_factory=list)
    port: int = 0

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.port}"


@pytest.fixture
def listener() -> Iterator[Listener]:
    receiver = Listener()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            headers = {name.lower(): value for name, value in self.headers.items()}
            receiver.heard.append((self.path, headers, body))
            status = (
                receiver.statuses.pop(0) if len(receiver.statuses) > 1 else receiver.statuses[0]
            )
            self.send_response(status)
            if status == 302:
                self.send_header("location", f"http://{receiver.host}/elsewhere")
            self.end_headers()

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver.port = server.server_port
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield receiver
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def settings(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(webhooks, "_PAUSES_SECONDS", (0.01,))
    (tmp_path / "secret").write_text(f"{SECRET}\n")
    return {"webhook_hosts": listener.host, "webhook_secret": str(tmp_path / "secret")}


def test_the_end_of_a_job_is_sent_signed(
    start: Start, settings: dict[str, str], listener: Listener, folder: Path
) -> None:
    client = start(**settings)
    sent = submit(client, {"webhook": f"http://{listener.host}/done?order=7"})
    assert sent.status_code == 202, sent.text
    job = wait_for(client, sent.json()["id"])
    wait_until(lambda: bool(listener.heard) and not list((folder / "hooks").glob("*")))
    [(path, headers, body)] = listener.heard
    assert path == "/done?order=7"
    assert json.loads(body) == job
    moment, proof = (part.partition("=")[2] for part in headers[SIGNATURE].split(","))
    assert proof == signature(SECRET.encode(), moment, body)
    assert proof != signature(b"guessed", moment, body)


def test_a_failure_is_sent_too(start: Start, settings: dict[str, str], listener: Listener) -> None:
    client = start(**settings)
    submit(client, {"webhook": f"http://{listener.host}/", "scales": "9"})
    wait_until(lambda: bool(listener.heard))
    document = json.loads(listener.heard[0][2])
    assert (document["state"], document["problem"]["code"]) == ("failed", "options_do_not_fit")


def test_it_is_sent_again_until_it_is_taken(
    start: Start, settings: dict[str, str], listener: Listener, folder: Path
) -> None:
    listener.statuses = [500, 302, 503, 204]
    client = start(**settings)
    submit(client, {"webhook": f"http://{listener.host}/"})
    wait_until(lambda: not listener.statuses[1:] and not list((folder / "hooks").glob("*")))
    assert {path for path, _, _ in listener.heard} == {"/"}, "no redirect is followed"
    assert len({body for _, _, body in listener.heard}) == 1


@pytest.mark.parametrize(
    "url",
    [
        "http://169.254.169.254/latest",
        "https://127.0.0.1/",
        "http://127.0.0.1:1/",
        "ftp://HOST/",
        "file:///etc/passwd",
        "http://user:word@HOST/",
        "http://HOST@evil.example/",
        "http://HOST/#part",
        "http://HOST/a b",
        "//HOST/",
        "nonsense",
        # Other names of this machine, and of its network.
        "http://[::1]/",
        "http://[::ffff:127.0.0.1]/",
        "https://[::ffff:169.254.169.254]/latest",
        "https://[fe80::1%25eth0]/",
        "http://0/",
        "http://0x7f000001/",
        "http://2130706433/",
        "http://127.1/",
        "http://localhost.:1/",
        "https://HOST.evil.example/",
        "https://evil.example\\@HOST/",
        "https://evil.example/?HOST",
        "http://HOST:80/",
        "http:///HOST/",
        "http://HOST\t/",
        "http://\u0661\u0662\u0667.0.0.1/",
    ],
)
def test_other_addresses_are_refused(
    start: Start, settings: dict[str, str], listener: Listener, url: str
) -> None:
    answer = submit(start(**settings), {"webhook": url.replace("HOST", listener.host)})
    problem(answer, 422, "webhook_not_allowed")


def test_without_hosts_there_are_none(start: Start) -> None:
    problem(submit(start(), {"webhook": "https://example.org/"}), 422, "webhook_not_allowed")
    with pytest.raises(ValueError, match="webhook_hosts needs webhook_secret"):
        AppArgs(release="r", webhook_hosts="example.org")

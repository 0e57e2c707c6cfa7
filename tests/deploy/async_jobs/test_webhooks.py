"""Webhooks: signed, at allowed hosts only, sent again until they are taken."""

import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.api import build_api
from kintsugi.deploy.async_jobs import deliveries, webhooks
from kintsugi.deploy.async_jobs.records import JobOutcome, JobRecord, Mark, digests, fresh_id
from kintsugi.deploy.async_jobs.store import JobStore
from kintsugi.deploy.async_jobs.webhooks import SIGNATURE, signature
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.inpainter import Inpainter
from tests.deploy.async_jobs.conftest import FILES, LEASE_SECONDS, submit, wait_for, wait_until
from tests.deploy.conftest import MODEL, problem

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


@contextmanager
def listening() -> Iterator[Listener]:
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
def listener() -> Iterator[Listener]:
    with listening() as receiver:
        yield receiver


@dataclass
class Hanging:
    """A receiver that takes what is sent and never ends its answer."""

    server: socket.socket
    drips: bool
    taken: list[socket.socket] = field(default_factory=list)

    @property
    def host(self) -> str:
        return f"127.0.0.1:{self.server.getsockname()[1]}"

    def run(self) -> None:
        self.server.settimeout(0.05)
        while self.server.fileno() >= 0:
            with suppress(OSError):
                self.taken.append(self.server.accept()[0])
            for connection in self.taken if self.drips else []:
                with suppress(OSError):
                    connection.send(b"H")


@contextmanager
def hanging(*, drips: bool = False) -> Iterator[Hanging]:
    receiver = Hanging(socket.create_server(("127.0.0.1", 0)), drips)
    thread = threading.Thread(target=receiver.run)
    thread.start()
    yield receiver
    receiver.server.close()
    thread.join()
    for connection in receiver.taken:
        connection.close()


@pytest.fixture
def settings(tmp_path: Path, listener: Listener, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    monkeypatch.setattr(deliveries, "_PAUSES_SECONDS", (0.01,))
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


def test_a_receiver_that_hangs_holds_no_job_and_no_other_host(
    start: Start, settings: dict[str, str], listener: Listener, folder: Path
) -> None:
    with hanging() as dead:
        client = start(**settings | {"webhook_hosts": f"{listener.host} {dead.host}"})
        ids = [submit(client, {"webhook": f"http://{dead.host}/"}).json()["id"] for _ in range(4)]
        # Its requests are under way, as many as there are at one time.
        wait_until(lambda: len(dead.taken) == deliveries._AT_ONCE)
        other = submit(client, {"webhook": f"http://{listener.host}/"}).json()["id"]
        for job_id in (*ids, other):
            assert wait_for(client, job_id)["state"] == "done"
        wait_until(lambda: bool(listener.heard))
        assert json.loads(listener.heard[0][2])["id"] == other
        wait_until(lambda: {path.name for path in (folder / "hooks").iterdir()} == set(ids))
        # None of them was given up meanwhile: a request is, after seconds.
        assert len(dead.taken) == deliveries._AT_ONCE


def test_an_answer_that_comes_byte_by_byte_is_late(
    folder: Path, inpainter: Inpainter, settings: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(webhooks, "_TIMEOUT_SECONDS", 0.3)
    with hanging(drips=True) as slow:
        named = settings | {"webhook_hosts": slow.host}
        args = AppArgs(release="unused", jobs=str(folder), jobs_lease_seconds=0.3, **named)  # type: ignore[arg-type]
        with TestClient(build_api(LocalEngine(inpainter, MODEL), args)) as client:
            submit(client, {"webhook": f"http://{slow.host}/"})
            # It is tried again, in a thread that was let go.
            wait_until(lambda: len(slow.taken) > 2 * deliveries._AT_ONCE)
            threads = [each for each in threading.enumerate() if each.name.startswith("hook-")]
            assert 0 < len(threads) <= deliveries._AT_ONCE
        for thread in threads:
            thread.join(10)
            assert not thread.is_alive()


def test_what_a_stop_or_a_crash_left_is_sent_after_the_next_start(
    folder: Path,
    inpainter: Inpainter,
    settings: dict[str, str],
    listener: Listener,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A stop waits for no receiver: it would never come.
    monkeypatch.setattr(webhooks, "_TIMEOUT_SECONDS", 3600)
    with hanging() as dead:
        args = AppArgs(
            release="unused",
            jobs=str(folder),
            **settings | {"webhook_hosts": f"{listener.host} {dead.host}"},  # type: ignore[arg-type]
        )
        engine = LocalEngine(inpainter, MODEL)
        with TestClient(build_api(engine, args)) as client:
            sent = submit(client, {"webhook": f"http://{dead.host}/"}).json()["id"]
            wait_until(lambda: bool(dead.taken))
        store = JobStore(str(folder), ttl_seconds=60)
        crashed = JobRecord(
            id=fresh_id(),
            kind="inpaint",
            options={},
            files=digests(FILES),
            key_name="",
            request_id="r",
            created=time.time(),
            webhook=f"http://{listener.host}/",
        )
        store.create(crashed, FILES, "d" * 32)
        store.finish(crashed, JobOutcome(finished=time.time()))
        # Killed before the last step of ending it.
        store._write(f"open/{crashed.id}", Mark(time=crashed.created))
        taken = len(dead.taken)
        with TestClient(build_api(engine, args)):
            wait_until(lambda: len(dead.taken) > taken and bool(listener.heard))
            assert json.loads(listener.heard[0][2])["id"] == crashed.id
            wait_until(lambda: store.open_jobs() == [] and store.hooks() == [sent])


def test_the_webhook_of_a_job_that_is_just_being_made_is_not_forgotten(
    start: Start, settings: dict[str, str], folder: Path
) -> None:
    store = JobStore(str(folder), ttl_seconds=60)
    half, cut_short = fresh_id(), fresh_id()
    for job_id in (half, cut_short):
        store._write(f"hooks/{job_id}", Mark(time=time.time()))
    # It comes first when a job is made.
    store._write(f"open/{half}", Mark(time=time.time()))
    start(**settings)
    wait_until(lambda: cut_short not in store.hooks())
    time.sleep(3 * LEASE_SECONDS)
    assert store.hooks() == [half]


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

"""A run's rows in the files of Weights & Biases, offline: of one run, resumed or not."""

import dataclasses
import json
import os
import socket
import struct
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from kintsugi.errors import ConfigError
from kintsugi.monitor import wandb_tracker
from kintsugi.monitor.reporting import DisplayOptions, reporting
from kintsugi.monitor.trackers import Ending, scalars
from kintsugi.monitor.wandb_tracker import WandbTracker
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.storage.storage import Storage
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos

# Of its files: LevelDB's log, behind seven bytes of its own.
_BLOCK, _HEADER, _IDENT = 32768, 7, 7
_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
PATIENCE = 120.0


def test_without_wandb_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wandb_tracker.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install \"kintsugi-inpainting\[wandb\]\""):
        WandbTracker("holes", "first", Storage(tmp_path), {})


def records(data: bytes) -> Iterator[bytes]:
    """The records of such a file, whole."""
    at, parts = _IDENT, b""
    while at + _HEADER <= len(data):
        if _BLOCK - at % _BLOCK < _HEADER:
            at += _BLOCK - at % _BLOCK
            continue
        _, size, kind = struct.unpack("<IHB", data[at : at + _HEADER])
        if not kind:
            return
        parts += data[at + _HEADER : at + _HEADER + size]
        at += _HEADER + size
        if kind in (_FULL, _LAST):
            yield parts
            parts = b""


def history(file: Path) -> tuple[str, list[dict[str, Any]]]:
    """The identity of a run that has ended, and its rows in their order."""
    # Its file is not complete before.
    ended_with(file)
    from wandb.proto.wandb_internal_pb2 import Record

    identity, rows = "", []
    for data in records(file.read_bytes()):
        record = Record.FromString(data)
        identity = record.run.run_id or identity
        items = record.history.item
        row = {item.key or ".".join(item.nested_key): json.loads(item.value_json) for item in items}
        if row:
            rows.append(row)
    return identity, rows


def environment_of(folder: Path, **settings: str) -> dict[str, str]:
    """That of a process which shares nothing of W&B's with this one, not its service either."""
    ours = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    places = {f"WANDB_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "CACHE")}
    return ours | places | settings


@pytest.mark.slow
def test_a_server_that_is_gone_does_not_keep_a_process_that_ends(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="pip install 'kintsugi-inpainting[wandb]'")
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
    environment = environment_of(
        tmp_path,
        WANDB_BASE_URL=f"http://127.0.0.1:{port}",
        WANDB_API_KEY="0" * 40,
        # It would wait so long.
        WANDB_INIT_TIMEOUT="3600",
    )
    ended = subprocess.run(
        [sys.executable, "-c", _SUBMISSION, str(tmp_path)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert "wandb did not answer for 1 s at the end" in ended.stderr
    assert ended.returncode == 0


# It ends while Weights & Biases is still being asked for a run.
_SUBMISSION = """
import sys
from pathlib import Path
from kintsugi.monitor import trackers, wandb_tracker
from kintsugi.storage.storage import Storage

trackers.CLOSE_SECONDS = 1.0
wandb_tracker.BEGIN_SECONDS = 8.0
folder = Storage(sys.argv[1])
tracker = wandb_tracker.WandbTracker("holes", "first", folder, {})
watcher = trackers.TrackerWatcher(tracker, folder)
watcher.begin([])
watcher.show([{"step": 1, "loss/a": 1.0}])
# Its service runs by then.
while not list(Path(sys.argv[1], "wandb").glob("*run-*")):
    pass
watcher.close()
"""


class Silence(ThreadingHTTPServer):
    """As much of W&B's own server as begins a run, until it falls silent."""

    daemon_threads = True
    block_on_close = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.is_silent = threading.Event()
        self.held = 0
        self.ended = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Silence

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        if self.path == "/silence":
            self.server.is_silent.set()
        elif self.server.is_silent.is_set():
            self.server.held += 1
            self.server.ended.wait()
            return
        answer = json.dumps({"data": _data(body) if self.path == "/graphql" else {}}).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Nothing."""


def _data(body: bytes) -> dict[str, Any]:
    asked = json.loads(body)
    if "upsertBucket" in asked["query"]:
        project = {"id": "b", "name": "holes", "entity": {"id": "c", "name": "ana"}}
        bucket = {"id": "a", "name": asked["variables"]["name"], "displayName": "first"}
        bucket |= {"config": "{}", "project": project, "historyLineCount": 0}
        return {"upsertBucket": {"bucket": bucket, "inserted": True}}
    if "createRunFiles" in asked["query"]:
        return {"createRunFiles": {"runID": "a", "uploadHeaders": [], "files": []}}
    return {"model": None, "serverInfo": {"features": []}}


@pytest.mark.slow
def test_a_server_that_falls_silent_after_a_run_began_is_given_up_at_its_end(
    tmp_path: Path,
) -> None:
    pytest.importorskip("wandb", reason="pip install 'kintsugi-inpainting[wandb]'")
    server = Silence()
    environment = environment_of(
        tmp_path,
        WANDB_BASE_URL=f"http://127.0.0.1:{server.server_address[1]}",
        WANDB_API_KEY="0" * 40,
    )
    try:
        ended = subprocess.run(
            [sys.executable, "-c", _BEGUN, str(tmp_path), environment["WANDB_BASE_URL"]],
            env=environment,
            capture_output=True,
            text=True,
            # Without the limit it asks again for hours.
            timeout=120,
            check=True,
        )
    finally:
        server.ended.set()
        server.shutdown()
        server.server_close()
    assert ended.stdout.splitlines()[-1] == "closed"
    assert server.held, "it was asked, and did not answer"
    (file,) = tmp_path.glob("wandb/run-*/*.wandb")
    # What did not arrive is there for `wandb sync`.
    assert [row["loss/a"] for row in history(file)[1]] == [1.0, 2.0]


_BEGUN = """
import sys, urllib.request
from kintsugi.monitor import wandb_tracker
from kintsugi.storage.storage import Storage

wandb_tracker.END_SECONDS = 3.0
tracker = wandb_tracker.WandbTracker("holes", "first", Storage(sys.argv[1]), {})
tracker.open("")
urllib.request.urlopen(f"{sys.argv[2]}/silence", b"").read()
tracker.send([{"step": 1, "loss/a": 1.0}, {"step": 2, "loss/a": 2.0}])
tracker.close("finished")
print("closed", flush=True)
"""


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("ending", "code", "preempting"),
    [("finished", 0, False), ("stopped", 143, True), ("failed", 1, False)],
)
def test_its_files_say_how_a_run_ended(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: Ending,
    code: int,
    preempting: bool,
) -> None:
    pytest.importorskip("wandb", reason="pip install 'kintsugi-inpainting[wandb]'")
    offline(monkeypatch, tmp_path)
    tracker = WandbTracker("holes", "first", Storage(tmp_path), {})
    tracker.open("")
    tracker.send([{"step": 1, "loss/a": 1.0}])
    tracker.close(ending)

    assert ended_with(file_of(tmp_path)) == (code, preempting)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_it_ends_a_run_that_it_cannot_mark(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wandb = pytest.importorskip("wandb", reason="pip install 'kintsugi-inpainting[wandb]'")
    offline(monkeypatch, tmp_path)
    tracker = WandbTracker("holes", "first", Storage(tmp_path), {})
    tracker.open("")

    def refuse(run: object) -> None:
        raise ConnectionError("no mark")

    monkeypatch.setattr(wandb.Run, "mark_preempting", refuse)
    with pytest.raises(ConnectionError, match="no mark"):
        tracker.close("stopped")
    assert ended_with(file_of(tmp_path)) == (143, False)


@pytest.mark.slow
def test_a_run_that_is_not_closed_ends_with_its_process(tmp_path: Path) -> None:
    pytest.importorskip("wandb", reason="pip install 'kintsugi-inpainting[wandb]'")
    environment = environment_of(tmp_path, WANDB_MODE="offline")
    command = [sys.executable, "-c", _NOT_CLOSED, str(tmp_path)]
    assert subprocess.run(command, env=environment, timeout=PATIENCE, check=False).returncode == 143
    # Not as preempted, which is why it is closed.
    assert ended_with(file_of(tmp_path)) == (143, False)


_NOT_CLOSED = """
import sys
from kintsugi.monitor import wandb_tracker
from kintsugi.storage.storage import Storage

wandb_tracker.WandbTracker("holes", "first", Storage(sys.argv[1]), {}).open("")
sys.exit(143)
"""


def file_of(folder: Path) -> Path:
    """The file of the run that was offline below a folder."""
    (file,) = folder.glob("wandb/offline-run-*/*.wandb")
    return file


def ended_with(file: Path) -> tuple[int, bool]:
    """With which exit code a run ended, by its file, and whether it is marked as preempted."""
    from wandb.proto.wandb_internal_pb2 import Record

    found: list[Any] = []
    # Its service writes the last record when it has answered.
    deadline = time.monotonic() + PATIENCE
    while not any(each.HasField("exit") for each in found):
        assert time.monotonic() < deadline
        time.sleep(0.05)
        found = [Record.FromString(data) for data in records(file.read_bytes())]
    (code,) = [each.exit.exit_code for each in found if each.HasField("exit")]
    return code, any(each.HasField("preempting") for each in found)


def offline(monkeypatch: pytest.MonkeyPatch, folder: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("WANDB_CONFIG_DIR", str(folder / "config"))
    monkeypatch.setenv("WANDB_CACHE_DIR", str(folder / "cache"))
    monkeypatch.delenv("WANDB_DIR", raising=False)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_its_files_hold_the_rows_of_a_run_that_was_resumed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    pytest.importorskip("wandb", reason="pip install 'kintsugi-inpainting[wandb]'")
    offline(monkeypatch, tmp_path)
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=2, sample_every=2, batch_size=1)
    for max_steps in (2, 4):
        loop = dataclasses.replace(config.loop, max_steps=max_steps)
        config = dataclasses.replace(config, loop=loop)
        with reporting(config, DisplayOptions(wandb="holes")):
            run = train_locally(config)
    assert not [each for each in caplog.records if each.name.startswith("kintsugi")]
    files = sorted(Path(run.storage.uri).glob("wandb/offline-run-*/*.wandb"))
    assert [ended_with(file) for file in files] == [(0, False)] * 2
    (one, first), (other, second) = map(history, files)
    assert one == other, "the same run there"
    rows = read_metrics(run.storage.join("metrics"))
    assert rows[-1]["step"] == 4
    sent = [
        {key: value for key, value in row.items() if not key.startswith("_")}
        for row in first + second
    ]
    assert sent == [{"step": row["step"], **scalars(row)} for row in rows]

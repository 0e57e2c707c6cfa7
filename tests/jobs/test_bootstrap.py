"""kintsugi.jobs._bootstrap: exit codes, one-line errors, and what workers get."""

import json
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kintsugi.defaults import PACKAGE
from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.jobs import _bootstrap


def raising(error: BaseException) -> Callable[..., int]:
    def main(argv: object) -> int:
        raise error

    return main


@pytest.mark.parametrize(
    ("main", "code", "said"),
    [
        (lambda argv: _bootstrap.DONE, 0, ""),
        (lambda argv: _bootstrap.SOME_REJECTED, 3, ""),
        (raising(ConfigError("no such key")), 2, "error: no such key\n"),
        (raising(StorageError("gone")), 1, "error: gone\n"),
        (raising(InvalidInput("odd", code="odd")), 1, "error: odd\n"),
        (raising(InvalidInput("odd", code="odd", hint="even it")), 1, "error: odd: even it\n"),
        (raising(KeyboardInterrupt()), 1, "error: interrupted\n"),
    ],
)
def test_exit_codes(
    main: Callable[..., int], code: int, said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as caught:
        _bootstrap.run(main)
    assert caught.value.code == code
    assert capsys.readouterr().err == said


def test_an_error_from_a_ray_task_is_its_cause(capsys: pytest.CaptureFixture[str]) -> None:
    wrapped = StorageError("a long trace through Ray")
    wrapped.cause = ConfigError("no such mask")  # type: ignore[attr-defined]
    with pytest.raises(SystemExit) as caught:
        _bootstrap.run(raising(wrapped))
    assert caught.value.code == 2
    assert capsys.readouterr().err == "error: no such mask\n"


def test_a_bug_keeps_its_trace() -> None:
    with pytest.raises(ZeroDivisionError):
        _bootstrap.run(raising(ZeroDivisionError()))


def test_figures_are_written_where_asked_and_the_place_is_reported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    _bootstrap.write_results(None, {"a": 1})
    assert capsys.readouterr().out == ""
    _bootstrap.write_results(Path("new/f.json"), {"a": 1})
    assert capsys.readouterr().out == f"wrote {tmp_path}/new/f.json\n"
    assert json.loads((tmp_path / "new" / "f.json").read_text()) == {"a": 1}


HERE = str(PACKAGE.parent)


@pytest.mark.parametrize(
    ("submitted", "path"),
    [
        ({"runtime_env": {"working_dir": "gcs://x.zip"}}, "platform"),
        ({"runtime_env": {}}, HERE),
        ({}, HERE),
        ({"runtime_env": {"env_vars": {"PYTHONPATH": "mine"}}}, None),
        ({"runtime_env": {"py_modules": ["gcs://kintsugi.zip"]}}, None),
    ],
)
def test_workers_of_a_submitted_job_know_where_the_code_is(
    submitted: dict[str, object], path: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Ray unpacks what `--working-dir .` sent into the job's current folder.
    monkeypatch.chdir(PACKAGE.parents[1])
    environment = _bootstrap._runtime_env(json.dumps(submitted))
    assert environment["env_vars"].get("PYTHONPATH") == path
    assert environment.keys() == {"env_vars"}


def test_a_process_that_joins_a_cluster_sends_the_package() -> None:
    assert _bootstrap._runtime_env(None)["py_modules"] == [str(PACKAGE)]
    assert (PACKAGE / "models" / "inpainter.py").is_file()


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("http://127.0.0.1:8265", "is where jobs are submitted"),
        ("127.0.0.1:1", "no Ray cluster at RAY_ADDRESS=127.0.0.1:1"),
    ],
)
def test_an_address_without_a_cluster_is_reported_at_once(
    address: str, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RAY_ADDRESS", address)
    with pytest.raises(ConfigError, match=message):
        _bootstrap.start_ray()


@pytest.mark.parametrize("busy", [0, 2, 9])
def test_ray_is_started_again_on_a_machine_that_is_busy(
    busy: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not the real one: it would have to be starved of processors for half a minute."""
    ray = pytest.importorskip("ray")
    starts: list[str] = []
    left: list[subprocess.Popen[bytes]] = []
    raylet = [sys.executable, "-c", "import time; time.sleep(120)  # raylet"]

    def init(address: str, **settings: object) -> None:
        starts.append(address)
        if len(starts) <= busy:
            # What Ray has started by then, and forgets.
            left.append(subprocess.Popen(raylet))
            # For an instant it has no command line yet.
            while b"raylet" not in _bootstrap._command(left[-1].pid):
                pass
            raise Exception("The current node timed out during startup. This could happen because")

    monkeypatch.setattr(ray, "init", init)
    # Another test's cluster stays.
    monkeypatch.setattr(ray, "shutdown", lambda: None)
    with subprocess.Popen(raylet) as another:
        if busy < 3:
            _bootstrap._start_here()
            assert len(starts) == busy + 1
        else:
            words = r"within 30 s, 3 times: .* busy: end other work, or set"
            with pytest.raises(ConfigError, match=words):
                _bootstrap._start_here()
            assert len(starts) == 3
        assert [process.wait() for process in left] == [-signal.SIGKILL] * min(busy, 3)
        assert another.poll() is None, "it was there before"
        another.kill()


def test_a_second_signal_does_not_cut_the_cleanup_short() -> None:
    script = """
import os, signal
from kintsugi.jobs._bootstrap import interrupt_once
interrupt_once()
try:
    os.kill(os.getpid(), signal.SIGTERM)
except KeyboardInterrupt:
    os.kill(os.getpid(), signal.SIGINT)
    os.kill(os.getpid(), signal.SIGTERM)
    print("cleaned up")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=PACKAGE.parents[1], capture_output=True, text=True
    )
    assert done.stdout == "cleaned up\n", done.stderr


def test_figures_are_read(tmp_path: Path) -> None:
    (tmp_path / "f.json").write_text('{"psnr": 1}')
    assert _bootstrap.read_results(tmp_path / "f.json") == {"psnr": 1}


@pytest.mark.parametrize("content", [None, b"", b"[1]", b"{", b"\xff\xfe"])
def test_a_file_that_is_none_is_one_line(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "f.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"/f\.json.*: give what a job's --json wrote"):
        _bootstrap.read_results(path)


@pytest.mark.parametrize("lines", [1, 100_000])
def test_who_stops_reading_what_is_printed_sees_no_trace(lines: int) -> None:
    script = f"""
import sys, time
from kintsugi.jobs._bootstrap import run
def main(argv):
    print("ready", flush=True)
    sys.stdin.read()
    print("line\\n" * {lines})
    return 0
run(main)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script],
        cwd=PACKAGE.parents[1],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    ) as job:
        assert job.stdin
        assert job.stdout
        assert job.stderr
        job.stdout.readline()
        job.stdout.close()
        job.stdin.close()
        assert job.stderr.read() == b""
        assert job.wait() == 128 + signal.SIGPIPE


def test_another_broken_pipe_keeps_its_trace() -> None:
    with pytest.raises(BrokenPipeError, match="of a socket"):
        _bootstrap.run(raising(BrokenPipeError("of a socket")))

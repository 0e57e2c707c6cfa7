"""Commands of the demo are shown, logged and ended, whatever happens."""

import os
import sys
import time
from pathlib import Path

import pytest

from kintsugi.servers.console import CommandFailed, Console, own_words


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("step 5/40  perceptual 2.7", "step 5/40  perceptual 2.7"),
        ("\x1b[36m(RayTrainWorker pid=7)\x1b[0m step 5/40", "step 5/40"),
        ("\x1b[36m(RayTrainWorker pid=7, ip=10.0.0.2)\x1b[0m step 5/40", "step 5/40"),
        ("\x1b[36m(TrainController pid=7)\x1b[0m Requesting resources", ""),
        ("\x1b[33m(raylet)\x1b[0m WARNING: 8 PYTHON worker processes", ""),
        ("2026-01-02 03:04:05,678\tINFO worker.py:1841 -- Connecting", ""),
        ("2026-01-02 03:04:05,678\tSUCC cli.py:66 -- Job 'raysubmit_x' succeeded", ""),
        ("error: data.shards holds 2 photographs", "error: data.shards holds 2 photographs"),
        ("   ", ""),
    ],
)
def test_a_jobs_own_words_are_shown_and_rays_are_not(line: str, shown: str) -> None:
    assert own_words(line) == shown


def test_a_command_is_shown_and_all_it_says_is_logged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(1, tmp_path)
    script = "import os; print('hello', os.environ['GIVEN']); print('(raylet) noise')"
    with console.step("Greet"):
        console.run([sys.executable, "-c", script], cwd=tmp_path, environment={"GIVEN": "you"})
    out = capsys.readouterr().out
    assert "[1/1] Greet" in out
    assert "hello you" in out
    assert "noise" not in out.replace(script, "")
    (log,) = tmp_path.glob("*.log")
    assert "(raylet) noise" in log.read_text()
    assert console.seconds["Greet"] > 0


@pytest.mark.slow
def test_a_failed_command_names_its_code_and_log_and_shows_its_end(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    console = Console(1, tmp_path)
    script = "import sys; print('(raylet) the cause'); sys.exit(3)"
    with pytest.raises(CommandFailed, match=r"ended with 3: see .*\.log"):
        console.run([sys.executable, "-c", script], cwd=tmp_path, environment={})
    assert "the cause" in capsys.readouterr().err


def test_an_interrupted_command_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    console = Console(1, tmp_path)
    pids: list[int] = []

    def interrupt(line: str) -> None:
        if line.strip().isdecimal():
            pids.append(int(line))
            raise KeyboardInterrupt

    monkeypatch.setattr(console, "say", interrupt)
    script = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with pytest.raises(KeyboardInterrupt):
        console.run([sys.executable, "-c", script], cwd=tmp_path, environment={})
    time.sleep(0.1)
    with pytest.raises(ProcessLookupError):
        os.kill(pids[0], 0)

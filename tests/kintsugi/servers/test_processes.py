"""kintsugi.servers.processes: a server comes up or is reported, and leaves nothing behind."""

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from kintsugi.errors import StorageError
from kintsugi.servers import processes
from kintsugi.servers.processes import Server, running


def shell(script: str, folder: Path) -> tuple[Server, Callable[[], bool]]:
    """A server that is ready as soon as its script has written the file `ready`."""
    server = Server("it", ["sh", "-c", script], dict(os.environ), folder, folder / "log")
    return server, (folder / "ready").exists


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def test_it_ends_with_its_block_and_so_does_what_it_started(tmp_path: Path) -> None:
    # What it started hears of nothing, as it is in the background.
    script = "sleep 600 & echo $! > child; echo hello; touch ready; exec sleep 600"
    with suppress(KeyboardInterrupt), running(*shell(script, tmp_path)):
        child = int((tmp_path / "child").read_text())
        assert runs(child)
        raise KeyboardInterrupt
    assert not runs(child)
    assert (tmp_path / "log").read_text() == "hello\n"


def test_one_that_does_not_stop_is_killed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "_STOP_SECONDS", 0.2)
    script = "trap '' TERM; echo $$ > pid; touch ready; while :; do sleep 0.05; done"
    with running(*shell(script, tmp_path)):
        pid = int((tmp_path / "pid").read_text())
        assert runs(pid)
    assert not runs(pid)


def test_one_that_ends_while_starting_is_reported_with_its_log(tmp_path: Path) -> None:
    with (
        pytest.raises(StorageError, match=r"it ended with 3 while starting: see .*/log"),
        running(*shell("exit 3", tmp_path)),
    ):
        pytest.fail("not ready")


def test_one_that_is_never_ready_is_reported_and_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(processes, "_START_SECONDS", 0.3)
    with (
        pytest.raises(StorageError, match=r"it did not start in .* s: see .*/log"),
        running(*shell("echo $$ > pid; exec sleep 600", tmp_path)),
    ):
        pytest.fail("not ready")
    assert not runs(int((tmp_path / "pid").read_text()))

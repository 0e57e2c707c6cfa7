"""A follower of a run sees each row once, and once more what is trained again; it cannot end it."""

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kintsugi.errors import StorageError
from kintsugi.monitor import tail as module
from kintsugi.monitor.tail import Follower, following
from kintsugi.runs.metrics_log import Metrics, MetricsWriter
from kintsugi.storage.storage import Storage


def row(step: int, seconds: float = 1.0) -> Metrics:
    return {"step": step, "step_seconds": seconds}


class Recorder:
    """A watcher that keeps what it is given."""

    def __init__(self) -> None:
        self.earlier: list[Any] = []
        self.shown: list[Any] = []
        self.closed = 0

    def begin(self, rows: Sequence[Any]) -> None:
        self.earlier += rows

    def show(self, rows: Sequence[Any]) -> None:
        self.shown += rows

    def close(self) -> None:
        self.closed += 1


@pytest.fixture(autouse=True)
def _often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "POLL_SECONDS", 0.01)


def test_each_row_is_found_once_across_parts(tmp_path: Path) -> None:
    storage = Storage(tmp_path / "metrics")
    follower, writer = Follower(storage), MetricsWriter(storage, 0)
    assert follower.poll() == []
    found = []
    for step in range(1, 8):
        writer.add(row(step))
        if step % 3 == 0:
            writer.close_part()
            writer.wait()
        writer.flush()
        writer.wait()
        found.append(follower.poll())
    assert found == [[row(step)] for step in range(1, 8)]
    assert follower.poll() == []


def test_what_is_trained_again_is_found_again(tmp_path: Path) -> None:
    storage = Storage(tmp_path)
    follower, writer = Follower(storage), MetricsWriter(storage, 0)
    for step in range(1, 7):
        writer.add(row(step))
        if step == 3:
            writer.close_part()
            writer.wait()
    writer.flush()
    writer.wait()
    follower.poll()
    again = MetricsWriter(storage, 3)
    # The part of steps 4 to 6 is deleted and written again between two looks.
    again.add(row(4, 2.0))
    again.flush()
    again.wait()
    assert follower.poll() == [row(4, 2.0)]
    again.add(row(5, 2.0))
    again.flush()
    again.wait()
    assert follower.poll() == [row(5, 2.0)]
    # And after a cut inside a part nothing that stands is reported twice.
    writer = MetricsWriter(storage, 4)
    assert follower.poll() == []
    writer.add(row(5, 3.0))
    writer.flush()
    writer.wait()
    assert follower.poll() == [row(5, 3.0)]


def test_watchers_are_reported_what_was_there_and_what_comes(tmp_path: Path) -> None:
    writer = MetricsWriter(Storage(tmp_path), 0)
    writer.add(row(1))
    writer.close_part()
    writer.wait()
    watcher = Recorder()
    with following(Storage(tmp_path), [watcher]):
        writer.add(row(2))
        # The last rows of a run: written, and the run is over.
        writer.close_part()
        writer.wait()
    assert (watcher.earlier, watcher.shown, watcher.closed) == ([row(1)], [row(2)], 1)


def test_watchers_are_closed_when_the_run_fails(tmp_path: Path) -> None:
    watcher = Recorder()
    with pytest.raises(RuntimeError), following(Storage(tmp_path), [watcher]):
        raise RuntimeError
    assert watcher.closed == 1


def test_storage_that_fails_does_not_end_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    writer, watcher, failures = MetricsWriter(Storage(tmp_path), 0), Recorder(), [3]
    poll = Follower.poll

    def failing(self: Follower) -> list[Any]:
        if writer_is_open and failures[0]:
            failures[0] -= 1
            raise StorageError("gone")
        return poll(self)

    writer_is_open = False
    monkeypatch.setattr(Follower, "poll", failing)
    with caplog.at_level(logging.WARNING), following(Storage(tmp_path), [watcher]):
        writer_is_open = True
        writer.add(row(1))
        writer.flush()
        writer.wait()
        while failures[0]:
            pass
    assert watcher.shown == [row(1)]
    assert "the run goes on" in caplog.text


class Full(Recorder):
    """A watcher whose disk is full."""

    def show(self, rows: Sequence[Any]) -> None:
        super().show(rows)
        raise OSError(28, "No space left on device")

    def close(self) -> None:
        super().close()
        raise OSError(28, "No space left on device")


def test_a_watcher_that_fails_is_left_out_and_the_others_go_on(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    writer, full, good = MetricsWriter(Storage(tmp_path), 0), Full(), Recorder()
    with following(Storage(tmp_path), [full, good]):
        for step in (1, 2, 3):
            writer.add(row(step))
            writer.flush()
            writer.wait()
            while len(good.shown) < step:
                time.sleep(0.01)
    assert good.shown == [row(1), row(2), row(3)]
    assert (full.shown, full.closed, good.closed) == ([row(1)], 1, 1)
    assert caplog.text.count("Full shows no more of it") == 2, "while it ran, and at its end"

"""Rows reach trackers in threads of their own, once, and no tracker ends or holds up a run."""

import json
import logging
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from kintsugi.monitor import trackers
from kintsugi.monitor.tail import following
from kintsugi.monitor.trackers import Ending, Tracked, TrackerWatcher, scalars
from kintsugi.storage.storage import Storage

Row = dict[str, Any]


class Notebook:
    """A tracker on this machine that keeps what it is given, or fails."""

    name = "notebook"
    secrets: tuple[str, ...] = ()

    def __init__(self, place: str = "here", error: Exception | None = None) -> None:
        self.place = place
        self.opened: list[str] = []
        self.rows: list[Row] = []
        self.closed: list[Ending] = []
        self.thread = ""
        self._error = error

    def open(self, identity: str) -> str:
        self.opened.append(identity)
        self.thread = threading.current_thread().name
        return identity or "first"

    def send(self, rows: Sequence[Row]) -> None:
        if self._error:
            raise self._error
        self.rows += rows

    def close(self, ending: Ending) -> None:
        self.closed.append(ending)


def submit(
    folder: Path,
    notebook: Notebook,
    earlier: list[Row],
    *shown: list[Row],
    ending: Ending = "finished",
) -> None:
    watcher = TrackerWatcher(notebook, Storage(folder))
    watcher.begin(earlier)
    for rows in shown:
        watcher.show(rows)
    watcher.end_as(ending)
    watcher.close()


def row(step: int, value: float = 0.0) -> Row:
    return {"step": step, "loss/perceptual": value}


FIXED = {"step": 2, "fixed/perceptual": 1.0}


def test_a_submission_goes_on_where_the_one_before_left_off(tmp_path: Path) -> None:
    one, other = Notebook(), Notebook()
    submit(tmp_path, one, [], [row(1)], [row(2)], ending="failed")
    assert (one.opened, one.rows, one.closed) == ([""], [row(1), row(2)], ["failed"])
    assert one.thread == "notebook", "a thread of its own"
    submit(tmp_path, other, [row(1), row(2), FIXED, row(3)], [row(4)])
    assert other.opened == ["first"]
    assert other.rows == [FIXED, row(3), row(4)], "what was lacking, and what is new"
    assert other.closed == ["finished"]
    elsewhere = Notebook(place="there")
    submit(tmp_path, elsewhere, [row(1)], [row(2)])
    assert (elsewhere.opened, elsewhere.rows) == ([""], [row(1), row(2)])


def test_what_is_not_begun_leaves_no_trace_and_what_lacks_rows_gets_them(tmp_path: Path) -> None:
    refused = Notebook()
    submit(tmp_path, refused, [row(1)], ending="failed")
    assert (refused.opened, list(tmp_path.iterdir())) == ([], [])
    late = Notebook()
    submit(tmp_path, late, [row(1)], ending="stopped")
    assert (late.rows, late.closed) == ([row(1)], ["stopped"])
    again = Notebook()
    submit(tmp_path, again, [row(1)])
    assert again.opened == [], "nothing is new"


def test_a_step_that_is_trained_again_is_sent_again() -> None:
    held = Tracked("here", "first").after([row(1), row(2), FIXED])
    assert (held.step, held.rows) == (2, 2)
    again = held.after([row(2), FIXED, row(1), row(2)])
    assert (again.step, again.rows) == (2, 1)
    assert again.missing([row(1), row(2), FIXED]) == [FIXED]
    assert held.after([{"step": 2, "held_out/perceptual": 1.0}]).rows == 3
    assert held.after([]) is held


def test_a_tracker_that_fails_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    broken = Notebook(error=ConnectionError("no route to it"))
    with caplog.at_level(logging.WARNING):
        submit(tmp_path, broken, [], [row(1)], [row(2)], [row(3)], ending="stopped")
    assert broken.closed == ["stopped"], "what failed does not go on there"
    (record,) = caplog.records
    assert "goes on without notebook: ConnectionError: no route to it" in record.getMessage()
    assert f"{tmp_path}/trackers/notebook.json" in record.getMessage()
    # What it lacks it gets another time.
    mended = Notebook()
    submit(tmp_path, mended, [row(1), row(2)], [row(3)])
    assert (mended.opened, mended.rows) == (["first"], [row(1), row(2), row(3)])


def test_a_warning_holds_no_secret(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    broken = Notebook(error=ConnectionError("no route to http://ana:pass@host, with pass"))
    broken.secrets = ("pass", "ana:pass")
    with caplog.at_level(logging.WARNING):
        submit(tmp_path, broken, [], [row(1)])
    assert "no route to http://...@host, with ...; submit" in caplog.text
    assert "pass" not in caplog.text


def test_one_that_does_not_answer_holds_nothing_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(trackers, "CLOSE_SECONDS", 0.05)
    answer = threading.Event()

    class Silent(Notebook):
        def send(self, rows: Sequence[Row]) -> None:
            answer.wait()

    metrics, other = Storage(tmp_path / "metrics"), Notebook()
    watchers = [
        TrackerWatcher(Silent(), Storage(tmp_path / "a")),
        TrackerWatcher(other, Storage(tmp_path / "b")),
    ]
    with following(metrics, watchers), caplog.at_level(logging.WARNING):
        metrics.write("part-1.jsonl", json.dumps(row(1)).encode())
    assert other.rows == [row(1)]
    assert [record.getMessage()[:27] for record in caplog.records] == [
        "notebook did not answer for"
    ]
    answer.set()


def test_figures_are_named_as_on_tensorboard() -> None:
    assert scalars({"step": 3, "loss/a": 1.0, "memory_mib": 2.0}) == {
        "loss/a": 1.0,
        "speed/memory_mib": 2.0,
    }

"""How the jobs that work through a folder report what happens."""

import io
import sys

import pytest

from kintsugi.inference.folder_report import PhotoOutcome, failed
from kintsugi.jobs._folder import reporting, shown


class Terminal(io.StringIO):
    """Something that somebody sits before."""

    def isatty(self) -> bool:
        return True


def report_two() -> None:
    with reporting() as report:
        report(PhotoOutcome("a.png", "done", "a.png"), 1, 2)
        report(failed("b[1].png", "image_bad", "it is bad"), 2, 2)


def test_a_log_gets_a_line_for_each_photograph(capsys: pytest.CaptureFixture[str]) -> None:
    report_two()
    assert capsys.readouterr().out.splitlines() == [
        "1 of 2: a.png: done",
        "2 of 2: b[1].png: failed: it is bad",
    ]


def test_a_terminal_gets_a_bar_and_what_failed(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = Terminal()
    monkeypatch.setattr(sys, "stdout", terminal)
    monkeypatch.setenv("TERM", "xterm")
    monkeypatch.setenv("COLUMNS", "100")
    report_two()
    seen = terminal.getvalue()
    assert "2/2" in seen
    assert "b[1].png: it is bad" in seen
    assert "a.png: done" not in seen


def test_names_cannot_write_on_the_terminal() -> None:
    assert shown("a\nb\x1b[31m.png") == "a\\nb\\x1b[31m.png"
    assert shown("ünï 😀 \udcff.png") == "ünï 😀 \\udcff.png"

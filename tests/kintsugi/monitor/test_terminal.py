"""A line says what a person wants, in columns; a bar is drawn on terminals only."""

import io
import sys

import pytest
from rich.console import Console

from kintsugi.monitor import terminal
from kintsugi.monitor.terminal import (
    LinePrinter,
    ProgressBar,
    format_duration,
    format_line,
    watcher_for_terminal,
)
from kintsugi.runs.metrics_log import Metrics

ROW: Metrics = {
    "step": 10,
    "loss/perceptual": 2.5,
    "loss/adversarial": 0.6931,
    "grad_norm/generator": 12.345,
    "grad_norm/discriminator": 0.5,
    "learning_rate": 2e-3,
    "step_seconds": 2.0,
    "images_per_second": 4.0,
    "wait_share": 0.25,
    "memory_mib": 812.4,
}


def test_a_line_has_step_losses_gradients_rate_speed_waiting_memory_and_the_rest() -> None:
    assert format_line(ROW, 1300) == (
        "step   10/1300  perceptual   2.5000  adversarial   0.6931  grad norm     12.3      0.5"
        "  lr 2.0e-03    812 MiB     4.0 images/s  data wait  25 %  43 min left"
    )


def test_lines_of_one_run_are_aligned() -> None:
    other = ROW | {"step": 1290, "loss/perceptual": 923.5, "images_per_second": 1234.5}
    other |= {"wait_share": 1.0, "memory_mib": 70000, "grad_norm/generator": 1.23e-5}
    one, two = format_line(ROW, 1300), format_line(other, 1300)
    for word in ("perceptual", "adversarial", "grad norm", "lr", "MiB", "images/s", "left"):
        at = one.index(word)
        assert two.index(word) == at or word == "left", (one, two)


def test_a_line_of_the_fixed_or_held_out_photographs_says_so() -> None:
    assert format_line({"step": 5, "fixed/perceptual": 1.5}, 9) == (
        "step 5/9  fixed photographs:  perceptual   1.5000"
    )
    assert "left" not in format_line({"step": 5, "held_out/perceptual": 1.5}, 9)
    assert "held out:  perceptual   1.7500" in format_line(ROW | {"held_out/perceptual": 1.75}, 99)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (89, "89 s"),
        (91, "2 min"),
        (3599, "1 h 00 min"),
        (11_100, "3 h 05 min"),
        (200_000, "2 d 7 h"),
    ],
)
def test_durations(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


def test_a_pipe_gets_plain_lines_of_what_is_new(capsys: pytest.CaptureFixture[str]) -> None:
    watcher = watcher_for_terminal(20)
    assert isinstance(watcher, LinePrinter)
    watcher.begin([{"step": 5}])
    watcher.show([ROW])
    watcher.close()
    printed = capsys.readouterr().out
    assert printed == format_line(ROW, 20) + "\n"
    assert printed.isascii()
    assert "\x1b" not in printed


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_a_bar_with_the_newest_losses(monkeypatch: pytest.MonkeyPatch) -> None:
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setattr(terminal, "console_of_terminal", lambda: Console(file=screen, width=150))
    bar = watcher_for_terminal(20)
    assert isinstance(bar, ProgressBar)
    bar.begin([{"step": 5}])
    bar.show([ROW, ROW | {"step": 12, "loss/perceptual": 1.75}])
    bar.show([{"step": 12, "fixed/perceptual": 1.25}])
    bar.close()
    shown = screen.getvalue()
    assert "12/20" in shown
    assert "perceptual   1.7500" in shown
    assert "step 12/20  fixed photographs:  perceptual   1.2500\n" in shown

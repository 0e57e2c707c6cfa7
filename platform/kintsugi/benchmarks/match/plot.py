"""Figures of the match benchmark as a picture: time and memory against size; measures nothing."""

from collections.abc import Mapping
from statistics import median
from typing import Any

from kintsugi.benchmarks.chart import ChartLine, Panel, Point, draw_chart
from kintsugi.benchmarks.match.needs import MIB
from kintsugi.benchmarks.match.trial import MATCHES
from kintsugi.errors import ConfigError

# Distinct also without red and green (Okabe and Ito).
_COLOURS = dict(zip(MATCHES, ("#d55e00", "#0072b2", "#009e73"), strict=True))
_NOTE = "thick: hole of half the side; thin: hole of fixed size; hollow: by arithmetic, not run"


def draw_plot(figures: Mapping[str, Any]) -> bytes:
    """A PNG with two panels, time and memory, on logarithmic axes.

    Args:
        figures: As `kintsugi.benchmarks.match.match_benchmark.run_benchmark` gives them.

    Raises: ConfigError when nothing was measured.
    """
    panels = {"seconds": _lines(figures, "seconds"), "memory, MiB": _lines(figures, "memory")}
    if not all(panels.values()):
        raise ConfigError("nothing was measured, so there is nothing to draw: leave --plot out")
    drawn = [
        Panel(f"{title}, by side of the photograph in px", lines) for title, lines in panels.items()
    ]
    return draw_chart(drawn, note=_NOTE)


def _lines(figures: Mapping[str, Any], what: str) -> list[ChartLine]:
    found: dict[tuple[str, bool], list[Point]] = {}
    for row in figures["matches"]:
        half = 2 * row["hole_px"] == row["side_px"]
        for method, measured in row["methods"].items():
            seconds = measured["seconds"]
            if what == "seconds":
                value = median(seconds) if seconds else 0.0
            else:
                # Less would be off the axis, and below what is measured.
                value = max(1.0, measured["peak_bytes" if seconds else "needs_bytes"] / MIB)
            if value > 0:
                point = Point(row["side_px"], value, hollow=not seconds)
                found.setdefault((method, half), []).append(point)
    return [
        ChartLine(method, _COLOURS[method], points, thick=half)
        for (method, half), points in found.items()
    ]

"""Latency by megapixels and share of hole as Markdown and as a picture; measures nothing."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from kintsugi.benchmarks.chart import ChartLine, Panel, Point, draw_chart
from kintsugi.benchmarks.markdown_table import markdown_table
from kintsugi.benchmarks.serve.load import percentile
from kintsugi.errors import ConfigError

_MIB = 1024**2
# Distinct also without red and green (Okabe and Ito).
_COLOURS = {
    "process": "#0072b2",
    "graph": "#56b4e9",
    "patchmatch": "#d55e00",
    "telea": "#009e73",
}
# What a picture can show: the figure of a fill, and its words.
DRAWN = {"seconds": ("seconds", "seconds"), "processor": ("cpu_seconds", "processor seconds")}


def format_latency(figures: Mapping[str, Any]) -> str:
    """What was measured, and one table.

    Args: ``figures``: as `kintsugi.benchmarks.serve.latency.run_latency` gives them.
    """
    head = (
        f"Release {figures['release']} on {figures['device']}, photograph {figures['photo']},"
        f" {figures['rounds']} rounds; {figures['cores']} cores, load average at the end"
        f" {figures['load_average']:.1f}. Memory is what a fill adds; of the graph that of all its"
        " processes. The graph's seconds are those of a request, with files read and written."
    )
    heading = (
        "MP", "hole", "method", "median, s", "p95, s", "to process", "processor, s", "to process",
        "MiB",
    )  # fmt: skip
    own = {
        _case(row): row for row in figures["rows"] if row["method"] == "process" and row["fills"]
    }
    lines = [_line(row, own.get(_case(row))) for row in figures["rows"]]
    return f"{head}\n\n{markdown_table(heading, lines, words=len(heading))}"


def draw_latency(figures: Mapping[str, Any], *, of: str = "seconds") -> bytes:
    """A PNG: one panel for each share of hole, seconds against megapixels.

    Args: ``of``: a key of ``DRAWN``; on a busy machine processor seconds are what repeats.

    Raises: ConfigError when nothing was measured, or ``of`` is none of them.
    """
    if of not in DRAWN:
        raise ConfigError(f"{of!r} cannot be drawn: choose of {', '.join(DRAWN)}")
    key, words = DRAWN[of]
    panels = []
    for share in dict.fromkeys(row["hole_share"] for row in figures["rows"]):
        rows = [
            row
            for row in figures["rows"]
            # Processor seconds are 0 where they are not known.
            if row["hole_share"] == share and row["fills"] and _median(row, key) > 0
        ]
        lines = [
            ChartLine(name, colour, [Point(row["megapixels"], _median(row, key)) for row in own])
            for name, colour in _COLOURS.items()
            if (own := [row for row in rows if row["method"] == name])
        ]
        if lines:
            title = f"hole {100 * share:g} %: {words}, by megapixels"
            panels.append(Panel(title, lines))
    if not panels:
        raise ConfigError("nothing was measured, so there is nothing to draw")
    return draw_chart(panels, note="median; both axes are logarithmic")


def _line(row: Mapping[str, Any], own: Mapping[str, Any] | None) -> Sequence[str]:
    names = [f"{row['megapixels']:.2f}", f"{100 * row['hole_share']:g} %", row["method"]]
    fills = row["fills"]
    if not fills:
        return [*names, row["left_out"], *("-" for _ in range(5))]
    processor = _median(row, "cpu_seconds")
    return [
        *names,
        f"{_median(row):.3f}",
        f"{percentile([fill['seconds'] for fill in fills], 0.95):.3f}",
        _ratio(_median(row), _median(own) if own else None),
        f"{processor:.2f}",
        # On a busy machine the ratio that repeats.
        _ratio(processor, _median(own, "cpu_seconds") if own else None),
        f"{max(fill['peak_bytes'] for fill in fills) / _MIB:.0f}",
    ]


def _ratio(one: float, other: float | None) -> str:
    return f"{one / other:.2f}" if other else "-"


def _case(row: Mapping[str, Any]) -> tuple[int, float]:
    return row["side_px"], row["hole_share"]


def _median(row: Mapping[str, Any], of: str = "seconds") -> float:
    return float(median(fill[of] for fill in row["fills"]))

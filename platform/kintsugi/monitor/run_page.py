"""A run as one HTML file: curves, sample pictures, configuration; loads nothing from elsewhere."""

import base64
import html
import math
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from kintsugi.config.toml_files import to_toml
from kintsugi.errors import ConfigError
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.storage.storage import Storage

PAGE_NAME = "run.html"
# What a part of a row's key before the slash stands for; others are drawn by themselves.
_GROUPS = {
    "fixed": "Losses on the fixed photographs",
    "held_out": "Losses on held-out photographs",
    "loss": "Losses in training",
    "grad_norm": "Length of the gradients",
}
_ALONE = {
    "images_per_second": "Photographs a second",
    "wait_share": "Share of the time spent waiting for data",
    "step_seconds": "Seconds a step",
    "learning_rate": "Learning rate",
    "memory_mib": "Memory of the first worker, MiB",
}
# Distinct for people who see few colours, and on white as on black (Okabe and Ito).
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#999999")
_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 560, 220, 64, 28, 10
# More points than pixels say nothing; more pictures than these make a file nobody opens.
_MOST_POINTS, _MOST_SAMPLES = 500, 8
_SAMPLE = re.compile(r"step-(\d+)\.png$")
_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1200px; margin: 2rem auto;
  padding: 0 1rem; }
.curves { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(100%, 520px), 1fr));
  gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; }
svg { width: 100%; height: auto; } svg text { fill: currentColor; font-size: 11px; }
.grid { stroke: currentColor; stroke-opacity: .18; } .legend { display: flex; flex-wrap: wrap;
  gap: .2rem 1rem; padding: 0; list-style: none; font-size: 13px; }
.legend i { display: inline-block; width: .8em; height: .8em; margin-right: .4em; }
img { max-width: 100%; height: auto; } table { border-collapse: collapse; }
td, th { text-align: left; padding: .15rem .8rem .15rem 0; vertical-align: top; }
pre { overflow: auto; }
"""

Row = Mapping[str, Any]
Points = list[tuple[float, float]]


def write_run_page(run: Run) -> str:
    """Write the page into the run's folder, over an earlier one. Returns its URI.

    Raises: ConfigError, StorageError: as `run_page`.
    """
    run.storage.write(PAGE_NAME, run_page(run).encode())
    return run.storage.join(PAGE_NAME).uri


def run_page(run: Run) -> str:
    """The page of a run as it stands, also while it trains.

    Raises:
        StorageError: there is no run, or it cannot be read.
        ConfigError: it has not logged a step yet.
    """
    config = run.config()
    rows = read_metrics(run.storage.join("metrics"))
    if not rows:
        raise ConfigError(f"{run.storage.uri} has logged no step yet: look again later")
    name, last = html.escape(config.run), int(rows[-1]["step"])
    parts = [
        f"<h1>{name}</h1>",
        f"<p>{html.escape(config.stage)}, step {last} of {config.loop.max_steps}, in"
        f" <code>{html.escape(run.storage.uri)}</code></p>",
        _newest(rows),
        '<h2>Curves</h2><div class="curves">',
        *(_chart(title, lines) for title, lines in _charts(rows)),
        "</div>",
        *_samples(run.storage),
        "<h2>Configuration</h2>",
        f"<details><summary>All keys</summary><pre>{html.escape(to_toml(config.to_dict()))}</pre>"
        "</details>",
    ]
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{name}, step {last}</title><style>{_STYLE}</style><body>{''.join(parts)}</body>"
        "</html>\n"
    )


def _charts(rows: Sequence[Row]) -> Iterable[tuple[str, dict[str, Points]]]:
    """Title and lines of each chart that there is something to draw of."""
    lines: dict[str, Points] = {}
    for row in rows:
        for key, value in row.items():
            if key != "step" and isinstance(value, int | float) and math.isfinite(value):
                lines.setdefault(key, []).append((float(row["step"]), float(value)))
    for group, title in _GROUPS.items():
        own = {
            key.partition("/")[2]: points
            for key, points in lines.items()
            if key.startswith(f"{group}/")
        }
        if own:
            yield title, own
    for key, title in _ALONE.items():
        if key in lines:
            yield title, {key: lines[key]}


def _chart(title: str, lines: Mapping[str, Points]) -> str:
    every = [point for points in lines.values() for point in points]
    left, right = min(x for x, _ in every), max(x for x, _ in every)
    low, high = min(y for _, y in every), max(y for _, y in every)
    if high == low:
        low, high = low - (abs(low) or 1) / 10, high + (abs(high) or 1) / 10

    def place(x: float, y: float) -> tuple[float, float]:
        across = (x - left) / (right - left) if right > left else 0.5
        return (
            _LEFT + across * (_WIDTH - _LEFT - 8),
            _TOP + (high - y) / (high - low) * (_HEIGHT - _TOP - _BOTTOM),
        )

    marks = []
    for part in range(5):
        y = low + (high - low) * part / 4
        height = place(left, y)[1]
        marks.append(
            f'<path class="grid" d="M{_LEFT},{height:.1f}H{_WIDTH - 8}"/>'
            f'<text x="{_LEFT - 6}" y="{height + 4:.1f}" text-anchor="end">{y:.3g}</text>'
        )
    for x in {left, right}:
        marks.append(
            f'<text x="{place(x, low)[0]:.1f}" y="{_HEIGHT - 8}" text-anchor='
            f'"{"start" if x == left else "end"}">step {x:g}</text>'
        )
    drawn, named = [], []
    for number, (name, points) in enumerate(sorted(lines.items())):
        colour = _COLOURS[number % len(_COLOURS)]
        coordinates = " ".join(
            f"{x:.1f},{y:.1f}" for x, y in (place(*one) for one in _thin(points))
        )
        shown = f"{html.escape(name)}: {points[0][1]:.4g} to {points[-1][1]:.4g}"
        drawn.append(
            f'<polyline points="{coordinates}" fill="none" stroke="{colour}" stroke-width="1.6">'
            f"<title>{shown}</title></polyline>"
        )
        if len(points) == 1:
            x, y = place(*points[0])
            drawn.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3" fill="{colour}"/>')
        named.append(f'<li><i style="background:{colour}"></i>{shown}</li>')
    return (
        f"<figure><figcaption>{html.escape(title)}</figcaption>"
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{html.escape(title)}">'
        f'{"".join(marks + drawn)}</svg><ul class="legend">{"".join(named)}</ul></figure>'
    )


def _thin(points: Points) -> Points:
    """A limited number of the points, the last one among them."""
    step = math.ceil(len(points) / _MOST_POINTS)
    return [*points[:-1:step], points[-1]]


def _newest(rows: Sequence[Row]) -> str:
    """The newest value of each figure that is no loss."""
    newest: dict[str, Any] = {}
    for row in rows:
        newest |= {key: value for key, value in row.items() if key in _ALONE}
    cells = (
        f"<tr><th>{html.escape(_ALONE[key])}</th><td>{newest[key]:.4g}</td></tr>"
        for key in _ALONE
        if key in newest
    )
    return f"<table>{''.join(cells)}</table>"


def _samples(storage: Storage) -> Iterable[str]:
    """Pictures of the fixed photographs from the first to the newest, newest first."""
    place = storage.join("samples")
    found = sorted((int(m[1]), name) for name in place.list() if (m := _SAMPLE.search(name)))
    if not found:
        return
    apart = max(1, math.ceil((len(found) - 1) / (_MOST_SAMPLES - 1)))
    yield "<h2>Samples</h2>"
    for step, name in reversed([*found[:-1:apart], found[-1]]):
        data = base64.b64encode(place.read(name)).decode()
        yield (
            f"<figure><figcaption>Step {step}</figcaption>"
            f'<img alt="input, fill, truth at step {step}" src="data:image/png;base64,{data}">'
            "</figure>"
        )

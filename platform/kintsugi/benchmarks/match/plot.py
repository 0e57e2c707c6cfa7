"""Figures of the match benchmark as a picture: time and memory against size; measures nothing."""

import math
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kintsugi.benchmarks.match.needs import MIB
from kintsugi.benchmarks.match.trial import MATCHES
from kintsugi.errors import ConfigError
from kintsugi.imaging.codec import encode_image

# Drawn this much larger and reduced: Pillow's lines have hard edges.
_FINER = 3
_WIDTH, _HEIGHT = 470, 340
# Of the axes inside a panel: left, top, right, bottom.
_BOX = (78, 62, _WIDTH - 20, _HEIGHT - 46)
# Distinct also without red and green (Okabe and Ito).
_COLOURS = dict(zip(MATCHES, ("#d55e00", "#0072b2", "#009e73"), strict=True))
_INK, _GRID = "#333333", "#dddddd"
_NOTE = "thick: hole of half the side; thin: hole of fixed size; hollow: by arithmetic, not run"


class Point(NamedTuple):
    """One measurement: side in pixels, a positive value; hollow where it was not run."""

    side: int
    value: float
    hollow: bool = False


class Line(NamedTuple):
    """A method's measurements by rising size, with holes of half the side or of one size."""

    method: str
    half: bool
    points: list[Point]


def draw_plot(figures: Mapping[str, Any]) -> bytes:
    """A PNG with two panels, time and memory, on logarithmic axes.

    Args:
        figures: As `kintsugi.benchmarks.match.match_benchmark.run_benchmark` gives them.

    Raises: ConfigError when nothing was measured.
    """
    panels = {"seconds": _lines(figures, "seconds"), "memory, MiB": _lines(figures, "memory")}
    if not all(panels.values()):
        raise ConfigError("nothing was measured, so there is nothing to draw: leave --plot out")
    image = Image.new("RGB", (len(panels) * _WIDTH * _FINER, _HEIGHT * _FINER), "white")
    for index, (title, lines) in enumerate(panels.items()):
        panel = Image.new("RGB", (_WIDTH * _FINER, _HEIGHT * _FINER), "white")
        _Panel(panel, lines).draw(title)
        image.paste(panel, (index * panel.width, 0))
    return encode_image(np.asarray(image.reduce(_FINER)))


def _lines(figures: Mapping[str, Any], what: str) -> list[Line]:
    found: dict[tuple[str, bool], Line] = {}
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
                line = found.setdefault((method, half), Line(method, half, []))
                line.points.append(Point(row["side_px"], value, hollow=not seconds))
    return list(found.values())


class _Panel:
    """One pair of axes; coordinates are those of the finished picture."""

    def __init__(self, image: Image.Image, lines: Sequence[Line]) -> None:
        self.canvas, self.lines = ImageDraw.Draw(image), lines
        points = [point for line in lines for point in line.points]
        self.sides = sorted({point.side for point in points})
        self.low = math.floor(min(math.log10(point.value) for point in points))
        self.high = max(self.low + 1, *(math.ceil(math.log10(point.value)) for point in points))

    def draw(self, title: str) -> None:
        self._axes(title)
        x = float(_BOX[0])
        for method in dict.fromkeys(line.method for line in self.lines):
            self._dot((x + 4, 36), 4, _COLOURS[method])
            self._text((x + 12, 36), method, "lm")
            x += 26 + self.canvas.textlength(method, font=_font(12)) / _FINER
        # Thin ones last: where both coincide both are seen.
        for line in sorted(self.lines, key=lambda line: not line.half):
            width, colour = (2 if line.half else 1), _COLOURS[line.method]
            for start, end in pairwise(line.points):
                self._line(self._place(start), self._place(end), colour, width)
            for point in line.points:
                self._dot(self._place(point), 2 * width, colour, hollow=point.hollow)

    def _axes(self, title: str) -> None:
        left, _, right, bottom = _BOX
        for exponent in range(self.low, self.high + 1):
            y = self._place(Point(self.sides[0], 10.0**exponent))[1]
            self._line((left, y), (right, y), _GRID, 1)
            self._text((left - 6, y), f"{10.0**exponent:,.{max(0, -exponent)}f}", "rm")
        for side in self.sides:
            x = self._place(Point(side, 1.0))[0]
            self._line((x, bottom), (x, bottom + 4), _INK, 1)
            self._text((x, bottom + 6), str(side), "ma")
        self._line((left, bottom), (right, bottom), _INK, 1)
        self._text((left, 8), f"{title}, by side of the photograph in px", "la", size=14)
        self._text((left, _HEIGHT - 8), _NOTE, "ld", size=9)

    def _place(self, point: Point) -> tuple[float, float]:
        left, top, right, bottom = _BOX
        first, last = (math.log2(self.sides[end]) for end in (0, -1))
        x = (math.log2(point.side) - first + 0.2) / (last - first + 0.4)
        y = (math.log10(point.value) - self.low) / (self.high - self.low)
        return left + x * (right - left), bottom - y * (bottom - top)

    def _line(
        self, start: tuple[float, float], end: tuple[float, float], colour: str, width: int
    ) -> None:
        ends = [(x * _FINER, y * _FINER) for x, y in (start, end)]
        self.canvas.line(ends, fill=colour, width=width * _FINER)

    def _dot(
        self, place: tuple[float, float], radius: int, colour: str, *, hollow: bool = False
    ) -> None:
        centre = (place[0] * _FINER, place[1] * _FINER)
        inside = "white" if hollow else colour
        self.canvas.circle(centre, radius * _FINER, inside, colour, width=_FINER)

    def _text(self, place: tuple[float, float], text: str, anchor: str, *, size: int = 12) -> None:
        where = (place[0] * _FINER, place[1] * _FINER)
        self.canvas.text(where, text, fill=_INK, anchor=anchor, font=_font(size))


def _font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    return ImageFont.load_default(size * _FINER)

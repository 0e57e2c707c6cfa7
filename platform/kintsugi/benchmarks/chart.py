"""Lines on logarithmic axes as a picture, side by side in panels; measures nothing."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from kintsugi.imaging.codec import encode_image

# Drawn this much larger and reduced: Pillow's lines have hard edges.
_FINER = 3
_WIDTH, _HEIGHT = 470, 340
# Box of the axes inside a panel: left, top, right, bottom.
_BOX = (78, 62, _WIDTH - 20, _HEIGHT - 46)
_INK, _GRID = "#333333", "#dddddd"
# Panels next to one another.
_MOST_COLUMNS = 2


class Point(NamedTuple):
    """One measurement, both values positive; hollow where it was not run."""

    x: float
    value: float
    hollow: bool = False


@dataclass(frozen=True)
class ChartLine:
    """Measurements of one name by rising x; thick ones are drawn first."""

    name: str
    colour: str
    points: Sequence[Point]
    thick: bool = True


@dataclass(frozen=True)
class Panel:
    """A pair of axes with its lines; at least one point."""

    title: str
    lines: Sequence[ChartLine]


def draw_chart(panels: Sequence[Panel], *, note: str) -> bytes:
    """A PNG of all panels, two in a row; ``note`` stands under each."""
    columns = min(_MOST_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    size = (columns * _WIDTH * _FINER, rows * _HEIGHT * _FINER)
    image = Image.new("RGB", size, "white")
    for index, panel in enumerate(panels):
        drawn = Image.new("RGB", (_WIDTH * _FINER, _HEIGHT * _FINER), "white")
        _Axes(drawn, panel).draw(note)
        row, column = divmod(index, columns)
        image.paste(drawn, (column * drawn.width, row * drawn.height))
    return encode_image(np.asarray(image.reduce(_FINER)))


class _Axes:
    """One panel; coordinates are those of the finished picture."""

    def __init__(self, image: Image.Image, panel: Panel) -> None:
        self.canvas, self.panel = ImageDraw.Draw(image), panel
        points = [point for line in panel.lines for point in line.points]
        self.ticks = sorted({point.x for point in points})
        self.low = math.floor(min(math.log10(point.value) for point in points))
        self.high = max(self.low + 1, *(math.ceil(math.log10(point.value)) for point in points))

    def draw(self, note: str) -> None:
        self._draw_axes(note)
        x = float(_BOX[0])
        for name, colour in {line.name: line.colour for line in self.panel.lines}.items():
            self._dot((x + 4, 36), 4, colour)
            self._text((x + 12, 36), name, "lm")
            x += 26 + self.canvas.textlength(name, font=_font(12)) / _FINER
        # Thin ones last: where both coincide both are seen.
        for line in sorted(self.panel.lines, key=lambda line: not line.thick):
            width = 2 if line.thick else 1
            for start, end in pairwise(line.points):
                self._line(self._place(start), self._place(end), line.colour, width)
            for point in line.points:
                self._dot(self._place(point), 2 * width, line.colour, hollow=point.hollow)

    def _draw_axes(self, note: str) -> None:
        left, _, right, bottom = _BOX
        for exponent in range(self.low, self.high + 1):
            y = self._place(Point(self.ticks[0], 10.0**exponent))[1]
            self._line((left, y), (right, y), _GRID, 1)
            self._text((left - 6, y), f"{10.0**exponent:,.{max(0, -exponent)}f}", "rm")
        for tick in self.ticks:
            x = self._place(Point(tick, 1.0))[0]
            self._line((x, bottom), (x, bottom + 4), _INK, 1)
            shown = f"{tick:.{0 if tick >= 10 else 2}f}".removesuffix(".00")
            self._text((x, bottom + 6), shown, "ma")
        self._line((left, bottom), (right, bottom), _INK, 1)
        self._text((left, 8), self.panel.title, "la", size=14)
        self._text((left, _HEIGHT - 8), note, "ld", size=9)

    def _place(self, point: Point) -> tuple[float, float]:
        left, top, right, bottom = _BOX
        first, last = (math.log2(self.ticks[end]) for end in (0, -1))
        x = (math.log2(point.x) - first + 0.2) / (last - first + 0.4)
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

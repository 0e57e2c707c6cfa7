"""Whole-number drawing that every kind of hole is made with; knows only numpy."""

import math
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]
Whole = npt.NDArray[np.int64]

# Directions are whole steps of 1/1024.
_DIRECTION_BITS = 10
# Beyond every image.
_FAR = 2**40
# Pixels from which on a run is cheaper by itself.
_LONG_RUN = 48


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(rng.integers(low, high, endpoint=True))


def between_all(
    rng: np.random.Generator, bounds: tuple[tuple[int, int], ...], times: int
) -> list[list[int]]:
    """What `between` gives for each of the bounds, and all of that so many times over.

    The same numbers from the same generator, for a fraction of the calls.
    """
    low, high = _repeated(bounds, times)
    drawn: list[list[int]] = rng.integers(low, high, endpoint=True).tolist()
    return drawn


@lru_cache(maxsize=256)
def _repeated(bounds: tuple[tuple[int, int], ...], times: int) -> tuple[Whole, Whole]:
    low, high = np.array(bounds, dtype=np.int64).T
    return np.tile(low, (times, 1)), np.tile(high, (times, 1))


def move(start: tuple[int, int], angle: int, length: int, mask: Mask) -> tuple[int, int]:
    """Go `length` px at `angle` (hundredths of a radian, 0 = down) and stop at the edge.

    Sine and cosine are rounded to steps of 1/1024: their last bits, in which
    platforms differ, are gone.
    """
    unit = 1 << _DIRECTION_BITS
    x = start[0] + (length * round(unit * math.sin(angle / 100)) >> _DIRECTION_BITS)
    y = start[1] + (length * round(unit * math.cos(angle / 100)) >> _DIRECTION_BITS)
    height, width = mask.shape
    return min(max(x, 0), width - 1), min(max(y, 0), height - 1)


class Line(NamedTuple):
    """What lies within half of ``thick`` px of the line from ``start`` to ``end``, both (x, y).

    Of no length it is a disc.
    """

    start: tuple[int, int]
    end: tuple[int, int]
    thick: int


def disc(centre: tuple[int, int], radius: int) -> Line:
    """What lies within ``radius`` px of the centre (x, y)."""
    return Line(centre, centre, 2 * radius)


def draw_lines(mask: Mask, lines: Sequence[Line]) -> None:
    """Set what lies in any of the lines, as far as it is inside the contiguous mask.

    Such a shape is convex: in every row of pixels it is one run, from the least to the most of
    what its two ends and its middle cover there. So runs are computed, of all lines at once,
    and no pixel is asked. All in whole numbers: to test the distance of every pixel around a
    line gives the same, in five times the time.
    """
    if not lines:
        return
    height, width = mask.shape
    # Downwards: a line is the same in both directions.
    ends = [
        (*start, *end, thick) if start[1] <= end[1] else (*end, *start, thick)
        for start, end, thick in lines
    ]
    x0, y0, x1, y1, thick = np.array(ends, dtype=np.int64).T
    reach = thick // 2
    first = np.maximum(y0 - reach, 0)
    counts = np.maximum(np.minimum(y1 + reach, height - 1) - first + 1, 0)
    of = np.repeat(np.arange(len(lines)), counts)
    # Every row of every line.
    y = np.arange(len(of)) + np.repeat(first - np.cumsum(counts) + counts, counts)
    lows, highs = zip(*_runs(x0[of], x1[of], y - y0[of], y - y1[of], thick[of]), strict=True)
    low = np.maximum(np.minimum.reduce(lows), 0)
    beyond = np.minimum(np.maximum.reduce(highs), width - 1) + 1
    seen = low < beyond
    row = y[seen] * width
    _set_runs(mask.reshape(-1), row + low[seen], (beyond - low)[seen])


def _runs(
    x0: Whole, x1: Whole, down: Whole, further: Whole, thick: Whole
) -> Iterator[tuple[Whole, Whole]]:
    """Per row the first and last column within a line's two ends and its middle.

    Args:
        x0, x1: Columns of the ends; the first is not below the second.
        down, further: How far the row is below the one and the other.
        thick: How thick the line is.

    Returns: three pairs; of what covers nothing the first is far right of the last.
    """
    square = thick * thick
    for x, y in ((x0, down), (x1, further)):
        room = square - 4 * y * y
        half = _root(np.maximum(room, 0) // 4)
        yield _where(room >= 0, x - half, x + half)
    dx, dy = x1 - x0, down - further
    length = dx * dx + dy * dy
    # Off the line by no more than half its thickness ...
    off = _root(square * length // 4)
    middle = down * dx
    sides = _between(middle - off, middle + off, dy)
    # ... and neither before its start nor behind its end.
    along = _between(-down * dy, length - down * dy, dx)
    low, high = np.maximum(sides[0], along[0]), np.minimum(sides[1], along[1])
    yield _where((low <= high) & (length > 0), x0 + low, x0 + high)


def _set_runs(pixels: Mask, first: Whole, lengths: Whole) -> None:
    """Set runs of pixels: long ones one by one, the many short ones by the numbers of all pixels.

    To add up where runs begin and end takes several passes over the whole mask.
    """
    long = lengths > _LONG_RUN
    for begin, length in zip(first[long].tolist(), lengths[long].tolist(), strict=True):
        pixels[begin : begin + length] = True
    first, lengths = first[~long], lengths[~long]
    before = np.cumsum(lengths) - lengths
    pixels[np.arange(lengths.sum()) + np.repeat(first - before, lengths)] = True


def _between(low: Whole, high: Whole, factor: Whole) -> tuple[Whole, Whole]:
    """The least and the most x with low <= factor * x <= high."""
    turned = factor < 0
    low, high = np.where(turned, -high, low), np.where(turned, -low, high)
    # Where the factor is 0, all x or none.
    none = factor == 0
    size = np.where(none, 1, np.abs(factor))
    least, most = -(-low // size), high // size
    every = (low <= 0) & (high >= 0)
    least = np.where(none, np.where(every, -_FAR, _FAR), least)
    return least, np.where(none, np.where(every, _FAR, -_FAR), most)


def _where(there: npt.NDArray[np.bool_], low: Whole, high: Whole) -> tuple[Whole, Whole]:
    return np.where(there, low, _FAR), np.where(there, high, -_FAR)


def _root(squares: Whole) -> Whole:
    """The whole part of the square root, exactly."""
    root = np.sqrt(squares.astype(np.float64)).astype(np.int64)
    # float64 may be one off where numbers are large.
    root -= root * root > squares
    return root + ((root + 1) * (root + 1) <= squares)

"""Rectangles that cover the true places of a grid with little waste; knows no features."""

import re
from collections.abc import Iterator, Sequence
from functools import reduce
from itertools import pairwise
from operator import or_
from typing import NamedTuple

from jaxtyping import Bool
from torch import Tensor

# A rectangle of windows takes this many rows and columns of cells beyond its own.
HALO = 2
# What a box costs on top of its cells, in cells: the steps of its search.
PRICE = 256


class Box(NamedTuple):
    """Rows ``top`` to ``bottom`` and columns ``left`` to ``right``; the ends are outside."""

    top: int
    bottom: int
    left: int
    right: int


def cover(wanted: Bool[Tensor, "h w"], *, rows: int, columns: int) -> list[Box]:
    """Boxes that hold every true place once, and few others.

    What lies between two holes, or a hole among candidates, is left out where that is
    worth the halo of another box.

    Args:
        wanted: The places to cover.
        rows, columns: No box has more.
    """
    lines = _as_bits(wanted)
    return [
        box
        for top, bottom in _bands(lines)
        for left, right in _runs(reduce(or_, lines[top:bottom]))
        for upper, lower in _parts(top, bottom, rows)
        for first, last in _parts(left, right, columns)
        for box in _tight(lines, Box(upper, lower, first, last))
    ]


def _as_bits(wanted: Bool[Tensor, "h w"]) -> list[int]:
    """Every row as a number: bit x is place x."""
    width = wanted.shape[1]
    digits = bytes(ord("1") if place else ord("0") for place in wanted.flip(1).flatten().tolist())
    return [int(digits[start : start + width], 2) for start in range(0, len(digits), width)]


def _bands(lines: Sequence[int]) -> Iterator[tuple[int, int]]:
    """Runs of rows to cover together; empty rows are left out.

    A run ends where what its boxes cover in vain has come to cost as much as a new box.
    """
    top, columns, useful = 0, 0, 0
    for row, line in enumerate(lines):
        useful += line.bit_count()
        in_vain = (row + 1 - top) * (columns | line).bit_count() - useful
        if line and columns and in_vain <= PRICE + HALO * line.bit_count():
            columns |= line
            continue
        if columns:
            yield top, row
        top, columns, useful = row, line, line.bit_count()
    if columns:
        yield top, len(lines)


def _runs(line: int) -> Iterator[tuple[int, int]]:
    """Runs of ones as (first, one past the last); gaps no longer than a halo are bridged."""
    for run in re.finditer(f"1(0{{0,{HALO}}}1)*", f"{line:b}"[::-1]):
        yield run.span()


def _parts(first: int, last: int, size: int) -> Iterator[tuple[int, int]]:
    """A range in as few parts of at most ``size`` as there can be, about equally long."""
    count = -(-(last - first) // size)
    edges = [first + (last - first) * part // count for part in range(count + 1)]
    return pairwise(edges)


def _tight(lines: Sequence[int], box: Box) -> Iterator[Box]:
    """The smallest box around the ones within a box; nothing where there are none."""
    within = (1 << box.right) - (1 << box.left)
    rows = [row for row in range(box.top, box.bottom) if lines[row] & within]
    if rows:
        columns = reduce(or_, lines[box.top : box.bottom]) & within
        left = (columns & -columns).bit_length() - 1
        yield Box(rows[0], rows[-1] + 1, left, columns.bit_length())

"""Whole-number drawing that every kind of hole is made with; knows only numpy."""

import math

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]

# Directions are whole steps of 1/1024.
_DIRECTION_BITS = 10


def between(rng: np.random.Generator, low: int, high: int) -> int:
    """A whole number from low to high, both included."""
    return int(rng.integers(low, high, endpoint=True))


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


def draw_disc(mask: Mask, centre: tuple[int, int], radius: int) -> None:
    """Set what lies within ``radius`` of the centre (x, y), as far as it is inside the mask."""
    height, width = mask.shape
    left, right = max(centre[0] - radius, 0), min(centre[0] + radius + 1, width)
    top, bottom = max(centre[1] - radius, 0), min(centre[1] + radius + 1, height)
    x = np.arange(left, right, dtype=np.int64)[None, :] - centre[0]
    y = np.arange(top, bottom, dtype=np.int64)[:, None] - centre[1]
    mask[top:bottom, left:right] |= x * x + y * y <= radius * radius

"""Holes shaped like things: a body of joints with limbs, as people cut them out; only numpy.

A chain of three to five joints, each thicker or thinner than the last, bends a little from one to
the next; up to five limbs of two parts, which taper, begin at its joints.
"""

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from kintsugi.masks.drawing import Line, Mask, between, disc, draw_lines, move

# A turn is 628 hundredths of a radian.
_TURN, _MOST_BEND = 628, 70


class _Joint(NamedTuple):
    """A place (x, y) and how thick the thing is there; px."""

    at: tuple[int, int]
    radius: int


def draw_object(height: int, width: int, rng: np.random.Generator) -> Mask:
    """One thing anywhere, 5/16 to 5/8 of the shorter side long without its limbs.

    It is in one piece, and may reach over the edge.
    """
    mask: Mask = np.zeros((height, width), np.bool_)
    short = min(height, width)
    length = between(rng, short * 5 // 16, short * 5 // 8)
    x, y = (between(rng, side // 8, side * 7 // 8) for side in (width, height))
    angle = between(rng, 0, _TURN - 1)
    # So far back that the place is about its middle.
    at = move((x, y), angle + _TURN // 2, length // 2, mask)
    count = between(rng, 3, 5)
    discs: list[Line] = []
    body = [_Joint(at, max(1, between(rng, length // 8, length // 4)))]
    for _ in range(count - 1):
        angle += between(rng, -_MOST_BEND, _MOST_BEND)
        at = move(at, angle, length // (count - 1), mask)
        body.append(_Joint(at, max(1, between(rng, length // 9, length * 2 // 7))))
        discs += _part(body[-2], body[-1])
    for _ in range(between(rng, 0, 5)):
        discs += _limb(mask, body[between(rng, 0, count - 1)], length, rng)
    draw_lines(mask, discs)
    return mask


def _limb(mask: Mask, start: _Joint, length: int, rng: np.random.Generator) -> list[Line]:
    angle = between(rng, 0, _TURN - 1)
    discs: list[Line] = []
    joint = _Joint(start.at, max(1, start.radius * between(rng, 4, 8) // 12))
    for _ in range(2):
        end = move(joint.at, angle, between(rng, length // 5, length * 2 // 5), mask)
        following = _Joint(end, max(1, joint.radius * between(rng, 5, 10) // 12))
        discs += _part(joint, following)
        joint = following
        angle += between(rng, -_MOST_BEND, _MOST_BEND)
    return discs


def _part(one: _Joint, other: _Joint) -> Iterator[Line]:
    """Discs over what lies between two joints, from the thickness of one to that of the other."""
    far = max(abs(a - b) for a, b in zip(one.at, other.at, strict=True))
    # So close that the discs overlap by half and more, however thin they are.
    steps = max(1, far // max(1, min(one.radius, other.radius) // 2))
    for step in range(steps + 1):
        x, y = (a + (b - a) * step // steps for a, b in zip(one.at, other.at, strict=True))
        yield disc((x, y), one.radius + (other.radius - one.radius) * step // steps)

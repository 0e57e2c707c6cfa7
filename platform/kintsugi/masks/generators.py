"""Seeded holes as bool H W, True = hole; knows only numpy.

The same generator state gives the same mask on every machine: after the draws
of the generator there is only whole-number arithmetic, no drawing library and
no rounding that a platform could do differently.
"""

import math
import re
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import numpy.typing as npt

from kintsugi.errors import ConfigError
from kintsugi.masks.drawing import Line, between, between_all, draw_lines, move
from kintsugi.masks.objects import draw_object

Mask = npt.NDArray[np.bool_]

# In addition, `center-<n>` is a square of n px in the middle.
MASK_KINDS = (
    *("rectangle", "strokes", "thin", "medium", "thick", "object", "blob", "border"),
    "center-half",
)
# Largest share of the image that a drawn hole may take; LaMa redraws above it too.
MAX_HOLE_SHARE = 0.5
MIN_SIDE_PX = 8

_MAX_DRAWS = 20
_CENTER_SQUARE = re.compile(r"center-([1-9][0-9]*)")


@dataclass(frozen=True)
class _Brush:
    """How LaMa draws one kind of mask; lengths in px of an image of side `scale`."""

    scale: int
    times: tuple[int, int]
    max_width: int
    max_length: int
    # None: this kind has no boxes.
    boxes: tuple[int, int] | None = None
    box_side: tuple[int, int] = (0, 0)
    box_margin: int = 10


# LaMa's evaluation masks (Suvorov et al. 2022), for 256 and for 512 px.
_LAMA = {
    ("thin", 256): _Brush(256, (4, 50), 10, 40),
    ("medium", 256): _Brush(256, (4, 5), 50, 100, (1, 5), (10, 50), 0),
    ("thick", 256): _Brush(256, (1, 5), 100, 200, (1, 3), (30, 150)),
    ("thin", 512): _Brush(512, (4, 70), 20, 100),
    ("medium", 512): _Brush(512, (4, 10), 100, 200, (1, 5), (30, 150), 0),
    ("thick", 512): _Brush(512, (1, 5), 250, 450, (1, 4), (30, 300)),
}


def draw_mask(kind: str, height: int, width: int, rng: np.random.Generator) -> Mask:
    """Draw one hole mask, bool H W with True = hole.

    There is at least one hole pixel and at least one known pixel; drawn holes
    take at most MAX_HOLE_SHARE of the image (they are redrawn from the same
    generator, in the end as a rectangle).

    Args:
        kind: One of MASK_KINDS or `center-<n>`:
            `rectangle`: sides 1/8 to 1/2 of the shorter side, anywhere (the
            paper's 32 to 128 of 256 px); `strokes`: a free-form brush
            (DeepFill v2); `thin`, `medium`, `thick`: LaMa's brushes and boxes,
            scaled with the image; `object`: one thing with a body and limbs, as
            people cut out of photographs; `blob`: one or two things painted over
            with a broad brush, 1/4 to 5/8 of the shorter side wide and high;
            `border`: bands along one to four sides, as for outpainting;
            `center-half`: the middle half of each side; `center-<n>`: an n px
            square in the middle.
        height: In pixels, at least MIN_SIDE_PX.
        width: In pixels, at least MIN_SIDE_PX.
        rng: Source of all randomness.

    Raises:
        ConfigError: The kind is not known or does not fit into the image.
    """
    if min(height, width) < MIN_SIDE_PX:
        raise ConfigError(
            f"no mask for {width}x{height} px: both sides must have {MIN_SIDE_PX} px or more"
        )
    check_kind(kind)
    if kind.startswith("center-"):
        return _center(kind, height, width)
    draw = {
        "rectangle": _rectangle,
        "strokes": _strokes,
        "border": _border,
        "object": draw_object,
        "blob": _blob,
    }.get(kind)
    for _ in range(_MAX_DRAWS):
        mask = draw(height, width, rng) if draw else _lama(kind, height, width, rng)
        if 0 < hole_share(mask) <= MAX_HOLE_SHARE:
            return mask
    return _rectangle(height, width, rng)


def check_kind(kind: str) -> None:
    """Raise ConfigError unless `draw_mask` knows the kind."""
    if kind not in MASK_KINDS and not _CENTER_SQUARE.fullmatch(kind):
        known = ", ".join(MASK_KINDS)
        raise ConfigError(
            f"mask kind {kind!r} is not known: use one of {known}, center-<pixels>; a folder of"
            " masks has a slash in its name, such as ./masks"
        )


def hole_share(mask: Mask) -> float:
    """Share of the pixels that are hole, 0-1."""
    return float(mask.mean())


def _center(kind: str, height: int, width: int) -> Mask:
    square = _CENTER_SQUARE.fullmatch(kind)
    hole_height, hole_width = (int(square[1]),) * 2 if square else (height // 2, width // 2)
    if hole_height > height or hole_width > width or (hole_height, hole_width) == (height, width):
        raise ConfigError(
            f"mask kind {kind!r} leaves nothing of {width}x{height} px: choose a smaller one"
        )
    top, left = (height - hole_height) // 2, (width - hole_width) // 2
    return _box(height, width, (top, left, hole_height, hole_width))


def _rectangle(height: int, width: int, rng: np.random.Generator) -> Mask:
    short = min(height, width)
    sides = between(rng, short // 8, short // 2), between(rng, short // 8, short // 2)
    top, left = between(rng, 0, height - sides[0]), between(rng, 0, width - sides[1])
    return _box(height, width, (top, left, *sides))


def _border(height: int, width: int, rng: np.random.Generator) -> Mask:
    mask = np.zeros((height, width), np.bool_)
    sides = rng.permutation(4)[: between(rng, 1, 4)]
    for side in sides:
        # A turn brings each of the four sides to the top in turn; it is a view.
        turned = np.rot90(mask, side)
        turned[: between(rng, max(1, len(turned) // 16), len(turned) // 3)] = True
    return mask


def _strokes(height: int, width: int, rng: np.random.Generator) -> Mask:
    """The free-form brush of DeepFill v2 (Yu et al. 2019, algorithm 1)."""
    mask = np.zeros((height, width), np.bool_)
    # Its widths 12-40 are for 256 px.
    short = min(height, width)
    reach = math.isqrt(height * height + width * width) // 8
    lines: list[Line] = []
    for _ in range(between(rng, 1, 4)):
        x, y = between(rng, 0, width - 1), between(rng, 0, height - 1)
        brush = max(1, between(rng, short * 12 // 256, short * 40 // 256))
        # Hundredths of a radian: a mean turn of 2 pi / 5, give or take 2 pi / 15.
        turns = between(rng, 84, 126), between(rng, 126, 168)
        # Two lengths: short and long steps are rare, as with the normal one of the original.
        steps = between_all(rng, (turns, (0, reach), (0, reach)), between(rng, 4, 12))
        for vertex, (angle, one, other) in enumerate(steps):
            end = move((x, y), angle if vertex % 2 else 628 - angle, one + other, mask)
            lines.append(Line((x, y), end, brush))
            x, y = end
    draw_lines(mask, lines)
    if rng.integers(2):
        mask = mask[::-1]
    return np.ascontiguousarray(mask[:, ::-1] if rng.integers(2) else mask)


def _blob(height: int, width: int, rng: np.random.Generator) -> Mask:
    """As people paint an object over: a broad brush to and fro within a box around it."""
    mask = np.zeros((height, width), np.bool_)
    short = min(height, width)
    lines: list[Line] = []
    for _ in range(between(rng, 1, 4) // 4 + 1):
        tall, wide = (between(rng, short // 4, 5 * short // 8) for _ in range(2))
        brush = max(2, min(tall, wide) * between(rng, 6, 12) // 16)
        # An eighth of it may lie beyond the edge, or corners would hardly ever be hole.
        top, left = (
            between(rng, -part // 8, side - part + part // 8)
            for part, side in ((tall, height), (wide, width))
        )
        # The brush's middle stays within the box by its radius.
        low, high = (left + brush // 2, top + brush // 2), (wide - brush, tall - brush)
        points = [
            (low[0] + between(rng, 0, high[0]), low[1] + between(rng, 0, high[1]))
            for _ in range(between(rng, 3, 6))
        ]
        lines += [Line(start, end, brush) for start, end in pairwise(points)]
    draw_lines(mask, lines)
    return mask


def _lama(kind: str, height: int, width: int, rng: np.random.Generator) -> Mask:
    short = min(height, width)
    brush = _LAMA[kind, 256 if short < 384 else 512]
    # Boxes instead of strokes in 0.3 of 1.3 cases.
    if brush.boxes is not None and rng.integers(13) < 3:
        return _lama_boxes(brush, height, width, rng)
    mask = np.zeros((height, width), np.bool_)
    lines: list[Line] = []
    for stroke in range(between(rng, *brush.times)):
        x, y = between(rng, 0, width - 1), between(rng, 0, height - 1)
        bounds = ((0, 3), (0, brush.max_length - 1), (0, brush.max_width - 1))
        for turn, far, wide in between_all(rng, bounds, between(rng, 1, 5)):
            # LaMa draws one of four angles, 0.01 + 0, 1, 2 or 3 radians, and turns every other
            # stroke the other way.
            angle = 1 + 100 * turn
            length = (10 + far) * short // brush.scale
            thick = (5 + wide) * short // brush.scale
            end = move((x, y), angle if stroke % 2 else 628 - angle, length, mask)
            lines.append(Line((x, y), end, max(1, thick)))
            x, y = end
    draw_lines(mask, lines)
    return mask


def _lama_boxes(brush: _Brush, height: int, width: int, rng: np.random.Generator) -> Mask:
    short = min(height, width)
    margin = brush.box_margin * short // brush.scale
    least = max(1, brush.box_side[0] * short // brush.scale)
    most = max(least, min(brush.box_side[1] * short // brush.scale, short - 2 * margin))
    mask = np.zeros((height, width), np.bool_)
    assert brush.boxes is not None
    for _ in range(between(rng, *brush.boxes)):
        sides = between(rng, least, most), between(rng, least, most)
        top = between(rng, margin, height - margin - sides[0])
        left = between(rng, margin, width - margin - sides[1])
        mask |= _box(height, width, (top, left, *sides))
    return mask


def _box(height: int, width: int, box: tuple[int, int, int, int]) -> Mask:
    top, left, box_height, box_width = box
    mask = np.zeros((height, width), np.bool_)
    mask[top : top + box_height, left : left + box_width] = True
    return mask

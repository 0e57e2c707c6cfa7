"""Gradient-domain blending: a fill whose seams and shifts of shade are taken away; no weights.

The image whose gradients are those that were copied and whose known pixels stay (Perez, Gangnet,
Blake 2003, "Poisson image editing"), held to the copied colours by a screening term, so that what
is wrong at one place does not spread over all of a large hole.

Where colours step by little more than was wished, two shades of one thing meet, and the step is
spread: far in a sky, where the eye sees the faintest edge. Where they step by much, two things
meet: spread far, a mast's colour hangs as fog in the sky; left as it is, the hole's outline is a
cut. Such a step falls off as fast as the sharpest edge around: over two pixels, or over ten in a
background out of focus.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.plan.components import components_of

# Rows and columns.
Box = tuple[slice, slice]

# How much the colours count for each pixel, against gradients: in texture, and at least. A step at
# the hole's edge is spread over 1 / sqrt of it, 7 px and 32 px.
_SCREENING, _LEAST_SCREENING = 0.02, 0.001
# Mean difference of neighbours from which a place is texture, and pixels around it that are looked
# at.
_TEXTURE, _AROUND = 0.04, 4
# Steps well below this and so many mean differences are of shade, well above it of two things.
_SHADE, _SHADE_OF_TEXTURE = 0.025, 0.5
# And where no edge is around: in a sky, or out of focus. An edge differs by so much at one pixel.
_SMOOTH_SHADE, _EDGE = 0.15, 0.1
# Pixels around a step in which the sharpest edge is looked for, pixels along an edge of which the
# mean counts, since grain is no edge, and the bounds of the screening that gives a step an edge
# like it: it falls to a third over 14 px and 2 px.
_EDGES_AROUND, _ALONG, _WIDE_EDGE, _SHARP_EDGE = 32, 9, 0.005, 0.25
# A step that cannot be seen: a quarter of a grey level.
_UNSEEN = 1e-3
# Pixels to a cell of the coarse grid, on which what is spread far is solved first, and edges are
# looked for.
_CELL = 4
# Holes that lie apart by a block of so many pixels are solved each by itself; where that were more
# than so many, by larger blocks.
_BLOCK, _MOST_PARTS = 8, 64
# Steps of conjugate gradients there, and then on pixels.
_COARSE_STEPS, _STEPS = 60, 20


def blend_gradients(
    image: Float[Tensor, "1 3 H W"],
    hole: Bool[Tensor, "H W"],
    right: Float[Tensor, "3 H W"],
    down: Float[Tensor, "3 H W"],
) -> Float[Tensor, "1 3 H W"]:
    """Solve for the hole's pixels; the known ones come back as they are.

    Beyond the image's edge nothing is known and nothing wished.

    Args:
        image: RGB 0-1; in the hole the colours that the answer is held to. It is not written to.
        hole: True = solved for; at least one pixel.
        right: What is wished of each pixel's right neighbour less the pixel, -1 to 1. Looked at
            where one of the two is in the hole; the last column is not.
        down: The same of the neighbour below; the last row is not looked at.

    Returns: The image, RGB 0-1; outside the hole bit-equal.
    """
    blended = image.clone()
    for box, inside in _parts(hole):
        part = image[0][:, *box]
        change = _change_of(image[0], hole, box, inside, right, down)
        blended[0][:, *box] = torch.where(inside, (part + change).clamp(0, 1), blended[0][:, *box])
    return blended


def _change_of(
    image: Float[Tensor, "3 H W"],
    hole: Bool[Tensor, "H W"],
    box: Box,
    inside: Bool[Tensor, "h w"],
    right: Float[Tensor, "3 H W"],
    down: Float[Tensor, "3 H W"],
) -> Float[Tensor, "3 h w"]:
    """What is added in one part of the hole, whose pixels in ``box`` are ``inside``."""
    part, free = image[:, *box], inside.to(image)
    axes = (-1, -2)
    right, down = right[:, *box][..., :-1], down[:, *box][..., :-1, :]
    right, down = (
        _where(_touching(inside, axis), wished)
        for wished, axis in zip((right, down), axes, strict=True)
    )
    texture, sharpest = _texture(right, down, free), _sharpness(image, hole, box, right, down)
    # What the wishes ask for beyond the colours as they are, in two parts.
    steps = [
        _where(_touching(inside, axis), wished - part.diff(dim=axis))
        for wished, axis in zip((right, down), axes, strict=True)
    ]
    limit = _most_of_shade(texture, sharpest)
    shades = [_shade(step, limit, axis) for step, axis in zip(steps, axes, strict=True)]
    edges = [step - shade for step, shade in zip(steps, shades, strict=True)]
    # Inside the hole both sides change, each by half.
    seen = (
        edge.abs().amax(0) * torch.where(_crossing(inside, axis), 1.0, 0.5)
        for edge, axis in zip(edges, axes, strict=True)
    )
    sharp = _edge_screening(_on_pixels(*seen), sharpest)
    change = torch.zeros_like(part)
    for wishes, screening in ((shades, _screening(texture)), (edges, sharp)):
        # Times ``free``: what is wished of known pixels, and between two of them, does not count.
        wanted = _adjoint(*wishes) * free
        start = _coarse(wanted, screening, free)
        change = change + _conjugate_gradients(wanted, screening, free, start, _STEPS)
    return change


def _parts(hole: Bool[Tensor, "H W"]) -> list[tuple[Box, Bool[Tensor, "h w"]]]:
    """Parts of a hole that do not touch: the box of each, a pixel around it, and its pixels there.

    Specks all over a photograph cost what they cover, not what lies between them.
    """
    side, blocks = _BLOCK, F.max_pool2d(hole[None, None].float().cpu(), _BLOCK, ceil_mode=True)
    labels = components_of(blocks > 0)
    while len(_found(labels)) > _MOST_PARTS:
        side, blocks = 2 * side, F.max_pool2d(blocks, 2, ceil_mode=True)
        labels = components_of(blocks > 0)
    height, width = hole.shape
    row, column = (torch.arange(length, device="cpu") // side for length in (height, width))
    parts = []
    for label in _found(labels):
        rows, columns = (labels == label).nonzero(as_tuple=True)
        top, left = int(rows.min()) * side, int(columns.min()) * side
        span = (
            slice(top, min(height, (int(rows.max()) + 1) * side)),
            slice(left, min(width, (int(columns.max()) + 1) * side)),
        )
        own = labels[row[span[0]][:, None], column[span[1]]] == label
        down, right = _box_of(hole[span] & own.to(hole.device), margin=0)
        box = (
            slice(max(0, top + down.start - 1), min(height, top + down.stop + 1)),
            slice(max(0, left + right.start - 1), min(width, left + right.stop + 1)),
        )
        own = labels[row[box[0]][:, None], column[box[1]]] == label
        parts.append((box, hole[box] & own.to(hole.device)))
    return parts


def _found(labels: Int64[Tensor, "h w"]) -> list[int]:
    return [label for label in torch.unique(labels).tolist() if label]


def _most_of_shade(
    texture: Float[Tensor, "h w"], sharpest: Float[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """At each pixel the step that is as well of shade as of two things."""
    smooth = (1 - sharpest / _EDGE).clamp_min(0)
    limit: Tensor = _SHADE + (_SMOOTH_SHADE - _SHADE) * smooth + _SHADE_OF_TEXTURE * texture
    return limit


def _shade(
    step: Float[Tensor, "3 g v"], limit: Float[Tensor, "h w"], axis: int
) -> Float[Tensor, "3 g v"]:
    """Of a step what is of shade: all of a small one, nothing of a large one.

    Rejected: all below a limit, which is fog where the limit is high enough for a wall's shades,
    and a frame around the hole where it is not.
    """
    return step / (1 + (step.abs().amax(0) / limit.narrow(axis, 0, step.shape[axis])) ** 4)


def _edge_screening(
    steps: Float[Tensor, "h w"], sharpest: Float[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """That with which the largest step around begins as steep as the sharpest edge there."""
    steepness = sharpest / _largest_around(steps).clamp_min(_UNSEEN)
    return steepness.square().clamp(_WIDE_EDGE, _SHARP_EDGE)


def _sharpness(
    image: Float[Tensor, "3 H W"],
    hole: Bool[Tensor, "H W"],
    box: Box,
    right: Float[Tensor, "3 h v"],
    down: Float[Tensor, "3 g w"],
) -> Float[Tensor, "h w"]:
    """The sharpest edge around each pixel of the hole's box, as a difference of neighbours.

    Of known pixels, and in the hole of those that are wished. Across the outline neither counts:
    there are the steps that are to be judged.
    """
    wide = tuple(
        slice(max(0, part.start - _EDGES_AROUND), part.stop + _EDGES_AROUND) for part in box
    )
    inside = hole[wide]
    found = _on_pixels(
        *(
            _edges(image[:, *wide].diff(dim=axis), ~_touching(inside, axis), axis)
            for axis in (-1, -2)
        )
    )
    inner = tuple(
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(box, wide, strict=True)
    )
    wished = _on_pixels(
        *(
            _edges(each, _touching(inside[inner], axis) & ~_crossing(inside[inner], axis), axis)
            for each, axis in ((right, -1), (down, -2))
        )
    )
    found[inner] = torch.maximum(found[inner], wished)
    return _largest_around(found)[inner]


def _edges(
    differences: Float[Tensor, "3 g v"], counted: Bool[Tensor, "g v"], axis: int
) -> Float[Tensor, "g v"]:
    """The largest channel's mean difference along an edge; what is not counted is 0."""
    side = (_ALONG, 1) if axis == -1 else (1, _ALONG)
    pads = tuple(each // 2 for each in side)
    mean = F.avg_pool2d(_where(counted, differences)[None], side, 1, pads)[0]
    return mean.abs().amax(0)


def _touching(inside: Bool[Tensor, "h w"], axis: int) -> Bool[Tensor, "g v"]:
    """Which pairs of neighbours have a pixel in the hole."""
    count = inside.shape[axis] - 1
    return inside.narrow(axis, 0, count) | inside.narrow(axis, 1, count)


def _crossing(inside: Bool[Tensor, "h w"], axis: int) -> Bool[Tensor, "g v"]:
    """Which pairs of neighbours lie across the outline."""
    count = inside.shape[axis] - 1
    return inside.narrow(axis, 0, count) != inside.narrow(axis, 1, count)


def _where(counted: Bool[Tensor, "g v"], values: Float[Tensor, "3 g v"]) -> Float[Tensor, "3 g v"]:
    """0 where it does not count, be it NaN."""
    return torch.where(counted, values, 0)


def _on_pixels(right: Float[Tensor, "h v"], down: Float[Tensor, "g w"]) -> Float[Tensor, "h w"]:
    """At each pixel the larger of what its right and its lower neighbour differ by."""
    return torch.maximum(F.pad(right, (0, 1)), F.pad(down, (0, 0, 0, 1)))


def _largest_around(values: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """The largest value at most so many pixels away, to a cell's width."""
    cells = F.max_pool2d(values[None, None], _CELL, ceil_mode=True)
    reach = _EDGES_AROUND // _CELL
    side = 2 * reach + 1
    cells = F.max_pool2d(cells, (side, 1), 1, (reach, 0))
    cells = F.max_pool2d(cells, (1, side), 1, (0, reach))
    whole = F.interpolate(cells, scale_factor=_CELL, mode="nearest")[0, 0]
    return whole[: values.shape[0], : values.shape[1]]


def _texture(
    right: Float[Tensor, "3 h v"], down: Float[Tensor, "3 g w"], free: Float[Tensor, "h w"]
) -> Float[Tensor, "h w"]:
    """The mean difference of neighbours that is wished around each pixel of the hole."""
    differences = F.pad(right.abs().sum(0), (0, 1)) + F.pad(down.abs().sum(0), (0, 0, 0, 1))
    # Of three channels and two directions.
    both = torch.stack([differences / 6 * free, free])[None]
    side = 2 * _AROUND + 1
    total, count = F.avg_pool2d(both, side, 1, _AROUND)[0]
    mean: Tensor = total / count.clamp_min(1 / side**2)
    return mean


def _screening(texture: Float[Tensor, "h w"]) -> Float[Tensor, "h w"]:
    """How much the colours count at each pixel."""
    return (_SCREENING * (texture / _TEXTURE).square()).clamp(_LEAST_SCREENING, _SCREENING)


def _coarse(
    wanted: Float[Tensor, "3 h w"], screening: Float[Tensor, "h w"], free: Float[Tensor, "h w"]
) -> Float[Tensor, "3 h w"]:
    """The change solved on cells, enlarged; 0 outside the hole.

    Nearly right, and it is only where the solver begins: on pixels each step carries a shade one
    pixel on.
    """
    height, width = free.shape
    # How many neighbours of each pixel are known: they do not change.
    held = torch.zeros_like(free)
    held[:, 1:] += 1 - free[:, :-1]
    held[:, :-1] += 1 - free[:, 1:]
    held[1:] += 1 - free[:-1]
    held[:-1] += 1 - free[1:]
    fixed = (screening + held) * free
    pads = (0, -width % _CELL, 0, -height % _CELL)
    # Sums over a cell's pixels. Between two cells a smooth change has as large a sum of squared
    # differences as between two pixels.
    sums, weights, some = (
        F.avg_pool2d(F.pad(each, pads)[None], _CELL)[0] * _CELL**2
        for each in (wanted, fixed[None], free[None])
    )
    some = (some[0] > 0).to(free)
    change = _conjugate_gradients(sums, weights[0], some, torch.zeros_like(sums), _COARSE_STEPS)
    enlarged = F.interpolate(change[None], scale_factor=_CELL, mode="bilinear")[0]
    return enlarged[:, :height, :width] * free


def _conjugate_gradients(
    wanted: Float[Tensor, "3 h w"],
    screening: Float[Tensor, "h w"],
    free: Float[Tensor, "h w"],
    start: Float[Tensor, "3 h w"],
    steps: int,
) -> Float[Tensor, "3 h w"]:
    """The change of free pixels whose differences, and itself by ``screening``, are as wanted."""

    def normal(values: Tensor) -> Tensor:
        return (screening * values + _adjoint(values.diff(dim=-1), values.diff(dim=-2))) * free

    answer = start
    rest = wanted - normal(answer)
    direction, size = rest, rest.square().sum()
    tiny = torch.finfo(wanted.dtype).tiny
    for _ in range(steps):
        image_of = normal(direction)
        length = size / (direction * image_of).sum().clamp_min(tiny)
        answer = answer + length * direction
        rest = rest - length * image_of
        before, size = size, rest.square().sum()
        direction = rest + size / before.clamp_min(tiny) * direction
    return answer


def _adjoint(right: Tensor, down: Tensor) -> Tensor:
    """The transpose of taking differences."""
    return (
        F.pad(right, (1, 0))
        - F.pad(right, (0, 1))
        + F.pad(down, (0, 0, 1, 0))
        - F.pad(down, (0, 0, 0, 1))
    )


def _box_of(hole: Bool[Tensor, "H W"], *, margin: int) -> Box:
    """The hole's rows and columns, and ``margin`` more on every side where the image has them."""
    rows, columns = (hole.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - margin), int(rows[-1]) + 1 + margin),
        slice(max(0, int(columns[0]) - margin), int(columns[-1]) + 1 + margin),
    )

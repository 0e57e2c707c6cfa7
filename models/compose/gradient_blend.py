"""Gradient-domain blending: a fill whose seams and shifts of shade are taken away; no weights.

The image whose gradients are those that were copied and whose known pixels stay (Perez, Gangnet,
Blake 2003, "Poisson image editing"), held to the copied colours by a screening term, so that what
is wrong at one place does not spread over all of a large hole. Where little is drawn, as in a sky,
the eye sees the faintest edge, and the term is weak: a shade is spread far.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

# How much the colours count for each pixel, against gradients: in texture, and at least. A step at
# the hole's edge is spread over 1 / sqrt of it, 7 px and 32 px.
_SCREENING, _LEAST_SCREENING = 0.02, 0.001
# Mean difference of neighbours from which a place is texture, and pixels around it that are looked
# at.
_TEXTURE, _AROUND = 0.04, 4
# Where the colours of two filled pixels step by more than was wished, by this and by so many mean
# differences, two copies meet: the step stays, or a mountain's colour would be spread over the sky.
# At the hole's outline a step is a fault unless it is so large that another thing begins there, as
# a mast before the sky.
_SEAM, _OUTLINE_SEAM, _SEAM_OF_TEXTURE = 0.1, 0.25, 4.0
# Pixels to a cell of the coarse grid, on which what is spread far is solved first.
_CELL = 4
# Steps of conjugate gradients there, and then on pixels.
_COARSE_STEPS, _STEPS = 60, 40


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
    box = _box_of(hole)
    part, inside = image[0][:, *box], hole[box]
    free = inside.to(image)
    right, down = right[:, *box][..., :-1], down[:, *box][..., :-1, :]
    texture = _texture(right, down, free)
    screening = _screening(texture)
    # What the wishes ask for beyond the colours as they are.
    right, down = (
        _without_seams(wished, part.diff(dim=axis), inside, texture, axis)
        for wished, axis in ((right, -1), (down, -2))
    )
    # Times ``free``: what is wished of known pixels, and between two of them, does not count.
    wanted = _adjoint(right, down) * free
    change = _coarse(wanted, screening, free)
    change = _conjugate_gradients(wanted, screening, free, change, _STEPS)
    blended = image.clone()
    blended[0][:, *box] = torch.where(inside, (part + change).clamp(0, 1), part)
    return blended


def _without_seams(
    wished: Float[Tensor, "3 g v"],
    steps: Float[Tensor, "3 g v"],
    inside: Bool[Tensor, "h w"],
    texture: Float[Tensor, "h w"],
    axis: int,
) -> Float[Tensor, "3 g v"]:
    """What is wished less the steps of the colours; 0 where two copies meet."""
    count = inside.shape[axis] - 1
    first, second = inside.narrow(axis, 0, count), inside.narrow(axis, 1, count)
    least = torch.where(first & second, _SEAM, _OUTLINE_SEAM)
    least = least + _SEAM_OF_TEXTURE * texture.narrow(axis, 0, count)
    meet = (steps.abs() - wished.abs()).amax(0) > least
    return (wished - steps).masked_fill(meet, 0)


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


def _box_of(hole: Bool[Tensor, "H W"]) -> tuple[slice, slice]:
    """The hole's rows and columns, and one more on every side."""
    rows, columns = (hole.any(axis).nonzero()[:, 0] for axis in (1, 0))
    return (
        slice(max(0, int(rows[0]) - 1), int(rows[-1]) + 2),
        slice(max(0, int(columns[0]) - 1), int(columns[-1]) + 2),
    )

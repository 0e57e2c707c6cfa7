"""Gradient-domain blending: a fill whose seams and shifts of shade are taken away; no weights.

The image whose gradients are those that were copied and whose known pixels stay (Perez, Gangnet,
Blake 2003, "Poisson image editing"), held to the copied colours by a screening term, so that what
is wrong at one place does not spread over all of a large hole.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

# How much the colours count for each pixel, against gradients: 1 / sqrt of it, 7 px, is how far a
# step at the hole's edge is spread.
_SCREENING = 0.02
# Steps of conjugate gradients. The condition is 8 / 0.02: they leave less than half a grey level of
# a tenth.
_STEPS = 40


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
    part, free = image[0][:, *box], hole[box].to(image)
    right, down = right[:, *box][..., :-1], down[:, *box][..., :-1, :]

    # Times ``free``: what is wished of known pixels, and between two of them, does not count.
    def normal(values: Tensor) -> Tensor:
        return _SCREENING * values + _adjoint(values.diff(dim=-1), values.diff(dim=-2))

    wanted = _SCREENING * part + _adjoint(right, down)
    answer = part.clone()
    rest = (wanted - normal(answer)) * free
    direction, size = rest.clone(), rest.square().sum()
    tiny = torch.finfo(image.dtype).tiny
    for _ in range(_STEPS):
        image_of = normal(direction) * free
        length = size / (direction * image_of).sum().clamp_min(tiny)
        answer = answer + length * direction
        rest = rest - length * image_of
        before, size = size, rest.square().sum()
        direction = rest + size / before.clamp_min(tiny) * direction
    blended = image.clone()
    blended[0][:, *box] = torch.where(free > 0, answer.clamp(0, 1), part)
    return blended


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

"""The loss of an initial fill that points at known cells: is what it points at like the truth?"""

from collections.abc import Sequence

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.networks.pointer_fill import CELL, Pointers

# Root mean square of colours at which a component is half as bad as it gets fast, and the same of
# features, in units of the image's mean squared difference.
_COLOUR = 0.1
_FEATURES = 0.4
# Squared differences count less and less from here on: nothing known may be like the truth.
_ROBUST = 3.0
# Cells a side of the neighbourhood whose colours are compared with: one cell alone may be like
# any other.
_AROUND = 3


def pointer_loss(
    pointers: Sequence[Pointers],
    target: Float[Tensor, "B 3 h w"],
    maps: Sequence[Float[Tensor, "B _ _ _"]],
) -> Float[Tensor, ""]:
    """Negative logarithm of the mixture's density at the truth, the mean over cells and images.

    An image without pointers counts 0.

    Args:
        pointers: The pointers of each image that has a hole and known cells.
        target: The true image at the fill's resolution, RGB 0-1.
        maps: The encoder's of it; of relu2_1 and relu3_1 only, without gradient.
    """
    colours = described_colours(target)
    features = [_cells(torch.log1p(each.float()), colours.shape[-1]) for each in maps]
    losses = [target.new_zeros(())]
    for index, hole, known, logits in pointers:
        with torch.no_grad():
            cost = _difference(colours[index].T, hole, known) / (2 * _COLOUR**2)
            for each in features:
                apart = _difference(each[index].T, hole, known)
                cost += apart / (2 * _FEATURES**2 * apart.mean().clamp_min(1e-6)) / len(features)
            cost = _ROBUST * torch.log1p(cost / _ROBUST)
        losses.append(-torch.logsumexp(logits.log_softmax(1) - cost, 1).mean())
    return torch.stack(losses).sum() / len(target)


def described_colours(target: Float[Tensor, "B 3 h w"]) -> Float[Tensor, "B 15 n"]:
    """For each cell the colours of its pixels, and the mean colour of its neighbourhood."""
    cells = F.pixel_unshuffle(target, CELL)
    mean = F.avg_pool2d(target, CELL)
    around = F.avg_pool2d(F.pad(mean, (1, 1, 1, 1), mode="replicate"), _AROUND, 1)
    return torch.cat([cells, around], 1).flatten(2)


def _cells(features: Tensor, count: int) -> Tensor:
    """Maps of another resolution, one column a cell."""
    height, width = features.shape[-2:]
    if height * width != count:
        features = F.interpolate(features, scale_factor=2, mode="nearest")
    return features.flatten(2)


def _difference(rows: Tensor, hole: Tensor, known: Tensor) -> Tensor:
    """Mean squared difference of each hole cell's row from each known cell's."""
    one, other = rows[hole], rows[known]
    squares = one.square().mean(1)[:, None] + other.square().mean(1)[None]
    return (squares - 2 * (one @ other.T) / rows.shape[1]).clamp_min(0)

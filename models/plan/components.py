"""Connected parts of a mask; knows no network."""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F


def components_of(places: Bool[Tensor, "1 1 h w"]) -> Int64[Tensor, "h w"]:
    """One label over 0 for the true places of each connected part, corners included; 0 elsewhere.

    Computed on the CPU, and returned there.
    """
    height, width = places.shape[-2:]
    # A place's label is the number of a place of its part, from its own upwards.
    numbers = torch.arange(1, height * width + 1, dtype=torch.float64, device="cpu")
    labels = numbers.view(1, 1, height, width) * places.cpu()
    while True:
        spread = F.max_pool2d(labels, 3, 1, 1) * (labels > 0)
        # Long parts in few rounds: take on the label of the place that my label names.
        spread = spread.flatten()[spread.long() - 1] * (labels > 0)
        if torch.equal(spread, labels):
            return labels[0, 0].long()
        labels = spread

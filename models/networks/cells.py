"""What a match copies for each cell: its features and, where wished, its pixels; no weights.

A cell of relu3_1 lies over 4x4 pixels. Where Feature2Image is given them as well, 48 channels
stand behind the cell's 256 features, and are matched, pasted and sent like those.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.networks.vgg import FEATURE_CHANNELS, FEATURE_STRIDE

PIXEL_CHANNELS = 3 * FEATURE_STRIDE**2


def append_pixels(
    features: Float[Tensor, "B 256 h w"], image: Float[Tensor, "B 3 4*h 4*w"]
) -> Float[Tensor, "B 304 h w"]:
    """Features with the pixels under each cell behind them."""
    return torch.cat([features, F.pixel_unshuffle(image, FEATURE_STRIDE)], dim=1)


def features_of(cells: Float[Tensor, "B C h w"]) -> Float[Tensor, "B K h w"]:
    """The features alone, whether there are pixels behind them or not."""
    return cells[:, :FEATURE_CHANNELS]


def pixels_of(cells: Float[Tensor, "B 304 h w"]) -> Float[Tensor, "B 3 4*h 4*w"]:
    """The image that stands behind the features."""
    return F.pixel_shuffle(cells[:, FEATURE_CHANNELS:], FEATURE_STRIDE)

"""Pixels as files hold them (numpy, uint8, H W C) <-> tensors as networks take them."""

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8
from torch import Tensor


def image_to_tensor(
    pixels: UInt8[np.ndarray, "H W 3"], device: torch.device | str = "cpu"
) -> Float[Tensor, "1 3 H W"]:
    """RGB 0-255 to RGB 0-1; `tensor_to_image` gives the same pixels back."""
    return torch.tensor(pixels, device=device).permute(2, 0, 1)[None].contiguous().float() / 255


def mask_to_tensor(
    mask: Bool[np.ndarray, "H W"], device: torch.device | str = "cpu"
) -> Float[Tensor, "1 1 H W"]:
    """True = hole to 1 = hole."""
    return torch.tensor(mask, device=device)[None, None].float()


def tensor_to_image(image: Float[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]:
    """RGB 0-1 to RGB 0-255, rounded to the nearest; values outside 0-1 are clipped."""
    rounded = (image[0].clamp(0, 1) * 255).round().to(torch.uint8)
    return np.ascontiguousarray(rounded.permute(1, 2, 0).cpu().numpy())

"""Pixels as files hold them (numpy, 8 or 16 bits, H W C) <-> tensors as networks take them."""

from typing import Any, overload

import numpy as np
import torch
from jaxtyping import Bool, Float, UInt8, UInt16
from torch import Tensor

EIGHT_BITS: np.dtype[Any] = np.dtype(np.uint8)


def image_to_tensor(
    pixels: UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"],
    device: torch.device | str = "cpu",
) -> Float[Tensor, "1 3 H W"]:
    """RGB 0-255, or 0-65535, to RGB 0-1; `tensor_to_image` gives the same pixels back."""
    whole = pixels if pixels.dtype == np.uint8 else pixels.astype(np.int32)
    image = torch.tensor(whole, device=device).permute(2, 0, 1)[None].contiguous().float()
    return image / _most(pixels.dtype)


def mask_to_tensor(
    mask: Bool[np.ndarray, "H W"], device: torch.device | str = "cpu"
) -> Float[Tensor, "1 1 H W"]:
    """True = hole to 1 = hole."""
    return torch.tensor(mask, device=device)[None, None].float()


def seen_part(
    pixels: UInt8[np.ndarray, "H W C"] | UInt16[np.ndarray, "H W C"],
    device: torch.device | str = "cpu",
) -> tuple[
    UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"], Bool[Tensor, "1 1 H W"] | None
]:
    """Colours of a picture, and where a fourth channel of 0 says that they cannot be seen."""
    if pixels.shape[2] == 3:
        return pixels, None
    unseen = torch.tensor(pixels[..., 3] == 0, device=device)[None, None]
    return np.ascontiguousarray(pixels[..., :3]), unseen


@overload
def tensor_to_image(image: Float[Tensor, "1 3 H W"]) -> UInt8[np.ndarray, "H W 3"]: ...


@overload
def tensor_to_image(
    image: Float[Tensor, "1 3 H W"], dtype: np.dtype[Any]
) -> UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"]: ...


def tensor_to_image(
    image: Float[Tensor, "1 3 H W"], dtype: np.dtype[Any] = EIGHT_BITS
) -> UInt8[np.ndarray, "H W 3"] | UInt16[np.ndarray, "H W 3"]:
    """RGB 0-1 to RGB 0-255, or 0-65535 of uint16, rounded; values outside 0-1 are clipped."""
    rounded = (image[0].clamp(0, 1) * _most(dtype)).round().permute(1, 2, 0).cpu()
    if dtype == np.uint8:
        return np.ascontiguousarray(rounded.to(torch.uint8).numpy())
    return np.ascontiguousarray(rounded.to(torch.int32).numpy().astype(np.uint16))


def _most(dtype: np.dtype[Any]) -> int:
    return int(np.iinfo(dtype).max)

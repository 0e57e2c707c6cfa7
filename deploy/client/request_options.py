"""The types of each call's options; what they mean is declared in `deploy/options.py`.

Written once more, and compared with that by a test: this needs the standard library alone.
"""

from typing import Literal, TypedDict


class AnswerOptions(TypedDict, total=False):
    """Options of every call; what is left out is as the service has it."""

    format: Literal["same", "png", "jpeg", "webp", "tiff", "heif", "avif", "bmp", "gif", "jp2"]
    quality: int | Literal["auto"]
    strip_metadata: bool
    model: str
    seed: int


class InpaintOptions(AnswerOptions, total=False):
    """Options of `Client.inpaint`."""

    mask_convention: Literal["white", "black", "alpha", "painted"]
    invert_mask: bool
    mask_threshold: int | Literal["auto"]
    grow_mask: int
    feather: int
    align_colour: bool
    scales: int | Literal["auto"]


class StylizeOptions(AnswerOptions, total=False):
    """Options of `Client.stylize`."""

    strength: float

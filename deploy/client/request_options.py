"""The types of each call's options; what they mean is declared in `deploy/options.py`.

Written once more, and compared with that by a test: this needs the standard library alone.
"""

from typing import Literal, TypedDict


class AnswerOptions(TypedDict, total=False):
    """Options of every call; what is left out is as the service has it."""

    format: Literal["png", "jpeg", "webp", "tiff"]
    quality: int
    seed: int


class InpaintOptions(AnswerOptions, total=False):
    """Options of `Client.inpaint`."""

    mask_convention: Literal["white", "alpha"]
    grow_mask: int
    feather: int
    align_colour: bool
    scales: int | Literal["auto"]


class StylizeOptions(AnswerOptions, total=False):
    """Options of `Client.stylize`."""

    strength: float

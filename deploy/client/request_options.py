"""The options of each call, as the service has them; sends nothing."""

from typing import Annotated, Literal, TypedDict


class AnswerOptions(TypedDict, total=False):
    """Options of every call; what is left out is as the service has it."""

    format: Annotated[
        Literal["png", "jpeg", "webp", "tiff"], "format of the answer: png, jpeg, webp or tiff"
    ]
    quality: Annotated[int, "1 to 100, of jpeg and webp"]
    seed: Annotated[int, "whole number from 0 to 9223372036854775807; decides every random choice"]


class InpaintOptions(AnswerOptions, total=False):
    """Options of `Client.inpaint`."""

    mask_convention: Annotated[
        Literal["white", "alpha"],
        "white: grey of 128 and more is hole; alpha: transparent is hole, in the mask, or in"
        " the image itself when no mask is sent",
    ]
    grow_mask: Annotated[int, "0 to 64 pixels by which the hole grows on every side"]
    feather: Annotated[int, "0 to 64 pixels over which the fill fades out around the hole"]
    align_colour: Annotated[
        bool,
        "true (as if not given) or false, moves the fill's colours to those of the known pixels"
        " around it",
    ]
    scales: Annotated[
        int | Literal["auto"], "auto, or how many scales the fill goes through, 1 to 16"
    ]


class StylizeOptions(AnswerOptions, total=False):
    """Options of `Client.stylize`."""

    strength: Annotated[float, "0 to 1, how much of the answer is style, 0 keeps the content"]

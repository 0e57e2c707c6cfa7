"""One request around the networks: its pixels to a plan; knows no Ray and no weights."""

from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kintsugi.deploy.engine import ModelInfo, Pixels
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.errors import InvalidInput
from kintsugi.models.pixels import (
    EIGHT_BITS,
    image_to_tensor,
    mask_to_tensor,
    seen_part,
    tensor_to_image,
)
from kintsugi.models.plan.fill_plan import FillOptions, FillPlan, plan_fill
from kintsugi.models.plan.style_plan import StylePlan, plan_style
from kintsugi.models.weights import ReleaseConfig


def fill_options(options: InpaintOptions) -> FillOptions:
    """The part of a request's options that the method knows, by their names."""
    return FillOptions(
        **{field.name: getattr(options, field.name) for field in fields(FillOptions)}
    )


def plan_inpainting(
    pixels: Pixels,
    mask: npt.NDArray[np.bool_],
    options: InpaintOptions,
    first_side: int,
) -> FillPlan:
    """Plan the fill of one image (as `Engine.inpaint`) with a mask (bool H W, True = hole).

    ``first_side`` is the release's: `kintsugi.models.matching.MatchingConfig.first_side`.

    Raises: InvalidInput `options_do_not_fit`: too many scales for this size, or the mask,
    once grown, covers everything.
    """
    seen, unseen = seen_part(pixels)
    try:
        return plan_fill(
            image_to_tensor(seen),
            mask_to_tensor(mask),
            fill_options(options),
            first_side=first_side,
            unseen=unseen,
        )
    except ValueError as error:
        raise InvalidInput(
            str(error),
            code="options_do_not_fit",
            hint="change scales or grow_mask, or send a part of the image",
        ) from error


def plan_transfer(
    content: Pixels, style: npt.NDArray[np.uint8], options: StylizeOptions
) -> StylePlan:
    """Plan one style transfer (H W 3 and H2 W2 3, RGB; the first of 8 or 16 bits).

    Raises: InvalidInput `style_too_small`.
    """
    try:
        return plan_style(image_to_tensor(content), image_to_tensor(style), options.strength)
    except ValueError as error:
        raise InvalidInput(
            str(error), code="style_too_small", hint="send a larger style"
        ) from error


def finite_image(answer: Tensor, depth: np.dtype[Any] = EIGHT_BITS) -> Pixels:
    """RGB 0-1, 1 3 H W, to the pixels of an answer (H W 3, uint8 or uint16).

    Raises: FloatingPointError where the networks gave no number: that is no image.
    """
    if not torch.isfinite(answer).all():
        raise FloatingPointError("the networks' answer holds values that are no numbers")
    pixels: Pixels = tensor_to_image(answer, depth)
    return pixels


def model_info(config: ReleaseConfig) -> ModelInfo:
    """What answers say of a release."""
    return ModelInfo(config.name, config.digest, config.model.size)

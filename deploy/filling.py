"""One fill around the networks: plan it, and answer in pixels; knows no Ray and no weights."""

import numpy as np
import numpy.typing as npt

from deploy.engine import ModelInfo
from deploy.options import InpaintOptions
from kintsugi.errors import InvalidInput
from models.pixels import image_to_tensor, mask_to_tensor
from models.scales import FillOptions, ScalePlan, plan_scales
from models.weights import ReleaseConfig


def fill_options(options: InpaintOptions) -> FillOptions:
    """The part of a request's options that the method knows."""
    return FillOptions(scales=options.scales, grow_mask=options.grow_mask, feather=options.feather)


def plan_fill(
    pixels: npt.NDArray[np.uint8], mask: npt.NDArray[np.bool_], options: InpaintOptions
) -> ScalePlan:
    """Plan the fill of one image (uint8 H W 3, RGB) with a mask (bool H W, True = hole).

    Raises: InvalidInput `options_do_not_fit`: too many scales for this size, or the mask,
    once grown, covers everything.
    """
    try:
        return plan_scales(image_to_tensor(pixels), mask_to_tensor(mask), fill_options(options))
    except ValueError as error:
        raise InvalidInput(
            str(error), code="options_do_not_fit", hint="change scales or grow_mask"
        ) from error


def model_info(config: ReleaseConfig) -> ModelInfo:
    """What answers say of a release."""
    return ModelInfo(config.name, config.digest, config.model.size)

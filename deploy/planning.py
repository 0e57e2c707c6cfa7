"""One request around the networks: its pixels to a plan; knows no Ray and no weights."""

from collections.abc import Iterator, Sequence
from dataclasses import fields, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from kintsugi.deploy.engine import ModelInfo, Pixels
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.models.pixels import (
    EIGHT_BITS,
    image_to_tensor,
    mask_to_tensor,
    seen_part,
    tensor_to_image,
)
from kintsugi.models.plan.crops import Box
from kintsugi.models.plan.fill_plan import FillOptions, FillPlan, ScalePlan, plan_fill
from kintsugi.models.plan.resizing import padded
from kintsugi.models.plan.style_plan import StylePlan, plan_style
from kintsugi.models.weights import ReleaseConfig


def fill_options(options: InpaintOptions) -> FillOptions:
    """The part of a request's options that the method knows, by their names."""
    return FillOptions(
        **{field.name: getattr(options, field.name) for field in fields(FillOptions)}
    )


class PhotoPlan:
    """The fill of one photograph, whose pixels become numbers of networks crop by crop.

    The same crops, and pasted to the bit as into one float image of the whole photograph, which
    would take twelve bytes a pixel whatever the size of the hole.
    """

    def __init__(self, pixels: Pixels, plan: FillPlan) -> None:
        """Take the photograph (H W 3, RGB, of 8 or 16 bits) and a plan made without its pixels."""
        self._pixels = pixels
        self._plan = plan
        self._patches: list[tuple[Box, Tensor]] = []

    def __len__(self) -> int:
        return len(self._plan.crops)

    def crops(self) -> Iterator[ScalePlan]:
        """Each crop's plan, made when it is asked for."""
        for index in range(len(self)):
            crop = self._plan.crops[index]
            yield replace(crop, work=padded(self._part(crop.crop)))

    def paste(self, crop: ScalePlan, filled: Tensor) -> None:
        """Blend the last scale's image of a crop, 1 3 h w, into the answer so far."""
        top, bottom, left, right = crop.crop
        part = self._part(crop.crop)
        for (first, last, start, end), patch in self._patches:
            low, high = max(top, first), min(bottom, last)
            near, far = max(left, start), min(right, end)
            if low < high and near < far:
                here = part[..., low - top : high - top, near - left : far - left]
                here.copy_(patch[..., low - first : high - first, near - start : far - start])
        replace(crop, crop=(0, bottom - top, 0, right - left)).paste(part, filled)
        # What it changed: the rest is the photograph's.
        rows, columns = (crop.alpha[0, 0].amax(dim=axis).nonzero() for axis in (1, 0))
        low, high = int(rows[0]), int(rows[-1]) + 1
        near, far = int(columns[0]), int(columns[-1]) + 1
        changed = part[..., low:high, near:far].clone()
        self._patches.append(((top + low, top + high, left + near, left + far), changed))

    def answer(self) -> Pixels:
        """The filled photograph, as it was given. Raises: FloatingPointError, as `finite_image`."""
        pixels = self._pixels.copy()
        for (top, bottom, left, right), patch in self._patches:
            pixels[top:bottom, left:right] = finite_image(patch, pixels.dtype)
        return pixels

    def _part(self, box: Box) -> Tensor:
        top, bottom, left, right = box
        return image_to_tensor(self._pixels[top:bottom, left:right])


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
    return _planned(image_to_tensor(seen), unseen, mask, options, first_side)


def plan_photo(
    pixels: Pixels,
    mask: npt.NDArray[np.bool_],
    options: InpaintOptions,
    first_side: int,
) -> PhotoPlan:
    """The same plan, whose crops become float one at a time. Arguments and errors as above."""
    seen, unseen = seen_part(pixels)
    # Its shape alone is looked at: one number stands for all pixels.
    image = torch.zeros(1).expand(1, 3, *seen.shape[:2])
    return PhotoPlan(seen, _planned(image, unseen, mask, options, first_side))


def _planned(
    image: Tensor,
    unseen: Tensor | None,
    mask: npt.NDArray[np.bool_],
    options: InpaintOptions,
    first_side: int,
) -> FillPlan:
    try:
        return plan_fill(
            image,
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


def check_names(models: Sequence[ModelInfo]) -> None:
    """Raises: ConfigError: two releases have one name, by which requests choose."""
    names = [model.name for model in models]
    for model in models:
        if names.count(model.name) > 1:
            raise ConfigError(
                f"two of the releases to serve have the name {model.name}: a request names one by"
                " it, so publish one of them under another name"
            )


def model_info(config: ReleaseConfig) -> ModelInfo:
    """What answers say of a release."""
    return ModelInfo(config.name, config.digest, config.model.size)

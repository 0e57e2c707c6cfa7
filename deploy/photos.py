"""The files of a request to one photograph with a hole, and back; knows no network."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from deploy.forms import InpaintForm
from deploy.options import InpaintOptions
from kintsugi.errors import InvalidInput
from kintsugi.images import DecodedImage, ImageLimits, decode_image, decode_mask, encode_image

_OPAQUE = 255


@dataclass(frozen=True)
class Photo:
    """A photograph with a hole.

    Attributes:
        image: Decoded; its alpha is what the answer gets.
        mask: bool H W of the image's size, True = hole; neither empty nor full.
    """

    image: DecodedImage
    mask: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Answer:
    """The bytes of the filled image, and what of the request's file they do not hold."""

    body: bytes
    notes: tuple[str, ...]


def decode_photo(form: InpaintForm, limits: ImageLimits) -> Photo:
    """Decode image and mask.

    Raises: InputError as `decode_image` and `decode_mask`, and InvalidInput
    `mask_missing`, `size_mismatch`, `mask_empty`, `mask_full`.
    """
    image = decode_image(form.image, limits)
    if form.mask is not None:
        mask = decode_mask(form.mask, limits, convention=form.options.mask_convention)
        photo = Photo(image, mask)
    elif form.options.mask_convention == "alpha" and image.alpha is not None:
        photo = _hole_in_own_alpha(image, image.alpha)
    else:
        raise InvalidInput(
            "the form has no mask",
            code="mask_missing",
            hint="send the file as the field mask, or an image whose hole is transparent and"
            " mask_convention=alpha",
        )
    _check_mask(photo)
    return photo


def encode_answer(photo: Photo, filled: npt.NDArray[np.uint8], options: InpaintOptions) -> Answer:
    """Encode the filled pixels (uint8 H W 3) with the photograph's alpha and profile."""
    image = photo.image
    body = encode_image(
        filled,
        options.format,
        quality=options.quality,
        alpha=image.alpha,
        icc_profile=image.icc_profile,
    )
    notes = image.notes
    if image.alpha is not None and options.format == "jpeg":
        notes += ("transparency dropped: jpeg has none",)
    return Answer(body, notes)


def _hole_in_own_alpha(image: DecodedImage, alpha: npt.NDArray[np.uint8]) -> Photo:
    """The transparent part is the hole; filled, it is opaque."""
    mask = alpha == 0
    filled_alpha = np.where(mask, np.uint8(_OPAQUE), alpha)
    answer = DecodedImage(image.pixels, filled_alpha, image.icc_profile, image.format, image.notes)
    return Photo(answer, mask)


def _check_mask(photo: Photo) -> None:
    height, width = photo.image.pixels.shape[:2]
    mask_height, mask_width = photo.mask.shape
    if (mask_height, mask_width) != (height, width):
        raise InvalidInput(
            f"the mask is {mask_width}x{mask_height} px but the image is {width}x{height}",
            code="size_mismatch",
            hint="send both at the same size; a photograph's is taken as it is displayed, after"
            " the rotation that its EXIF data asks for",
        )
    if not photo.mask.any():
        raise InvalidInput(
            "the mask is empty",
            code="mask_empty",
            hint="mark at least one pixel as hole: white, or with mask_convention=alpha"
            " transparent",
        )
    if photo.mask.all():
        raise InvalidInput(
            "the mask covers the whole image",
            code="mask_full",
            hint="leave some of the image known: the fill is made from it",
        )

"""The files of a request to pixels, and the answer to a file; knows no network."""

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kintsugi.deploy.http.request_kinds import InpaintForm, StylizeForm
from kintsugi.deploy.options import AnswerOptions
from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import (
    DecodedImage,
    ImageLimits,
    decode_image,
    decode_mask,
    encode_image,
)

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
class StylePair:
    """A photograph, whose alpha and profile the answer gets, and pixels (H2 W2 3) of a style."""

    content: DecodedImage
    style: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Answer:
    """The bytes of the answer, and what of the request's files they do not hold."""

    body: bytes
    notes: tuple[str, ...]


def decode_photo(form: InpaintForm, limits: ImageLimits) -> Photo:
    """Decode image and mask; in the alpha convention the hole is opaque in the answer.

    Raises: InputError as `decode_image` and `decode_mask`, and InvalidInput
    `mask_missing`, `size_mismatch`, `mask_empty`, `mask_full`.
    """
    image = decode_image(form.image, limits)
    if form.mask is not None:
        mask = decode_mask(form.mask, limits, convention=form.options.mask_convention)
    elif form.options.mask_convention == "alpha" and image.alpha is not None:
        mask = image.alpha == 0
    else:
        raise InvalidInput(
            "the form has no mask",
            code="mask_missing",
            hint="send the file as the field mask, or an image whose hole is transparent and"
            " mask_convention=alpha",
        )
    _check_mask(image, mask)
    if form.options.mask_convention == "alpha":
        image = _with_opaque_hole(image, mask)
    return Photo(image, mask)


def decode_pair(form: StylizeForm, limits: ImageLimits, *, max_content_pixels: int) -> StylePair:
    """Decode content and style.

    Raises: InputError as `decode_image`, by the field's name, and InvalidInput
    `content_too_large` for more than ``max_content_pixels``.
    """
    content = decode_image(form.content, limits, name="content")
    height, width = content.pixels.shape[:2]
    if height * width > max_content_pixels:
        raise InvalidInput(
            f"the content is {width}x{height} = {height * width} px, the limit of a style"
            f" transfer is {max_content_pixels}",
            code="content_too_large",
            hint="send a smaller content",
        )
    style = decode_image(form.style, limits, name="style")
    if style.alpha is not None:
        content = replace(content, notes=(*content.notes, "transparency of the style ignored"))
    return StylePair(content, style.pixels)


def encode_answer(
    image: DecodedImage, pixels: npt.NDArray[np.uint8], options: AnswerOptions
) -> Answer:
    """Encode the answer's pixels (uint8 H W 3) with the photograph's alpha and profile."""
    body = encode_image(
        pixels,
        options.format,
        quality=options.quality,
        alpha=image.alpha,
        icc_profile=image.icc_profile,
    )
    notes = image.notes
    if image.alpha is not None and options.format == "jpeg":
        notes += ("transparency dropped: jpeg has none",)
    return Answer(body, notes)


def _with_opaque_hole(image: DecodedImage, mask: npt.NDArray[np.bool_]) -> DecodedImage:
    """Where transparency means hole, the filled hole has none: it would not be seen."""
    if image.alpha is None:
        return image
    return replace(image, alpha=np.where(mask, np.uint8(_OPAQUE), image.alpha))


def _check_mask(image: DecodedImage, mask: npt.NDArray[np.bool_]) -> None:
    height, width = image.pixels.shape[:2]
    mask_height, mask_width = mask.shape
    if (mask_height, mask_width) != (height, width):
        raise InvalidInput(
            f"the mask is {mask_width}x{mask_height} px but the image is {width}x{height}",
            code="size_mismatch",
            hint="send both at the same size; a photograph's is taken as it is displayed, after"
            " the rotation that its EXIF data asks for",
        )
    if not mask.any():
        raise InvalidInput(
            "the mask is empty",
            code="mask_empty",
            hint="mark at least one pixel as hole: white, or with mask_convention=alpha"
            " transparent",
        )
    if mask.all():
        raise InvalidInput(
            "the mask covers the whole image",
            code="mask_full",
            hint="leave some of the image known: the fill is made from it",
        )

"""A photograph's file and its mask's to what is filled, and the fill to a file; knows no method."""

from dataclasses import dataclass, replace

import numpy as np

from kintsugi.errors import InvalidInput
from kintsugi.imaging.arrays import Mask
from kintsugi.imaging.codec import decode_mask
from kintsugi.imaging.limits import ImageLimits
from kintsugi.imaging.mask_decoding import hole_in_alpha
from kintsugi.imaging.photo_options import MaskOptions, OutputOptions
from kintsugi.imaging.photograph import Photograph, open_photograph
from kintsugi.imaging.saving import Filled, Saved, save_photograph


@dataclass(frozen=True)
class Holed:
    """A photograph with a hole.

    Attributes:
        photo: As its fill is to be: where the hole was erased, it is opaque.
        original: As it was opened.
        hole: bool H W of its size, True = hole; neither empty nor full.
    """

    photo: Photograph
    original: Photograph
    hole: Mask


def open_holed(
    image: bytes,
    mask: bytes | None,
    options: MaskOptions = MaskOptions(),
    limits: ImageLimits = ImageLimits(),
) -> Holed:
    """Decode a photograph and the hole in it.

    Args:
        image: A file of any of the formats.
        mask: A file of the same size; None where ``mask_convention`` is alpha and the hole was
            erased into the photograph itself.
        options: What marks the hole; growing and feathering are the method's.
        limits: What is accepted.

    Raises: InputError: as `open_photograph` and `decode_mask`, and InvalidInput `mask_missing`,
        `size_mismatch`, `mask_empty`, `mask_full`.
    """
    original = photo = open_photograph(image, limits)
    if mask is not None:
        hole = decode_mask(mask, limits, options=options)
    elif options.mask_convention == "alpha" and photo.alpha is not None:
        hole = hole_in_alpha(photo.alpha, options)
    elif options.mask_convention == "alpha":
        raise InvalidInput(
            "the image has no transparency to take the hole from",
            code="mask_missing",
            hint="send a mask as well, or erase the hole in an image with transparency",
        )
    else:
        raise InvalidInput(
            "there is no mask",
            code="mask_missing",
            hint="send one as the field mask, or an image whose hole is transparent and"
            " mask_convention=alpha",
        )
    check_hole(hole, *photo.seen.shape[:2])
    if options.mask_convention == "alpha":
        photo = photo.opaque_where(hole)
    elif photo.alpha is not None and (photo.alpha[hole] == 0).any():
        count = int(np.count_nonzero(photo.alpha[hole] == 0))
        note = f"{count} pixels of the hole are transparent and stay so"
        photo = replace(photo, notes=(*photo.notes, note))
    return Holed(photo, original, hole)


def save_filled(holed: Holed, filled: Filled, options: OutputOptions = OutputOptions()) -> Saved:
    """Encode a fill (H W 3, of the depth of the photograph's pixels). Raises: InvalidInput."""
    return save_photograph(holed.photo, filled, options, original=holed.original)


def check_hole(hole: Mask, height: int, width: int) -> None:
    """Raises: InvalidInput: it is of another size than the photograph, empty, or all of it."""
    if hole.shape != (height, width):
        raise InvalidInput(
            f"the mask is {hole.shape[1]}x{hole.shape[0]} px but the image is {width}x{height}",
            code="size_mismatch",
            hint="send both at the same size; a photograph's is taken as it is displayed, after"
            " the rotation that its EXIF data asks for",
        )
    if not hole.any():
        raise InvalidInput(
            "the mask is empty",
            code="mask_empty",
            hint="mark at least one pixel as hole: white, or what mask_convention (white, black,"
            " alpha, painted) and invert_mask say",
        )
    if hole.all():
        raise InvalidInput(
            "the mask covers the whole image",
            code="mask_full",
            hint="leave some of the image known, since the fill is made from it; or swap hole and"
            " known with invert_mask",
        )

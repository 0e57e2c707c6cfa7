"""Bytes to pixels and back, with limits; knows no torch, no storage and no HTTP.

One convention: RGB, uint8 0-255, H W C in memory; a mask is bool H W with
True = hole.
"""

import io
import re
import warnings

import numpy as np
import numpy.typing as npt
from PIL import Image

from kintsugi.errors import InvalidInput
from kintsugi.imaging.colour_modes import BROKEN_FILE_ERRORS, DecodedImage, to_rgb
from kintsugi.imaging.headers import sniff_format
from kintsugi.imaging.limits import (
    ImageLimits,
    animated,
    check_bytes,
    check_size,
    too_many_pixels,
    undecodable,
)

__all__ = [
    "FORMATS",
    "DecodedImage",
    "ImageLimits",
    "decode_image",
    "decode_mask",
    "encode_image",
    "sniff_format",
]

FORMATS = ("png", "jpeg", "webp", "tiff")

# A grey mask saved as colour JPEG comes back with channels a few steps apart.
_GREY_SPREAD = 8
# The longest side that the format can store, in pixels.
_SIDE_LIMITS = {"jpeg": 65_500, "webp": 16_383}


def decode_image(
    data: bytes,
    limits: ImageLimits = ImageLimits(),
    *,
    name: str = "image",
    draft_side: int = 0,
) -> DecodedImage:
    """Decode PNG, JPEG, WebP, TIFF or, with the extra `heic`, HEIC to upright 8-bit RGB.

    EXIF orientation is applied and other EXIF dropped; alpha and RGB colour
    profiles are kept; CMYK goes through its profile, when it has a usable one,
    to sRGB; 16-bit samples keep their upper 8 bits.

    Args:
        data: The file's bytes; their kind is found by content.
        limits: What is accepted.
        name: Start of every error code and message, such as "mask".
        draft_side: A JPEG may be decoded at 1/2, 1/4 or 1/8 of its size as long as its shorter
            side stays at least so long; 0: never.

    Raises:
        TooLarge: `{name}_too_large`.
        UnsupportedFormat: `{name}_format_not_allowed`.
        InvalidInput: `{name}_empty_file`, `{name}_too_many_pixels`,
            `{name}_too_small`, `{name}_animated`, `{name}_bit_depth`,
            `{name}_undecodable`.
    """
    format = check_bytes(data, limits, name)
    _hush_pillow()
    try:
        with Image.open(io.BytesIO(data), formats=[format.upper()]) as image:
            check_size(image.height, image.width, limits, name)
            _check_frames(image, name)
            if draft_side and format == "jpeg":
                image.draft(None, (draft_side, draft_side))
            image.load()
    except Image.DecompressionBombError as error:
        raise too_many_pixels("more", limits, name) from error
    except BROKEN_FILE_ERRORS as error:
        raise undecodable("its data is broken or cut short", name) from error
    return to_rgb(image, data, format, name)


def decode_mask(
    data: bytes,
    limits: ImageLimits = ImageLimits(),
    *,
    convention: str = "white",
    name: str = "mask",
) -> npt.NDArray[np.bool_]:
    """Decode a mask to bool H W, True = hole.

    Args:
        data: A file of one of the image formats.
        limits: What is accepted.
        convention: "white": grey >= 128 is hole; "alpha": alpha 0 is hole.
        name: Start of every error code and message.

    Raises:
        InputError: As `decode_image`, and InvalidInput with `{name}_not_gray`,
            `{name}_has_alpha` (white), `{name}_no_alpha` (alpha).
    """
    if convention not in ("white", "alpha"):
        raise InvalidInput(
            f"mask_convention {convention!r} is not known",
            code="mask_convention_unknown",
            hint="use white (white is hole) or alpha (transparent is hole)",
        )
    decoded = decode_image(data, limits, name=name)
    return _hole_in_alpha(decoded, name) if convention == "alpha" else _hole_in_grey(decoded, name)


def encode_image(
    pixels: npt.NDArray[np.uint8],
    format: str = "png",
    *,
    quality: int = 92,
    alpha: npt.NDArray[np.uint8] | None = None,
    icc_profile: bytes | None = None,
) -> bytes:
    """Encode uint8 H W 3 RGB to "png", "jpeg", "webp" or "tiff".

    `quality` (1-100) is for JPEG and WebP; PNG and TIFF are lossless. `alpha`
    (uint8 H W) is dropped by JPEG, which has none.

    Raises:
        InvalidInput: `format_unknown`, `format_side_limit`.
    """
    if format not in FORMATS:
        raise InvalidInput(
            f"format {format!r} is not known",
            code="format_unknown",
            hint=f"use one of {', '.join(FORMATS)}",
        )
    longest, limit = max(pixels.shape[:2]), _SIDE_LIMITS.get(format)
    if limit is not None and longest > limit:
        raise InvalidInput(
            f"{format} holds at most {limit} px a side and the image has {longest}",
            code="format_side_limit",
            hint="ask for png or tiff",
        )
    if alpha is not None and format != "jpeg":
        pixels = np.dstack([pixels, alpha])
    settings: dict[str, dict[str, object]] = {
        "png": {},
        # Above this quality the chroma of every pixel is worth keeping too.
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= 90 else 2},
        # `exact` keeps the colours under transparent pixels.
        "webp": {"quality": quality, "exact": True},
        "tiff": {"compression": "tiff_adobe_deflate"},
    }
    options = settings[format]
    if icc_profile is not None:
        options["icc_profile"] = icc_profile
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format.upper(), **options)
    return buffer.getvalue()


def _check_frames(image: Image.Image, name: str) -> None:
    # A JPEG with several pictures (MPO) is what phones write: the photograph
    # first, then previews or gain maps. It is one image to its owner.
    frames = 1 if image.format == "MPO" else getattr(image, "n_frames", 1)
    if frames > 1:
        raise animated(str(frames), name)


def _hole_in_alpha(decoded: DecodedImage, name: str) -> npt.NDArray[np.bool_]:
    if decoded.alpha is None:
        raise InvalidInput(
            f"the {name} has no alpha channel",
            code=f"{name}_no_alpha",
            hint="erase the hole to transparent, or use mask_convention=white",
        )
    hole: npt.NDArray[np.bool_] = decoded.alpha == 0
    return hole


def _hole_in_grey(decoded: DecodedImage, name: str) -> npt.NDArray[np.bool_]:
    # An alpha channel that is opaque everywhere says nothing: drawing programs add it unasked.
    if decoded.alpha is not None and decoded.alpha.min() < 255:
        raise InvalidInput(
            f"the {name} has transparent pixels",
            code=f"{name}_has_alpha",
            hint="use mask_convention=alpha if transparent means hole, else flatten it",
        )
    red, green, blue = np.moveaxis(decoded.pixels, 2, 0)
    lightest = np.maximum(np.maximum(red, green), blue)
    if np.any(lightest - np.minimum(np.minimum(red, green), blue) > _GREY_SPREAD):
        raise InvalidInput(
            f"the {name} is in colour",
            code=f"{name}_not_gray",
            hint="send a black and white image in which white is the hole",
        )
    # The mean of three equal channels is exact in whole numbers.
    hole: npt.NDArray[np.bool_] = red.astype(np.uint16) + green + blue >= 3 * 128
    return hole


def _hush_pillow() -> None:
    """Silence what Pillow says of odd files by `warnings`: errors and notes say it here.

    The filter stays: switching filters to and fro (`catch_warnings`) is not
    safe when several threads decode.
    """
    for category in (UserWarning, RuntimeWarning):
        entry = ("ignore", None, category, re.compile(r"PIL\."), 0)
        if entry not in warnings.filters:
            warnings.filterwarnings("ignore", category=category, module=r"PIL\.")

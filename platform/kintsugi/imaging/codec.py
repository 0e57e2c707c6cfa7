"""Bytes to pixels and back, with limits; knows no torch, no storage and no HTTP.

One convention: RGB, uint8 0-255, H W C in memory; a mask is bool H W with
True = hole.
"""

import io
from dataclasses import replace

import numpy as np
import numpy.typing as npt
from PIL import Image

from kintsugi.errors import InvalidInput
from kintsugi.imaging.arrays import Mask
from kintsugi.imaging.colour_modes import DecodedImage, plain_grey, to_picture, to_rgb
from kintsugi.imaging.formats import FINE_QUALITY, FORMATS
from kintsugi.imaging.headers import sniff_format
from kintsugi.imaging.limits import (
    ImageLimits,
)
from kintsugi.imaging.mask_decoding import hole_in_grey, marked_hole
from kintsugi.imaging.opening import open_image
from kintsugi.imaging.photo_options import MaskOptions

__all__ = [
    "DecodedImage",
    "ImageLimits",
    "decode_image",
    "decode_mask",
    "decode_picture",
    "encode_image",
    "sniff_format",
]


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
    format, image, notes = open_image(data, limits, name, draft_side=draft_side)
    decoded = to_rgb(image, data, format, name)
    return replace(decoded, notes=(*notes, *decoded.notes))


def decode_picture(data: bytes, *, draft_side: int = 0) -> Image.Image:
    """The pixels of `decode_image` alone, in Pillow's own memory: for what it does with them next.

    Raises: InputError: as `decode_image`.
    """
    format, image, _ = open_image(data, ImageLimits(), "image", draft_side=draft_side)
    return to_picture(image, data, format, "image")[0]


def decode_mask(
    data: bytes,
    limits: ImageLimits = ImageLimits(),
    *,
    options: MaskOptions = MaskOptions(),
    name: str = "mask",
) -> Mask:
    """Decode a mask to the hole it marks, bool H W, True = hole; not grown yet.

    Args:
        data: A file of one of the image formats.
        limits: What is accepted.
        options: What marks the hole.
        name: Start of every error code and message.

    Raises:
        InputError: As `decode_image`, and InvalidInput with `{name}_not_gray` (white, black),
            `{name}_no_alpha` (alpha, painted).
    """
    format, image, _ = open_image(data, limits, name)
    in_grey = options.mask_convention in ("white", "black")
    if in_grey and (grey := plain_grey(image)) is not None:
        return hole_in_grey(grey, options)
    return marked_hole(to_rgb(image, data, format, name), options, name)


def encode_image(
    pixels: npt.NDArray[np.uint8],
    format: str = "png",
    *,
    quality: int = 92,
    alpha: npt.NDArray[np.uint8] | None = None,
    icc_profile: bytes | None = None,
) -> bytes:
    """Encode pixels.

    Args:
        pixels: uint8 H W 3, RGB.
        format: "png", "jpeg", "webp" or "tiff".
        quality: 1-100, of JPEG and WebP; PNG and TIFF are lossless.
        alpha: uint8 H W, 255 = opaque; dropped by JPEG, which has none.
        icc_profile: The colour profile that the pixels are in; None: sRGB.

    Raises: InvalidInput: `format_unknown`, `format_side_limit`.
    """
    settings: dict[str, dict[str, object]] = {
        "png": {},
        "jpeg": {"quality": quality, "subsampling": 0 if quality >= FINE_QUALITY else 2},
        # `exact` keeps the colours under transparent pixels.
        "webp": {"quality": quality, "exact": True},
        "tiff": {"compression": "tiff_adobe_deflate"},
    }
    if format not in settings:
        raise InvalidInput(
            f"format {format!r} is not known",
            code="format_unknown",
            hint=f"use one of {', '.join(settings)}",
        )
    spec = FORMATS[format]
    spec.check_sides(*pixels.shape[:2])
    if alpha is not None and spec.alpha:
        pixels = np.dstack([pixels, alpha])
    options = settings[format]
    if icc_profile is not None:
        options["icc_profile"] = icc_profile
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, spec.plugin, **options)
    return buffer.getvalue()

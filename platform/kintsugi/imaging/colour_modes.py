"""An opened image of any mode to upright 8-bit RGB; knows no files and no limits.

One convention: RGB, uint8 0-255, H W C.
"""

import io
import struct
import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageCms

from kintsugi.errors import InvalidInput
from kintsugi.imaging.headers import avif_bit_depth, png_bit_depth
from kintsugi.imaging.limits import undecodable

# What the imaging library raises on broken files (found by mutating files of
# every format); anything else is a bug and must be seen.
BROKEN_FILE_ERRORS = (
    OSError,
    SyntaxError,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    EOFError,
    ArithmeticError,
    RuntimeError,
    struct.error,
    zlib.error,
)
# Those from which there is a way to RGB; LAB and HSV have none without a profile.
_MODES = {"1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "RGBa", "CMYK", "YCbCr"}
_ORIENTATION_TAG = 0x0112
_TIFF_BITS_TAG = 258
_UPRIGHT = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


@dataclass(frozen=True)
class DecodedImage:
    """An image as it is displayed: upright, 8 bit, RGB.

    Attributes:
        pixels: uint8 H W 3, RGB.
        alpha: uint8 H W, 255 = opaque; None when the file has no transparency.
        icc_profile: Colour profile of `pixels` to store with them again.
        format: As `kintsugi.imaging.formats` names it.
        notes: What of the file was not kept, one short English clause each.
    """

    pixels: npt.NDArray[np.uint8]
    alpha: npt.NDArray[np.uint8] | None
    icc_profile: bytes | None
    format: str
    notes: tuple[str, ...]


def to_rgb(image: Image.Image, data: bytes, format: str, name: str) -> DecodedImage:
    """A loaded image of any mode as `DecodedImage`; arguments and errors as of `to_picture`."""
    rgb, alpha, icc_profile, notes = to_picture(image, data, format, name)
    return DecodedImage(np.array(rgb), alpha, icc_profile, format, notes)


def to_picture(
    image: Image.Image, data: bytes, format: str, name: str
) -> tuple[Image.Image, npt.NDArray[np.uint8] | None, bytes | None, tuple[str, ...]]:
    """Bring a loaded image of any mode to upright 8-bit RGB.

    Args:
        image: Loaded; its colour profile is read from it.
        data: The file's bytes, whose header gives the depth of its samples.
        format: As `sniff_format` names it.
        name: Start of error codes.

    Returns: In Pillow's own memory, with the other attributes of `DecodedImage`.

    Raises:
        InvalidInput: `{name}_bit_depth` for samples without a defined range,
            `{name}_undecodable` for a colour space that is not read.
    """
    notes: list[str] = []
    bits = sample_bits(image, data, format)
    icc_profile: bytes | None = image.info.get("icc_profile")
    image = upright(image, orientation_of(image))
    if bits > 8:
        notes.append(f"{bits}-bit samples reduced to 8 bit")
    if image.mode.startswith("I;16"):
        image = _reduce_grey(image)
    elif image.mode in ("I", "F"):
        raise InvalidInput(
            f"the {name} has 32-bit or floating-point samples",
            code=f"{name}_bit_depth",
            hint="save it with 8 or 16 bit a channel",
        )
    elif image.mode not in _MODES:
        raise undecodable(f"its colour space {image.mode} is not read", name)
    elif image.mode == "P" and image.palette is None:
        raise undecodable("it has no palette", name)
    if image.mode == "CMYK":
        image, note = _from_cmyk(image, icc_profile)
        notes.append(note)
        icc_profile = None
    elif icc_profile is not None and icc_profile[16:20] != b"RGB ":
        # A profile of another colour space cannot be stored with RGB pixels.
        notes.append("colour profile dropped: it is not for RGB")
        icc_profile = None
    alpha = None
    if image.has_transparency_data:
        image = image.convert("RGBA")
        alpha = np.array(image.getchannel("A"))
    # Converting it to what it is would copy it, at four bytes a pixel.
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    return rgb, alpha, icc_profile, tuple(notes)


def plain_grey(image: Image.Image) -> npt.NDArray[np.uint8] | None:
    """The samples (H W, upright) of an 8-bit or 1-bit grey image without transparency, or None.

    A quarter of the memory that `to_rgb` takes: most masks are such images.
    """
    if image.mode not in ("1", "L") or image.has_transparency_data:
        return None
    return np.array(upright(image, orientation_of(image)).convert("L"))


def sample_bits(image: Image.Image, data: bytes, format: str) -> int:
    """Bits of a sample of an opened file; 8 where its format says nothing of them."""
    if format == "png":
        return png_bit_depth(data)
    if format == "tiff":
        bits = image.tag_v2.get(_TIFF_BITS_TAG, (1,))  # type: ignore[attr-defined]
        return max(bits) if isinstance(bits, tuple) else int(bits)
    if format == "jp2":
        # The header of the code stream, behind its sizes: the depth of the first channel.
        at = data.find(b"\xff\x4f\xff\x51") + 42
        return (data[at] & 0x7F) + 1 if 42 <= at < len(data) else 8
    if format == "avif":
        return avif_bit_depth(data)
    if format == "heif":
        return int(image.info.get("bit_depth", 8))
    return 8


def orientation_of(image: Image.Image) -> int:
    """EXIF's orientation, 1 to 8; 1 where there is none that can be read."""
    try:
        orientation = image.getexif().get(_ORIENTATION_TAG, 1)
    except BROKEN_FILE_ERRORS:
        # Cameras and editors write broken EXIF; the pixels are good all the same.
        return 1
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def upright(image: Image.Image, orientation: int) -> Image.Image:
    """The image as it is displayed."""
    method = _UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def _reduce_grey(image: Image.Image) -> Image.Image:
    # Whatever the file had, they reach from 0 to 65535.
    samples = np.asarray(image).astype(np.uint16)
    grey = Image.fromarray((samples >> 8).astype(np.uint8))
    transparent = image.info.get("transparency")
    if isinstance(transparent, int):
        grey.putalpha(Image.fromarray(np.where(samples == transparent, 0, 255).astype(np.uint8)))
    return grey


def _from_cmyk(image: Image.Image, icc_profile: bytes | None) -> tuple[Image.Image, str]:
    if icc_profile is not None and icc_profile[16:20] == b"CMYK":
        try:
            source = ImageCms.ImageCmsProfile(io.BytesIO(icc_profile))
            target = ImageCms.createProfile("sRGB")
            converted = ImageCms.profileToProfile(image, source, target, outputMode="RGB")
        except (ImageCms.PyCMSError, OSError):
            return image.convert(
                "RGB"
            ), "CMYK converted to RGB without its profile, which is broken"
        if converted is not None:
            return converted, "CMYK converted to RGB through its profile"
    return image.convert("RGB"), "CMYK without a profile converted to RGB"

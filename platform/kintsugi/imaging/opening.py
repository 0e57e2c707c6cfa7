"""Bytes to an opened, loaded image of any format, with limits; knows no colours."""

import io
import re
import warnings

import numpy as np
from PIL import Image, UnidentifiedImageError

from kintsugi.errors import InvalidInput
from kintsugi.imaging.colour_modes import BROKEN_FILE_ERRORS
from kintsugi.imaging.decode_cost import read_decode_cost
from kintsugi.imaging.encoders.deep_samples import read_deep
from kintsugi.imaging.encoders.tiff_file import is_preview
from kintsugi.imaging.formats import FORMATS
from kintsugi.imaging.headers import png_bit_depth
from kintsugi.imaging.limits import (
    ImageLimits,
    check_bytes,
    check_size,
    raw_file,
    too_many_pixels,
    undecodable,
)
from kintsugi.imaging.metadata import jpeg_segments, png_chunks

# Tags of TIFF: bits of each sample, what 0 means, samples of a pixel, and whether its colours lie
# together or apart.
_BITS, _PHOTOMETRIC, _CHANNELS, _PLANES = 258, 262, 277, 284
_WHITE_IS_ZERO, _YCBCR, _APART = 0, 6, 2
# Channels of colour by what 0 means; others have one.
_COLOURS = {2: 3, 5: 4, 6: 3, 8: 3}


def open_image(
    data: bytes, limits: ImageLimits, name: str, *, draft_side: int = 0
) -> tuple[str, Image.Image, tuple[str, ...]]:
    """Open and load a file's first picture.

    Args:
        data: The file's bytes.
        limits: What is accepted.
        name: Start of error codes.
        draft_side: See `kintsugi.imaging.codec.decode_image`.

    Returns: Its format, the image, and what else the file holds that is left aside.

    Raises: InputError: as `kintsugi.imaging.codec.decode_image`.
    """
    format = check_bytes(data, limits, name)
    _hush_pillow()
    try:
        if format == "tiff" and is_preview(data):
            raise raw_file(name)
        with Image.open(io.BytesIO(data), formats=[FORMATS[format].plugin]) as image:
            check_size(image.height, image.width, limits, name)
            if format == "tiff":
                _check_samples(image, name)
            notes = (*_frames(image, data, format), *_tail(data, format), *_channels(image, format))
            if draft_side and format == "jpeg":
                image.draft(None, (draft_side, draft_side))
            image.load()
            if format == "tiff" and image.mode.startswith("I;16"):
                _settle_grey(image)
            if format == "png":
                _settle_exif(image)
            if format == "png" and "transparency" in image.info:
                _settle_clear_colour(image, data)
    except Image.DecompressionBombError as error:
        raise too_many_pixels("more", limits, name) from error
    except UnidentifiedImageError as error:
        # What it is was known before: of these, Pillow knows no kind that it could be.
        raise undecodable(
            "its header is broken, or says samples that are not read", name
        ) from error
    except BROKEN_FILE_ERRORS as error:
        raise undecodable("its data is broken or cut short", name) from error
    return format, image, notes


def _check_samples(image: Image.Image, name: str) -> None:
    """Raises: InvalidInput `{name}_bit_depth`: a TIFF that every library here reads as noise."""
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits = tags.get(_BITS, (1,))
    if tags.get(_PLANES, 1) == _APART and max(bits) > 8:
        raise InvalidInput(
            f"the {name} has {max(bits)}-bit samples that are stored one colour after the other",
            code=f"{name}_bit_depth",
            hint="save it with its pixels interleaved (per pixel, not per channel), or with 8 bit",
        )


def _settle_grey(image: Image.Image) -> None:
    """Bring deep grey samples, which Pillow gives as they are stored, to 0 = black, 65535 = white.

    Fewer bits are spread so that each value comes back from its upper ones.
    """
    tags = image.tag_v2  # type: ignore[attr-defined]
    bits, is_negative = max(tags.get(_BITS, (16,))), tags.get(_PHOTOMETRIC) == _WHITE_IS_ZERO
    if bits == 16 and not is_negative:
        return
    samples = np.asarray(image)
    if bits < 16:
        samples = (samples << (16 - bits)) | (samples >> (2 * bits - 16))
    if is_negative:
        samples = 65_535 - samples
    image.frombytes(samples.astype(">u2" if image.mode == "I;16B" else "<u2").tobytes())


def _settle_exif(image: Image.Image) -> None:
    """Let Pillow turn by EXIF data under a name of older ImageMagicks, as other readers do."""
    text = image.info.get("Raw profile type APP1")
    if isinstance(text, str) and not {"exif", "Raw profile type exif"} & image.info.keys():
        exif = png_chunks.exif_of_app1(text)
        if exif:
            image.info["exif"] = exif


def _settle_clear_colour(image: Image.Image, data: bytes) -> None:
    """Make a PNG's transparent colour hold for its samples as Pillow gives them.

    The colour is stored in the file's own depth. Pillow compares it with samples that it has
    spread from 2 or 4 bits, or, of colour, cut from 16, and finds no pixel or a wrong one.
    """
    bits, colour = png_bit_depth(data), image.info["transparency"]
    if image.mode == "L" and bits < 8:
        image.info["transparency"] = (colour & (1 << bits) - 1) * 255 // ((1 << bits) - 1)
    elif image.mode == "RGB" and bits == 16:
        deep = read_deep(data, image.height, image.width)
        if deep is not None:
            del image.info["transparency"]
            seen = (deep[..., :3] != np.array(colour, np.uint16)).any(axis=2)
            image.putalpha(Image.fromarray(np.where(seen, np.uint8(255), np.uint8(0))))


def _frames(image: Image.Image, data: bytes, format: str) -> tuple[str, ...]:
    """What is said of a file with several pictures, which are not counted: there may be many."""
    if format == "tiff":
        several = read_decode_cost(data, format).frames > 1
    else:
        # A JPEG with several (MPO) is what phones write: the photograph first, then previews or
        # gain maps, which its segments name.
        several = format != "jpeg" and bool(getattr(image, "is_animated", False))
    return ("the first of its frames or pages is used",) if several else ()


def _tail(data: bytes, format: str) -> tuple[str, ...]:
    """What is said of bytes after the picture."""
    count = 0
    if format == "png":
        count = png_chunks.bytes_after_end(data)
    elif format == "jpeg":
        count = jpeg_segments.bytes_after_end(data)
    if count < 2:
        return ()
    return (f"{count} bytes after the end of the picture dropped",)


def _channels(image: Image.Image, format: str) -> tuple[str, ...]:
    """What is said of a TIFF's channels that are no colours, and of colours that are no RGB."""
    if format != "tiff":
        return ()
    tags = image.tag_v2  # type: ignore[attr-defined]
    meaning = tags.get(_PHOTOMETRIC)
    read = _COLOURS.get(meaning, 1) + (image.getbands()[-1] in ("A", "a"))
    notes = []
    if (more := int(tags.get(_CHANNELS, 1)) - read) > 0:
        notes.append(f"{more} channel{'s' if more > 1 else ''} next to the colours dropped")
    if meaning == _YCBCR:
        notes.append("YCbCr converted to RGB")
    return tuple(notes)


def _hush_pillow() -> None:
    """Silence what Pillow says of odd files by `warnings`: errors and notes say it here.

    The filter stays: switching filters to and fro (`catch_warnings`) is not
    safe when several threads decode.
    """
    for category in (UserWarning, RuntimeWarning):
        entry = ("ignore", None, category, re.compile(r"PIL\."), 0)
        if entry not in warnings.filters:
            warnings.filterwarnings("ignore", category=category, module=r"PIL\.")

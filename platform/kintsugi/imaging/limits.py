"""Which image files are accepted, and the errors that say why one is not; opens none.

Checks run from cheap to dear: length, kind by content, size from the header,
container. Nothing is decoded.
"""

from dataclasses import dataclass

from kintsugi.errors import InvalidInput, TooLarge, UnsupportedFormat
from kintsugi.imaging.decode_cost import DecodeCost, read_decode_cost
from kintsugi.imaging.formats import ALL_LABELS
from kintsugi.imaging.headers import (
    container_problem,
    declared_size,
    sniff_format,
)
from kintsugi.imaging.heif import reads_heif

# How files with places of eight bytes begin, in either order of bytes.
_BIG_TIFF = (b"II+\x00", b"MM\x00+")


@dataclass(frozen=True)
class ImageLimits:
    """What is accepted; checked before anything is decoded."""

    max_bytes: int = 1_000_000_000
    # Height x width as the header says: what is computed follows the hole, so this bounds only the
    # file's own pixels in memory. Above 178 million the imaging library's own guard against
    # decompression bombs refuses too.
    max_pixels: int = 170_000_000
    # Shorter side in pixels.
    min_side: int = 16
    # Passes over the pixels, in megapixels: a progressive JPEG of 31 MP may have 32 of them, where
    # cameras and editors write 10. Each costs about a millisecond of a processor per megapixel.
    max_scan_megapixels: float = 1_000
    max_scans: int = 64
    # A hundred megabytes in segments of 64 kB are 1,600. Readers join what is spread over several,
    # in time that grows with the square of how many there are.
    max_segments: int = 4_096
    # Parts in which a picture is stored, and pixels of one of them more than the picture has.
    max_tiles: int = 65_536
    max_tile_surplus: int = 2**22
    max_profile_bytes: int = 4 * 2**20


def check_bytes(data: bytes, limits: ImageLimits, name: str) -> str:
    """Check all that can be checked without opening the file.

    Args:
        data: The file.
        limits: What it is held against.
        name: What messages and codes call it, such as "image" or "mask".

    Returns: the format.

    Raises: InvalidInput, TooLarge, UnsupportedFormat: with the value and the limit.
    """
    format, _ = check_header(data, limits, name)
    problem = container_problem(data, format)
    if problem is not None:
        raise undecodable(problem, name)
    return format


def check_header(data: bytes, limits: ImageLimits, name: str) -> tuple[str, DecodeCost]:
    """Check what the header says, in time that does not grow with what it claims.

    Args and errors: as `check_bytes`.

    Returns: The format, and what decoding takes by the header.
    """
    if not data:
        raise InvalidInput(
            f"the {name} is empty", code=f"{name}_empty_file", hint="send the bytes of a file"
        )
    check_length(len(data), limits, name)
    format = sniff_format(data)
    if data[:4] in _BIG_TIFF:
        raise UnsupportedFormat(
            f"the {name} is a BigTIFF, which is not read",
            code=f"{name}_format_not_allowed",
            hint="save it as a TIFF of the usual kind, which holds 4 GB, or as PNG",
        )
    if format is None:
        raise UnsupportedFormat(
            f"the {name} is none of {ALL_LABELS}",
            code=f"{name}_format_not_allowed",
            hint="the kind is read from the content, not from the file's name: convert it first",
        )
    if format == "heif" and not reads_heif():
        raise UnsupportedFormat(
            f"the {name} is HEIC, which is not read here",
            code=f"{name}_format_not_allowed",
            hint="save it as JPEG; or whoever runs this installs the extra heic (pillow-heif)",
        )
    size = declared_size(data, format)
    if size is not None:
        check_size(*size, limits, name)
    cost = read_decode_cost(data, format)
    _check_cost(cost, limits, name)
    return format, cost


def check_length(length: int, limits: ImageLimits, name: str) -> None:
    """Check how many bytes a file has, which may be known before it is read.

    Raises: TooLarge: with the value and the limit.
    """
    if length > limits.max_bytes:
        raise TooLarge(
            f"the {name} has {length} bytes, the limit is {limits.max_bytes}",
            code=f"{name}_too_large",
            hint="send a smaller file",
        )


def check_size(height: int, width: int, limits: ImageLimits, name: str) -> None:
    """Check sides in pixels. Raises: InvalidInput, TooLarge: none, too many, or one too short."""
    if height <= 0 or width <= 0:
        raise undecodable(f"its header says {width}x{height} px", name)
    if height * width > limits.max_pixels:
        raise too_many_pixels(f"{width}x{height} = {height * width}", limits, name)
    if min(height, width) < limits.min_side:
        raise InvalidInput(
            f"the {name} is {width}x{height} px, the shorter side must have {limits.min_side}",
            code=f"{name}_too_small",
            hint="send a larger one",
        )


def _check_cost(cost: DecodeCost, limits: ImageLimits, name: str) -> None:
    """Refuse a file that says itself that it would take more than any photograph."""
    if cost.problem:
        raise too_costly(cost.problem, name)
    if cost.size is not None:
        check_size(*cost.size, limits, name)
    if cost.scans > limits.max_scans:
        raise too_costly(f"it has {cost.scans} scans, the limit is {limits.max_scans}", name)
    if cost.segments > limits.max_segments:
        raise too_costly(
            f"it is in {cost.segments} segments, the limit is {limits.max_segments}", name
        )
    if cost.scan_megapixels > limits.max_scan_megapixels:
        raise too_costly(
            f"it has {cost.scans} scans of {cost.pixels / 1e6:.1f} megapixels, the limit is"
            f" {limits.max_scan_megapixels:g} megapixels in all scans together",
            name,
        )
    if cost.tiles > limits.max_tiles:
        raise too_costly(f"it is in {cost.tiles} parts, the limit is {limits.max_tiles}", name)
    if cost.largest_tile > cost.pixels + limits.max_tile_surplus:
        raise too_costly(
            f"one of its tiles has {cost.largest_tile} px, more than the whole picture", name
        )
    if cost.profile_bytes > limits.max_profile_bytes:
        raise too_costly(
            f"its colour profile has {cost.profile_bytes} bytes, the limit is"
            f" {limits.max_profile_bytes}",
            name,
        )


def too_costly(why: str, name: str) -> InvalidInput:
    """The error for a file whose decoding would take too much time or memory."""
    return InvalidInput(
        f"the {name} takes too much to decode: {why}",
        code=f"{name}_too_costly",
        hint="open it in an image viewer and save it again, as PNG or as a JPEG that is not"
        " progressive",
    )


def undecodable(why: str, name: str) -> InvalidInput:
    """The error for a file that no decoder can read."""
    return InvalidInput(
        f"the {name} cannot be decoded: {why}",
        code=f"{name}_undecodable",
        hint="open it in an image viewer and save it again",
    )


def too_many_pixels(has: str, limits: ImageLimits, name: str) -> InvalidInput:
    """The error for an image that is too large; ``has`` says how large it is."""
    return InvalidInput(
        f"the {name} has too many pixels: {has}, the limit is {limits.max_pixels}",
        code=f"{name}_too_many_pixels",
        hint="scale it down",
    )


def raw_file(name: str) -> UnsupportedFormat:
    """The error for a camera's raw file."""
    return UnsupportedFormat(
        f"the {name} is a camera's raw file, of which only a preview can be read",
        code=f"{name}_format_not_allowed",
        hint="develop it first: save it as TIFF with 16 bits, PNG or JPEG",
    )

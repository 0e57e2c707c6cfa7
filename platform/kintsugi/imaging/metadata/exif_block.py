"""EXIF made true of an upright, changed picture; knows no file format around it.

It is corrected in place: cameras' own notes hold offsets, which would be wrong in a block that is
rewritten.
"""

import struct

from kintsugi.imaging.metadata.tiff_ifds import (
    EXIF,
    GPS,
    Directory,
    byte_order,
    rational,
    read_first,
    shorts,
    write_block,
)

_ORIENTATION, _WIDTH, _HEIGHT = 274, 0xA002, 0xA003
# Where a thumbnail is and how long: a JPEG, or samples in strips.
_THUMBNAILS = ((513, 514), (273, 279))
_X_RESOLUTION, _Y_RESOLUTION, _RESOLUTION_UNIT, _INCH = 282, 283, 296, 2
# Tags of a TIFF's own directory that EXIF holds, too: names, dates, rights, resolution,
# Windows' tags.
DESCRIBING = frozenset(
    {269, 270, 271, 272, 274, 282, 283, 296, 305, 306, 315, 316, 318, 319, 529, 532, 33432}
    | {18246, 18249, 40091, 40092, 40093, 40094, 40095, 36867, 50341}
)
_PREFIX = b"Exif\0\0"


def without_prefix(block: bytes) -> bytes:
    """As TIFF begins; JPEG and some writers of WebP put six bytes in front."""
    return block.removeprefix(_PREFIX)


def made_upright(block: bytes, *, turned: bool) -> bytes:
    """Orientation 1, no thumbnail, which would show what was there before; sides swapped.

    Args:
        block: As TIFF begins.
        turned: Whether the picture was turned by a quarter.

    Raises: ValueError: it is broken.
    """
    order, data = byte_order(block), bytearray(block)
    try:
        (at,) = struct.unpack_from(f"{order}I", data, 4)
        places = _places(data, order, at)
        if _ORIENTATION in places:
            struct.pack_into(f"{order}H", data, places[_ORIENTATION], 1)
        if turned and EXIF in places:
            _swap_sides(data, order, struct.unpack_from(f"{order}I", data, places[EXIF])[0])
        return bytes(_without_thumbnail(data, order, at))
    except struct.error as error:
        raise ValueError("a directory lies outside it") from error


def exif_of_tiff(data: bytes) -> bytes:
    """The EXIF data of a TIFF file, as another format stores it. Raises: ValueError."""
    order, first = byte_order(data), read_first(data)
    entries = {tag: each for tag, each in first.entries.items() if tag in DESCRIBING}
    children = {tag: each for tag, each in first.children.items() if tag in (EXIF, GPS)}
    if not children and not entries.keys() - {274, 282, 283, 296}:
        return b""
    return write_block(order, Directory(entries, children))


def with_resolution(block: bytes, dpi: tuple[float, float]) -> bytes:
    """For a format that keeps the resolution nowhere else. Raises: ValueError."""
    order = byte_order(block) if block else ">"
    first = read_first(block) if block else Directory()
    if _X_RESOLUTION in first.entries:
        return block
    entries = {
        **first.entries,
        _X_RESOLUTION: rational(order, dpi[0]),
        _Y_RESOLUTION: rational(order, dpi[1]),
        _RESOLUTION_UNIT: shorts(order, _INCH),
    }
    return write_block(order, Directory(entries, first.children))


def _places(data: bytearray, order: str, at: int) -> dict[int, int]:
    """Where the value of each tag of a directory stands, or its offset."""
    (count,) = struct.unpack_from(f"{order}H", data, at)
    tags: dict[int, int] = {}
    for index in range(count):
        entry = at + 2 + 12 * index
        (tag,) = struct.unpack_from(f"{order}H", data, entry)
        struct.unpack_from(f"{order}HI", data, entry + 2)
        tags[tag] = entry + 8
    return tags


def _swap_sides(data: bytearray, order: str, at: int) -> None:
    places = _places(data, order, at)
    if _WIDTH not in places or _HEIGHT not in places:
        return
    # Type, count and value: one may be a SHORT and the other a LONG.
    width, height = places[_WIDTH] - 6, places[_HEIGHT] - 6
    held = bytes(data[width : width + 10])
    data[width : width + 10] = data[height : height + 10]
    data[height : height + 10] = held


def _without_thumbnail(data: bytearray, order: str, at: int) -> bytearray:
    (count,) = struct.unpack_from(f"{order}H", data, at)
    link = at + 2 + 12 * count
    if link + 4 > len(data):
        return data
    (second,) = struct.unpack_from(f"{order}I", data, link)
    struct.pack_into(f"{order}I", data, link, 0)
    if not 8 <= second <= len(data) - 2:
        return data
    places = _places(data, order, second)
    for at_tag, bytes_tag in _THUMBNAILS:
        if at_tag in places and bytes_tag in places:
            starts, sizes = (_numbers(data, order, places[tag]) for tag in (at_tag, bytes_tag))
            for start, size in zip(starts, sizes, strict=False):
                _cut_out(data, start, size, behind=second)
    return data


def _numbers(data: bytearray, order: str, place: int) -> tuple[int, ...]:
    """The SHORTs or LONGs of an entry whose value stands at a place."""
    kind, count = struct.unpack_from(f"{order}HI", data, place - 6)
    letter, each = ("H", 2) if kind == 3 else ("I", 4)
    if each * count > 4:
        (place,) = struct.unpack_from(f"{order}I", data, place)
    return struct.unpack_from(f"{order}{min(count, len(data))}{letter}", data, place)


def _cut_out(data: bytearray, start: int, size: int, *, behind: int) -> None:
    """Take bytes out of the end of a block, or blank them, so that no offset changes."""
    if start + size >= len(data) and start > behind:
        del data[start:]
    else:
        end = min(start + size, len(data))
        data[start:end] = bytes(max(0, end - start))

"""What decoding the first picture of a TIFF takes, by its directory."""

import struct
from bisect import bisect_left
from collections.abc import Iterator
from typing import NamedTuple

from kintsugi.imaging.costs.cost import MOST_PARTS, DecodeCost

# What a size may be stored as: also with a sign, or in eight bytes.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
_OLD_JPEG, _JPEG = 6, 7
_MOST_ENTRIES = 1_000
# Start of a scan, and the most that are looked at one by one.
_SCAN = b"\xff\xda"
_MOST_SCANS = 8 * MOST_PARTS
_WIDTH, _HEIGHT, _COMPRESSION, _ROWS = 256, 257, 259, 278
_STRIPS, _STRIP_BYTES = 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
_PROFILE = 34675
_PRICED = {
    *(_WIDTH, _HEIGHT, _COMPRESSION, _ROWS, _STRIPS, _STRIP_BYTES),
    *(_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _PROFILE),
}


class _Entry(NamedTuple):
    """Values of a tag: their format in `struct`, how many, and where the first one is."""

    letter: str
    number: int
    at: int


def tiff_cost(data: bytes) -> DecodeCost:
    """The cost of the page that its header names."""
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    if count > _MOST_ENTRIES:
        return DecodeCost(problem=f"its directory has {count} entries")
    entries: dict[int, _Entry] = {}
    for tag, entry in _directory(data, order, first + 2, count):
        if tag in _PRICED and tag in entries:
            # One library takes the first, another one the last.
            return DecodeCost(problem=f"its directory has the tag {tag} twice")
        entries[tag] = entry
    (second,) = struct.unpack_from(f"{order}I", data, first + 2 + 12 * count)

    def value(tag: int, otherwise: int = 0) -> int:
        return next(_values(data, order, entries.get(tag)), otherwise)

    height, width = value(_HEIGHT), value(_WIDTH)
    tiled = _TILE_WIDTH in entries or _TILES in entries
    if tiled:
        parts, sizes = entries.get(_TILES), entries.get(_TILE_BYTES)
        largest = value(_TILE_WIDTH) * value(_TILE_HEIGHT)
    else:
        parts, sizes = entries.get(_STRIPS), entries.get(_STRIP_BYTES)
        largest = width * min(value(_ROWS, height), height)
    tiles = max(1, parts.number if parts else 1)
    compression = value(_COMPRESSION)
    if compression == _JPEG and data.count(_SCAN) > _MOST_SCANS:
        return DecodeCost((height, width), problem=f"it has more than {_MOST_SCANS} scans")
    # Each tile of a JPEG in a TIFF has scans of its own, and several may share their bytes.
    scans = 1
    if compression == _OLD_JPEG:
        scans = data.count(_SCAN)
    elif compression == _JPEG and tiles <= MOST_PARTS:
        scans = -(-_scans(data, _values(data, order, parts), _values(data, order, sizes)) // tiles)
    return DecodeCost(
        (height, width),
        scans=max(1, scans),
        frames=2 if second else 1,
        largest_tile=largest,
        tiles=tiles,
        profile_bytes=entries[_PROFILE].number if _PROFILE in entries else 0,
    )


def _directory(data: bytes, order: str, position: int, count: int) -> Iterator[tuple[int, _Entry]]:
    for at in range(position, position + 12 * count, 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, at)
        letter = _TYPES.get(kind, "")
        where = at + 8
        if letter and struct.calcsize(letter) * values > 4:
            (where,) = struct.unpack_from(f"{order}I", data, where)
        yield tag, _Entry(letter, values, where)


def _values(data: bytes, order: str, entry: _Entry | None) -> Iterator[int]:
    """Those of a whole number, as far as the file holds them."""
    if entry is None or not entry.letter:
        return
    size = struct.calcsize(entry.letter)
    for index in range(min(entry.number, MOST_PARTS)):
        at = entry.at + index * size
        if at + size > len(data):
            return
        (value,) = struct.unpack_from(f"{order}{entry.letter}", data, at)
        yield value


def _scans(data: bytes, starts: Iterator[int], sizes: Iterator[int]) -> int:
    """Scans of all tiles: of each those between its first byte and its last."""
    found, position = [], data.find(_SCAN)
    while position >= 0:
        found.append(position)
        position = data.find(_SCAN, position + 2)
    return sum(
        bisect_left(found, start + size) - bisect_left(found, start)
        for start, size in zip(starts, sizes, strict=False)
    )

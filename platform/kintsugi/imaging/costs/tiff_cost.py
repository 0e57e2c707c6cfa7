"""What decoding the first picture of a TIFF takes, by its directory."""

import struct
from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import chain, repeat
from typing import NamedTuple

from kintsugi.imaging.costs.cost import MOST_PARTS, DecodeCost

# What a size may be stored as: also with a sign, or in eight bytes.
_TYPES = {1: "B", 3: "H", 4: "I", 6: "b", 8: "h", 9: "i", 16: "Q", 17: "q"}
_OLD_JPEG, _JPEG = 6, 7
_MOST_ENTRIES = 1_000
# Start of a scan, and the most that are looked at one by one.
_SCAN = b"\xff\xda"
_MOST_SCANS = 8 * MOST_PARTS
_WIDTH, _HEIGHT, _BITS, _COMPRESSION, _ROWS = 256, 257, 258, 259, 278
_EXTRA = 338
_STRIPS, _STRIP_BYTES = 273, 279
_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES = 322, 323, 324, 325
# Where the stream of an old-style JPEG is, or at least its tables.
_STREAM, _STREAM_BYTES = 513, 514
_PROFILE = 34675
_PRICED = {
    *(_WIDTH, _HEIGHT, _BITS, _EXTRA, _COMPRESSION, _ROWS, _STRIPS, _STRIP_BYTES),
    *(_TILE_WIDTH, _TILE_HEIGHT, _TILES, _TILE_BYTES, _PROFILE),
    *(_STREAM, _STREAM_BYTES),
}


class _Entry(NamedTuple):
    """Values of a tag: their format in `struct`, how many, and where the first one is."""

    letter: str
    number: int
    at: int


@dataclass(frozen=True)
class _Page:
    """What one directory says of its picture."""

    data: bytes
    order: str
    entries: Mapping[int, _Entry]

    def value(self, tag: int, otherwise: int = 0) -> int:
        """The first one."""
        return next(self.values(tag), otherwise)

    def values(self, tag: int) -> Iterator[int]:
        """Those of a whole number, as far as the file holds them."""
        entry = self.entries.get(tag)
        if entry is None or not entry.letter:
            return
        size = struct.calcsize(entry.letter)
        for index in range(min(entry.number, MOST_PARTS)):
            at = entry.at + index * size
            if at + size > len(self.data):
                return
            (value,) = struct.unpack_from(f"{self.order}{entry.letter}", self.data, at)
            yield value


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
    page, end = _Page(data, order, entries), first + 2 + 12 * count
    height, width = page.value(_HEIGHT), page.value(_WIDTH)
    tiled = _TILE_WIDTH in entries or _TILES in entries
    if tiled:
        across, down = page.value(_TILE_WIDTH), page.value(_TILE_HEIGHT)
    else:
        across, down = width, min(page.value(_ROWS, height), height)
    # libtiff takes the places of strips for those of tiles, and the other way round.
    as_tiles = _TILES in entries and (tiled or _STRIPS not in entries)
    places = (_TILES, _TILE_BYTES) if as_tiles else (_STRIPS, _STRIP_BYTES)
    tiles = max(1, entries[places[0]].number if places[0] in entries else 1)
    scans, compression = 1, page.value(_COMPRESSION)
    if compression in (_OLD_JPEG, _JPEG):
        if data.count(_SCAN) > _MOST_SCANS:
            return DecodeCost((height, width), problem=f"it has more than {_MOST_SCANS} scans")
        if tiles <= MOST_PARTS:
            # More tiles than the picture has room for are not decoded.
            room = -(-width // across) * -(-height // down) if across > 0 < down else 1
            scans = _scans(page, places, max(1, min(tiles, room)))
    return DecodeCost(
        (height, width),
        scans=max(1, scans),
        # A file may end with its last directory, and name no next one.
        frames=2 if any(data[end : end + 4]) else 1,
        largest_tile=across * down,
        tiles=tiles,
        bits=max(1, page.value(_BITS, 1)),
        has_alpha=_EXTRA in entries,
        profile_bytes=entries[_PROFILE].number if _PROFILE in entries else 0,
    )


def _directory(data: bytes, order: str, position: int, count: int) -> Iterator[tuple[int, _Entry]]:
    """(tag, entry) of each, as far as the file holds them."""
    for at in range(position, min(position + 12 * count, len(data) - 11), 12):
        tag, kind, values = struct.unpack_from(f"{order}HHI", data, at)
        letter = _TYPES.get(kind, "")
        where = at + 8
        if letter and struct.calcsize(letter) * values > 4:
            (where,) = struct.unpack_from(f"{order}I", data, where)
        yield tag, _Entry(letter, values, where)


def _scans(page: _Page, places: tuple[int, int], tiles: int) -> int:
    """How often all pixels are gone over: each tile of a JPEG has scans of its own.

    Several tiles may share their bytes. One without a size goes on to the end of the file: so
    libtiff takes it.
    """
    found, position = [], page.data.find(_SCAN)
    while position >= 0:
        found.append(position)
        position = page.data.find(_SCAN, position + 2)

    def counted(starts: int, sizes: int) -> int:
        return sum(
            bisect_left(found, start + size if size > 0 else len(page.data))
            - bisect_left(found, start)
            for start, size in zip(
                page.values(starts), chain(page.values(sizes), repeat(0)), strict=False
            )
        )

    scans = -(-counted(*places) // tiles)
    if page.value(_COMPRESSION) == _OLD_JPEG:
        scans += counted(_STREAM, _STREAM_BYTES)
    return scans

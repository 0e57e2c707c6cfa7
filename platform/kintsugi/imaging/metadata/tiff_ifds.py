"""The directories of TIFF, which EXIF is, too: bytes to entries and back; knows no pixels.

Values stay as they are, in the byte order of their file: what is not understood is kept.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass, field

# Bytes of a value by its type: BYTE, ASCII, SHORT, LONG, RATIONAL, ...
_TYPE_BYTES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8, 13: 4}
EXIF, GPS, INTEROPERABILITY = 34665, 34853, 40965
_POINTERS = {EXIF, GPS, INTEROPERABILITY}
_SHORT, _LONG = 3, 4
# Deeper than any file of ours; a directory may point at itself.
_MOST_DEPTH = 4
_MOST_ENTRIES = 4096


@dataclass(frozen=True)
class Entry:
    """One tag's value: its type, how many, and their bytes."""

    type: int
    count: int
    value: bytes


@dataclass(frozen=True)
class Directory:
    """Entries by tag, and directories that a tag points to."""

    entries: Mapping[int, Entry] = field(default_factory=dict)
    children: Mapping[int, "Directory"] = field(default_factory=dict)

    def without(self, tags: frozenset[int]) -> "Directory":
        """All but some tags."""
        return Directory(
            {tag: each for tag, each in self.entries.items() if tag not in tags},
            {tag: each for tag, each in self.children.items() if tag not in tags},
        )


def byte_order(block: bytes) -> str:
    """`<` or `>`. Raises: ValueError: this is no TIFF."""
    if block[:4] == b"II*\x00":
        return "<"
    if block[:4] == b"MM\x00*":
        return ">"
    raise ValueError("it does not begin as TIFF does")


def read_first(block: bytes) -> Directory:
    """The first directory of a TIFF, with those it points to. Raises: ValueError."""
    order = byte_order(block)
    try:
        (at,) = struct.unpack_from(f"{order}I", block, 4)
        return _read(block, order, at, 0)
    except struct.error as error:
        raise ValueError("a directory lies outside it") from error


def write_block(order: str, directory: Directory) -> bytes:
    """A TIFF of a directory alone, as EXIF is stored."""
    return header(order, 8) + directory_at(order, directory, 8)


def header(order: str, at: int) -> bytes:
    """The first eight bytes of a TIFF whose directory lies at a place."""
    return (b"II*\x00" if order == "<" else b"MM\x00*") + struct.pack(f"{order}I", at)


def directory_at(order: str, directory: Directory, at: int) -> bytes:
    """A directory as it is stored at a place, with all it points to."""
    tags = sorted({*directory.entries, *directory.children})
    heap_at, heap, table = at + 2 + 12 * len(tags) + 4, bytearray(), bytearray()
    for tag in tags:
        child = directory.children.get(tag)
        if child is not None:
            place = heap_at + len(heap)
            heap += directory_at(order, child, place)
            entry = Entry(_LONG, 1, struct.pack(f"{order}I", place))
        else:
            entry = directory.entries[tag]
        table += struct.pack(f"{order}HHI", tag, entry.type, entry.count)
        if len(entry.value) <= 4:
            table += entry.value.ljust(4, b"\0")
        else:
            table += struct.pack(f"{order}I", heap_at + len(heap))
            heap += entry.value + b"\0" * (len(entry.value) % 2)
    return struct.pack(f"{order}H", len(tags)) + bytes(table) + b"\0" * 4 + bytes(heap)


def shorts(order: str, *values: int) -> Entry:
    """Numbers below 65536."""
    return Entry(_SHORT, len(values), struct.pack(f"{order}{len(values)}H", *values))


def longs(order: str, *values: int) -> Entry:
    """Numbers below 2**32."""
    return Entry(_LONG, len(values), struct.pack(f"{order}{len(values)}I", *values))


def rational(order: str, value: float) -> Entry:
    """A fraction, to a ten-thousandth."""
    whole = round(value * 10_000)
    top, bottom = (whole // 10_000, 1) if whole % 10_000 == 0 else (whole, 10_000)
    return Entry(5, 1, struct.pack(f"{order}II", top, bottom))


def undefined(value: bytes) -> Entry:
    """Bytes of no further meaning here."""
    return Entry(7, len(value), value)


def number(order: str, entry: Entry | None) -> int | None:
    """The first number of a SHORT or LONG."""
    if entry is None or entry.type not in (_SHORT, _LONG) or not entry.count:
        return None
    code = "H" if entry.type == _SHORT else "I"
    value: int = struct.unpack_from(order + code, entry.value)[0]
    return value


def _read(block: bytes, order: str, at: int, depth: int) -> Directory:
    (count,) = struct.unpack_from(f"{order}H", block, at)
    if count > _MOST_ENTRIES or depth > _MOST_DEPTH:
        raise ValueError("it has more directories than a photograph's")
    entries: dict[int, Entry] = {}
    children: dict[int, Directory] = {}
    for index in range(count):
        tag, kind, number_of = struct.unpack_from(f"{order}HHI", block, at + 2 + 12 * index)
        size = _TYPE_BYTES.get(kind, 0) * number_of
        place = at + 10 + 12 * index
        if size > 4:
            (place,) = struct.unpack_from(f"{order}I", block, place)
        if not size or place + size > len(block):
            # Cut short, or of a type that nobody defined: other entries are good all the same.
            continue
        entry = Entry(kind, number_of, block[place : place + size])
        pointed = number(order, entry) if tag in _POINTERS else None
        if pointed is None:
            entries[tag] = entry
        elif pointed + 2 <= len(block):
            children[tag] = _read(block, order, pointed, depth + 1)
    return Directory(entries, children)

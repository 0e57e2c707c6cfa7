"""What decoding the main picture of a HEIC or AVIF takes: every picture that it is made of.

A grid of small size may be made of large tiles, and name one of them many times. Transparency is a
picture of its own, which points to the one that it belongs to. What an AVIF's
boxes call small is decoded at the size that its sequence header says, and scaled; libheif refuses
the same of a HEIC by itself.
"""

import struct
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial

from kintsugi.imaging.costs.av1_size import TooManyUnits, av1_sizes
from kintsugi.imaging.costs.boxes import walk_boxes
from kintsugi.imaging.costs.cost import MOST_PARTS, DecodeCost

# Of what a `meta` has no two, nor a file two of it: one reader takes the first, another the last.
_ONCE = {b"pitm", b"iinf", b"iloc", b"iprp", b"iref", b"idat"}
# The boxes on the way to a sequence's samples; and what says where chunks of them begin, and how.
_TRACKS = dict.fromkeys((b"moov", b"trak", b"mdia", b"minf", b"stbl"), 0)
_CHUNKS = {b"stco": ">I", b"co64": ">Q"}
# More pixels than any limit.
_ENDLESS = 2**62

_Size = tuple[int, int]
_Place = tuple[int, int]


class _NotHonest(ValueError):
    """What no honest file has, as the end of a sentence."""


@dataclass
class _Items:
    """What the boxes say of a file's pictures, by their number; sizes are (height, width).

    Attributes:
        properties: The size that each property is; None for another kind of property.
        made_of: The pictures that each is made of, as often as they are named.
        joined: Those that are decoded with each because they point to it, such as transparency.
        places: Where the bytes of each are: from, to.
        extents: How many pieces the places are said to be in, all together.
    """

    main: int | None = None
    count: int = 1
    kinds: dict[int, bytes] = field(default_factory=dict)
    properties: list[_Size | None] = field(default_factory=list)
    sizes: dict[int, set[_Size]] = field(default_factory=lambda: defaultdict(set))
    made_of: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    joined: dict[int, list[int]] = field(default_factory=lambda: defaultdict(list))
    places: dict[int, list[_Place]] = field(default_factory=lambda: defaultdict(list))
    extents: int = 0
    profile_bytes: int = 0


@dataclass
class _Track:
    """Where the first chunk of a track begins, and bytes of its first sample, as often as said."""

    is_av1: bool = False
    starts: list[int] = field(default_factory=list)
    sizes: list[int] = field(default_factory=list)


def heif_cost(data: bytes) -> DecodeCost:
    """The cost of the main picture."""
    items, problem = _Items(), ""
    tracks: list[_Size] = []
    try:
        _read(data, items)
        _check_pictures(data, items)
        tracks += _track_sizes(data)
    except (_NotHonest, TooManyUnits) as error:
        problem = str(error)
    known = [size for size in items.properties if size is not None] + tracks
    largest = max(known, key=lambda size: size[0] * size[1], default=None)
    pixels, scans = largest[0] * largest[1] if largest else 0, 1
    if pixels and items.main is not None:
        scans = max(1, -(-_decoded_pixels(items, items.main, {}) // pixels))
    return DecodeCost(
        largest,
        scans=scans,
        tiles=items.count,
        profile_bytes=items.profile_bytes,
        problem=problem,
    )


def _read(data: bytes, items: _Items) -> None:
    """Read all boxes. Raises: _NotHonest."""
    readers: dict[bytes, Callable[[bytes, int, int, _Items], None]] = {
        b"pitm": _read_main,
        b"iinf": _read_kinds,
        b"iref": _read_references,
        b"iprp": _read_properties,
    }
    (meta,) = _boxes(data, 0, len(data), {b"meta"})[b"meta"] or [(0, 0)]
    boxes = _boxes(data, meta[0] + 4, meta[1], _ONCE)
    own_data = boxes[b"idat"][0][0] if boxes[b"idat"] else 0
    readers[b"iloc"] = partial(_read_places, own_data=own_data)
    for kind, read in readers.items():
        for start, end in boxes[kind]:
            # What is cut short is found by the decoder, too, and the others count all the same.
            with suppress(struct.error, IndexError):
                read(data, start, end, items)


def _boxes(data: bytes, start: int, end: int, once: Collection[bytes]) -> dict[bytes, list[_Place]]:
    """Where the boxes of each kind are that lie next to one another, without those in them.

    Raises: _NotHonest: there are too many, or two of a kind that there is ``once``.
    """
    found: dict[bytes, list[_Place]] = defaultdict(list)
    for parts, (kind, at, stop) in enumerate(walk_boxes(data, {}, start, end), start=1):
        if parts > MOST_PARTS:
            raise _NotHonest(f"it is in more than {MOST_PARTS} boxes")
        if kind in once and found[kind]:
            raise _NotHonest(f"it has two boxes of the kind {kind.decode()}")
        found[kind].append((at, stop))
    return found


def _check_pictures(data: bytes, items: _Items) -> None:
    """Raises: _NotHonest, TooManyUnits: something is wrong with the pictures themselves."""
    ranges = [place for places in items.places.values() for place in places]
    if sum(end - start for start, end in ranges) > 2 * len(data):
        raise _NotHonest("its pictures share their bytes")
    for item, places in items.places.items():
        if items.kinds.get(item) != b"av01" or not items.sizes[item]:
            continue
        parts = [memoryview(data)[start:end] for start, end in places]
        for size in av1_sizes(parts[0] if len(parts) == 1 else memoryview(b"".join(parts))):
            if items.sizes[item] != {size}:
                raise _NotHonest("its boxes name another size than its picture has")


def _track_sizes(data: bytes) -> Iterator[_Size]:
    """By the first sample of each track: of an AVIF sequence it is decoded, and no item is.

    Raises: _NotHonest, TooManyUnits.
    """
    tracks: list[_Track] = []
    for parts, (kind, at, stop) in enumerate(walk_boxes(data, _TRACKS), start=1):
        if parts > MOST_PARTS:
            raise _NotHonest(f"it is in more than {MOST_PARTS} boxes")
        if kind == b"trak":
            tracks.append(_Track())
        elif not tracks:
            continue
        elif kind in _CHUNKS and stop - at >= 8 + struct.calcsize(_CHUNKS[kind]):
            tracks[-1].starts.extend(struct.unpack_from(_CHUNKS[kind], data, at + 8))
        elif kind == b"stsz" and stop - at >= 12:
            # One size for all, or a list of them.
            (size,) = struct.unpack_from(">I", data, at + 4)
            if not size and stop - at >= 16:
                (size,) = struct.unpack_from(">I", data, at + 12)
            tracks[-1].sizes.append(size)
        elif kind == b"stsd":
            tracks[-1].is_av1 |= data.find(b"av01", at, stop) >= 0
    tracks = [track for track in tracks if track.is_av1]
    if sum(len(track.starts) * sum(track.sizes) for track in tracks) > 2 * len(data):
        raise _NotHonest("its pictures share their bytes")
    for track in tracks:
        for start in track.starts:
            for size in track.sizes:
                yield from av1_sizes(memoryview(data)[start : start + size])


def _decoded_pixels(items: _Items, item: int, known: dict[int, int], depth: int = 0) -> int:
    """Pixels of all pictures that one is made of or decoded with, each as often as it is named."""
    if item not in known:
        # Until it is known: one that is made of itself has no end.
        known[item] = _ENDLESS
        if depth > 16:
            return _ENDLESS
        parts = items.made_of.get(item, [])
        found = 0
        if not parts:
            found = max((h * w for h, w in items.sizes.get(item, ())), default=0)
        for part in parts + items.joined.get(item, []):
            found += _decoded_pixels(items, part, known, depth + 1)
        known[item] = min(found, _ENDLESS)
    return known[item]


def _size(data: bytes, start: int) -> _Size:
    width, height = struct.unpack_from(">II", data, start + 4)
    return height, width


def _read_main(data: bytes, start: int, end: int, items: _Items) -> None:
    """`pitm`: the picture that is shown."""
    (items.main,) = struct.unpack_from(">I" if data[start] else ">H", data, start + 4)


def _read_kinds(data: bytes, start: int, end: int, items: _Items) -> None:
    """`iinf`: how many items there are, and of which kind each is."""
    wide = data[start] != 0
    (items.count,) = struct.unpack_from(">I" if wide else ">H", data, start + 4)
    listed = start + (8 if wide else 6)
    for number, (kind, at, stop) in enumerate(walk_boxes(data, {}, listed, end)):
        if number > MOST_PARTS:
            return
        if kind == b"infe" and data[at] >= 2 and stop - at >= 12:
            long = data[at] > 2
            (item,) = struct.unpack_from(">I" if long else ">H", data, at + 4)
            where = at + (10 if long else 8)
            items.kinds[item] = data[where : where + 4]


def _read_references(data: bytes, start: int, end: int, items: _Items) -> None:
    """`iref`: what items are made of (`dimg`), and to which ones they belong (`auxl`).

    Numbers have two bytes, or four in version 1.
    """
    letter = "I" if data[start] else "H"
    width = struct.calcsize(f">{letter}")
    boxes = _boxes(data, start + 4, end, ())
    for kind in (b"dimg", b"auxl"):
        for at, _ in boxes[kind]:
            with suppress(struct.error):
                source, count = struct.unpack_from(f">{letter}H", data, at)
                named = struct.unpack_from(f">{count}{letter}", data, at + width + 2)
                if kind == b"dimg":
                    items.made_of[source] += named
                else:
                    for item in named:
                        items.joined[item].append(source)


def _read_properties(data: bytes, start: int, end: int, items: _Items) -> None:
    """`iprp`: sizes and profiles (`ipco`), and which of them an item has (`ipma`)."""
    boxes = _boxes(data, start, end, {b"ipco"})
    for listed in boxes[b"ipco"]:
        for parts, (kind, at, stop) in enumerate(walk_boxes(data, {}, *listed), start=1):
            if parts > MOST_PARTS:
                raise _NotHonest(f"it is in more than {MOST_PARTS} boxes")
            sized = kind == b"ispe" and stop - at >= 12
            items.properties.append(_size(data, at) if sized else None)
            if kind == b"colr" and data[at : at + 4] in (b"prof", b"rICC"):
                items.profile_bytes += stop - at
    for at, stop in boxes[b"ipma"]:
        with suppress(struct.error, IndexError):
            _read_links(data, at, stop, items)


def _read_links(data: bytes, start: int, end: int, items: _Items) -> None:
    """`ipma`: which properties an item has."""
    wide, long = data[start] > 0, data[start + 3] & 1
    (entries,) = struct.unpack_from(">I", data, start + 4)
    at = start + 8
    for _ in range(min(entries, MOST_PARTS)):
        if at >= end:
            return
        item, count = struct.unpack_from(">IB" if wide else ">HB", data, at)
        at += 5 if wide else 3
        numbers = struct.unpack_from(f">{count}{'H' if long else 'B'}", data, at)
        at += count * (2 if long else 1)
        for number in numbers:
            # The first bit says whether it may be passed over.
            index = (number & (0x7FFF if long else 0x7F)) - 1
            size = items.properties[index] if 0 <= index < len(items.properties) else None
            if size is not None:
                items.sizes[item].add(size)


def _read_places(data: bytes, start: int, end: int, items: _Items, own_data: int) -> None:
    """`iloc`: where the bytes of each item are in the file, or behind ``own_data`` (`idat`)."""
    version = data[start]
    sizes, more = data[start + 4], data[start + 5]
    offset, length, base, index = sizes >> 4, sizes & 15, more >> 4, more & 15 if version else 0
    (count,) = struct.unpack_from(">I" if version == 2 else ">H", data, start + 6)
    numbers = _Numbers(data, start + (10 if version == 2 else 8), end)
    for _ in range(min(count, MOST_PARTS)):
        item = numbers.take(4 if version == 2 else 2)
        origin = own_data if version and numbers.take(2) & 15 == 1 else 0
        numbers.take(2)
        origin += numbers.take(base)
        pieces = numbers.take(2)
        items.extents += pieces
        # A piece without numbers has no bytes here: a few of them would claim millions.
        if pieces > 1 and not index + offset + length:
            raise _NotHonest(f"{pieces} pieces of one of its pictures have no place")
        if items.extents > MOST_PARTS:
            raise _NotHonest(
                f"its pictures are in {items.extents} pieces, the limit is {MOST_PARTS}"
            )
        for _ in range(pieces):
            numbers.take(index)
            at = origin + numbers.take(offset)
            size = numbers.take(length)
            stop = min(at + size, len(data)) if size else len(data)
            items.places[item].append((min(at, stop), stop))


class _Numbers:
    """Numbers of so many bytes, one after the other. Raises: struct.error behind the end."""

    def __init__(self, data: bytes, at: int, end: int) -> None:
        self._data, self._at, self._end = data, at, end

    def take(self, size: int) -> int:
        if self._at + size > self._end:
            raise struct.error("behind the end of its box")
        number = int.from_bytes(self._data[self._at : self._at + size], "big")
        self._at += size
        return number

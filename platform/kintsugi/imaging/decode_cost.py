"""What decoding a file takes, by its headers: size, passes, frames, tiles; decodes nothing.

A file of 200 kB can ask for 15 s of a processor: a progressive JPEG with hundreds of scans, and
each scan goes over every pixel. The headers are read in time that grows with the file's bytes
and not with what they claim. A file that lies is left to the limits of the process that decodes
it.
"""

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass

# In entropy-coded data a marker is whatever follows 0xff that is neither stuffing nor a restart.
_JPEG_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}
_JPEG_ALONE = {0x01, 0xD8, *range(0xD0, 0xD8)}
_TIFF_TYPES = {1: "B", 3: "H", 4: "I", 16: "Q"}
_TIFF_JPEG = (6, 7)
# More parts than any honest file has: what walks over them ends here.
_MOST_PARTS = 65_536
_MOST_IFD_ENTRIES = 1_000
# Start of a JPEG 2000 codestream, and the marker of its size.
_JP2_SIZE = b"\xff\x4f\xff\x51"
_JP2_STYLE, _JP2_STYLE_OF_ONE, _JP2_DATA, _JP2_END = 0x52, 0x53, 0x93, 0xD9
# Start of a part of a tile, which no data holds.
_JP2_TILE = b"\xff\x90\0\x0a"


@dataclass(frozen=True)
class DecodeCost:
    """What the headers of one file say.

    Attributes:
        size: (height, width) in pixels as stored; None where the header does not say.
        scans: How often all pixels are gone over; 1 for most files.
        segments: In how many segments a JPEG is, those without content among them.
        frames: Pictures in it, counted to 2.
        largest_tile: Pixels of its largest tile or strip; 0 where there is none.
        tiles: How many parts the picture is stored in.
        profile_bytes: Size of its colour profile, as stored.
        problem: What no honest file has, as the end of a sentence; "" for nothing.
    """

    size: tuple[int, int] | None = None
    scans: int = 1
    segments: int = 0
    frames: int = 1
    largest_tile: int = 0
    tiles: int = 1
    profile_bytes: int = 0
    problem: str = ""

    @property
    def pixels(self) -> int:
        """Height x width; 0 where the header does not say."""
        return 0 if self.size is None else self.size[0] * self.size[1]

    @property
    def scan_megapixels(self) -> float:
        """Pixels that decoding goes over, in millions."""
        return self.scans * self.pixels / 1e6


def read_decode_cost(data: bytes, format: str) -> DecodeCost:
    """Read the headers of a file of a format that `sniff_format` names; never raises.

    A header that is cut short or broken promises what could be read of it.
    """
    readers = {
        "png": _png,
        "jpeg": _jpeg,
        "webp": _webp,
        "tiff": _tiff,
        "heif": _heif,
        "avif": _heif,
        "gif": _gif,
        "bmp": _bmp,
        "jp2": _jp2,
    }
    reader = readers.get(format)
    if reader is None:
        return DecodeCost()
    try:
        return reader(data)
    except (struct.error, IndexError):
        return DecodeCost()


def _png(data: bytes) -> DecodeCost:
    width, height = struct.unpack_from(">II", data, 16)
    position, chunks, frames, profile = 8, 0, 1, 0
    while position + 8 <= len(data):
        chunks += 1
        if chunks > _MOST_PARTS:
            problem = f"it is in more than {_MOST_PARTS} chunks"
            return DecodeCost((height, width), frames=frames, problem=problem)
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL" and position + 12 <= len(data):
            (frames,) = struct.unpack_from(">I", data, position + 8)
        elif kind == b"iCCP":
            profile += length
        elif kind == b"IEND":
            break
        position += 12 + length
    return DecodeCost((height, width), frames=max(1, min(frames, 2)), profile_bytes=profile)


@dataclass
class _JpegWalk:
    size: tuple[int, int] | None = None
    scans: int = 0
    segments: int = 0
    profile: int = 0
    problem: str = ""


def _jpeg(data: bytes) -> DecodeCost:
    seen = _JpegWalk()
    for parts, (marker, start, end) in enumerate(_jpeg_segments(data), start=1):
        seen.segments = parts
        if parts > _MOST_PARTS:
            seen.problem = f"it is in more than {_MOST_PARTS} segments"
            break
        if marker in _JPEG_FRAMES and seen.size is None and end - start >= 5:
            seen.size = struct.unpack_from(">HH", data, start + 1)
        elif marker == 0xDA:
            seen.scans += 1
        elif marker == 0xE2 and data[start : start + 12] == b"ICC_PROFILE\0":
            seen.profile += end - start
    return DecodeCost(
        seen.size,
        scans=max(1, seen.scans),
        segments=seen.segments,
        profile_bytes=seen.profile,
        problem=seen.problem,
    )


def _jpeg_segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's content until the first picture ends."""
    position = 2
    while (found := _JPEG_MARKER.search(data, position)) is not None:
        marker, start = data[found.start() + 1], found.end()
        if marker == 0xD9:
            return
        if marker in _JPEG_ALONE:
            yield marker, start, start
            position = start
            continue
        if start + 2 > len(data):
            return
        end = start + int.from_bytes(data[start : start + 2], "big")
        yield marker, start + 2, end
        position = max(end, start)


def _webp(data: bytes) -> DecodeCost:
    canvas: tuple[int, int] | None = None
    frames, profile, parts, position = 0, 0, 0, 12
    while position + 8 <= len(data):
        parts += 1
        if parts > _MOST_PARTS:
            return DecodeCost(canvas, problem=f"it is in more than {_MOST_PARTS} chunks")
        kind = data[position : position + 4]
        length, content = int.from_bytes(data[position + 4 : position + 8], "little"), position + 8
        if kind == b"VP8X" and content + 10 <= len(data):
            canvas = _larger(canvas, _webp_canvas(data[content : content + 10]))
        elif kind in (b"VP8 ", b"VP8L"):
            frames += 1
            canvas = _larger(canvas, _webp_frame(kind, data[content : content + 10]))
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"ICCP":
            profile += length
        position = content + length + (length & 1)
    return DecodeCost(canvas, frames=max(1, min(frames, 2)), profile_bytes=profile)


def _webp_canvas(header: bytes) -> tuple[int, int]:
    width, height = (1 + int.from_bytes(header[at : at + 3], "little") for at in (4, 7))
    return height, width


def _webp_frame(kind: bytes, header: bytes) -> tuple[int, int] | None:
    if kind == b"VP8L" and len(header) >= 5:
        bits = int.from_bytes(header[1:5], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 " and len(header) >= 10:
        width, height = struct.unpack_from("<HH", header, 6)
        return height & 0x3FFF, width & 0x3FFF
    return None


def _larger(one: tuple[int, int] | None, two: tuple[int, int] | None) -> tuple[int, int] | None:
    """The one of more pixels: a frame may claim more than its canvas."""
    return max((size for size in (one, two) if size), key=lambda s: s[0] * s[1], default=None)


def _tiff(data: bytes) -> DecodeCost:
    order = "<" if data[:2] == b"II" else ">"
    (first,) = struct.unpack_from(f"{order}I", data, 4)
    (count,) = struct.unpack_from(f"{order}H", data, first)
    if count > _MOST_IFD_ENTRIES:
        return DecodeCost(problem=f"its directory has {count} entries")
    values, counts = _tiff_entries(data, order, first + 2, count)
    (second,) = struct.unpack_from(f"{order}I", data, first + 2 + 12 * count)
    height, width = values.get(257, 0), values.get(256, 0)
    if 322 in values:
        tile, tiles = values[322] * values.get(323, 0), counts.get(324, 1)
    else:
        tile = width * min(values.get(278, height), height)
        tiles = counts.get(273, 1)
    # Each tile of a JPEG in a TIFF may have scans of its own.
    scans = data.count(b"\xff\xda") if values.get(259) in _TIFF_JPEG else 1
    return DecodeCost(
        (height, width),
        scans=max(1, -(-scans // max(1, tiles))),
        frames=2 if second else 1,
        largest_tile=tile,
        tiles=tiles,
        profile_bytes=counts.get(34675, 0),
    )


def _tiff_entries(
    data: bytes, order: str, position: int, count: int
) -> tuple[dict[int, int], dict[int, int]]:
    """First value of each entry that is stored in place, and how many values each has."""
    values, counts = {}, {}
    for index in range(count):
        at = position + 12 * index
        tag, kind, length = struct.unpack_from(f"{order}HHI", data, at)
        counts[tag] = length
        letter = _TIFF_TYPES.get(kind)
        if letter is not None and length == 1 and letter != "Q":
            (values[tag],) = struct.unpack_from(f"{order}{letter}", data, at + 8)
    return values, counts


def _heif(data: bytes) -> DecodeCost:
    sizes: list[tuple[int, int]] = []
    profile, items = 0, 1
    for parts, (kind, start, end) in enumerate(_boxes(data, 0, len(data), 0), start=1):
        if parts > _MOST_PARTS:
            return DecodeCost(problem=f"it is in more than {_MOST_PARTS} boxes")
        if kind == b"ispe" and start + 12 <= len(data):
            width, height = struct.unpack_from(">II", data, start + 4)
            sizes.append((height, width))
        elif kind == b"iinf" and start + 8 <= len(data):
            wide = data[start] != 0
            (items,) = struct.unpack_from(">I" if wide else ">H", data, start + 4)
        elif kind == b"colr" and data[start : start + 4] in (b"prof", b"rICC"):
            profile += end - start
    size = max(sizes, key=lambda s: s[0] * s[1], default=None)
    return DecodeCost(size, tiles=items, profile_bytes=profile)


def _gif(data: bytes) -> DecodeCost:
    width, height = struct.unpack_from("<HH", data, 6)
    return DecodeCost((height, width))


def _bmp(data: bytes) -> DecodeCost:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    # A negative height: its rows run from the top.
    return DecodeCost((abs(height), abs(width)))


def _jp2(data: bytes) -> DecodeCost:
    # The codestream's size, which its boxes repeat: marker, length, capabilities, then numbers.
    at = data.find(_JP2_SIZE)
    if at < 0:
        return DecodeCost()
    right, bottom, left, top, across, down = struct.unpack_from(">6I", data, at + 8)
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not across or not down:
        return DecodeCost(problem="its header makes no sense")
    tiles = -(-width // across) * -(-height // down)
    (components,) = struct.unpack_from(">H", data, at + 40)
    parts = _jp2_precincts(data, at + 2, min(across, width), min(down, height), components)
    return DecodeCost((height, width), tiles=tiles if parts == 1 else tiles * components * parts)


def _jp2_precincts(data: bytes, position: int, width: int, height: int, components: int) -> int:
    """Parts of one tile and component, by the most that any style of coding asks for.

    A codec prepares each of them before it reads a byte of data: a file of a hundred bytes can
    ask for hundreds of millions.
    """
    most, parts = 1, 0
    # A component of a style is named by one byte, or by two where there are many.
    own = 1 if components < 257 else 2
    while position + 4 <= len(data) and parts < _MOST_PARTS:
        parts += 1
        marker, length = (
            data[position + 1],
            int.from_bytes(data[position + 2 : position + 4], "big"),
        )
        if data[position] != 0xFF or marker == _JP2_END:
            break
        if marker == _JP2_DATA:
            position = data.find(_JP2_TILE, position)
            if position < 0:
                break
            continue
        style = data[position + 4 : position + 2 + length]
        if marker == _JP2_STYLE and style[0] & 1:
            most = max(most, _precincts(style[10:], width, height))
        elif marker == _JP2_STYLE_OF_ONE and style[own] & 1:
            most = max(most, _precincts(style[own + 6 :], width, height))
        position += 2 + length
    return most


def _precincts(sizes: bytes, width: int, height: int) -> int:
    """How many one tile has; a byte for each level holds the logarithms of its precincts' sides."""
    found = 0
    for level, size in enumerate(sizes):
        # Each level has half the side of the next one.
        halved = len(sizes) - 1 - level
        found += -(-(width >> halved) >> (size & 15)) * -(-(height >> halved) >> (size >> 4))
    return found


# Boxes that hold boxes, and after how many bytes of their own.
_HOLD_BOXES = {b"meta": 4, b"iprp": 0, b"ipco": 0}


def _boxes(data: bytes, start: int, end: int, depth: int) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the content of each box, those inside others too."""
    while start + 8 <= end and depth < 8:
        length, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if length == 0 else min(end, start + length)
        if stop < content:
            return
        yield kind, content, stop
        if kind in _HOLD_BOXES:
            yield from _boxes(data, content + _HOLD_BOXES[kind], stop, depth + 1)
        start = stop

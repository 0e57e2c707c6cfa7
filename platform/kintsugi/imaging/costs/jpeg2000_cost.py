"""What decoding a JPEG 2000 takes: by the codestream that is decoded, whatever its boxes say.

OpenJPEG decodes the codestream of the first `jp2c` box; bytes of another box that look like one are
none. Its boxes may not say otherwise: who reads a file's size from them must not be misled.
"""

import struct

from kintsugi.imaging.costs.boxes import walk_boxes
from kintsugi.imaging.costs.cost import MOST_PARTS, DecodeCost

# Start of a codestream: its mark, and at once the marker of its size.
_START = b"\xff\x4f\xff\x51"
_SIZE, _STYLE, _STYLE_OF_ONE, _DATA, _TILE = 0x51, 0x52, 0x53, 0x93, 0x90
# Markers with a length that a decoder knows. It goes over others in steps of two bytes, whatever
# length they claim, until it meets one of these.
_KNOWN = {
    *(_SIZE, _STYLE, _STYLE_OF_ONE, _TILE, _DATA, 0xD9),
    *(0x50, 0x55, 0x57, 0x58, 0x59, 0x5C, 0x5D, 0x5E, 0x5F, 0x60, 0x61, 0x63, 0x64),
    *(0x74, 0x75, 0x77, 0x78),
}
# As many tiles as are read have some each.
_MOST_MARKERS = 4 * MOST_PARTS
# Of 33 levels, the most that a codec reads, with all that comes before them.
_LONGEST_STYLE = 48
# Start of a part of a tile: its marker and length. No data holds it.
_TILE_START = b"\xff\x90\0\x0a"


def jpeg2000_cost(data: bytes) -> DecodeCost:
    """The cost of a codestream, alone or in boxes."""
    start, said = 0, None
    if not data.startswith(_START):
        found, said, problem = _find_codestream(data)
        if problem:
            return DecodeCost(problem=problem)
        if found is None:
            return DecodeCost()
        start = found
        if data[start : start + 4] != _START[: len(data) - start]:
            return DecodeCost(problem="its picture does not begin with its size")
    right, bottom, left, top, across, down, tile_left, tile_top, components = struct.unpack_from(
        ">8IH", data, start + 8
    )
    width, height = right - left, bottom - top
    if width <= 0 or height <= 0 or not across or not down or not components:
        return DecodeCost(problem="its header makes no sense")
    if said not in (None, (height, width, components)):
        return DecodeCost(problem="its boxes name another size or number of colours than it has")
    tiles = -(-(right - tile_left) // across) * -(-(bottom - tile_top) // down)
    tile = min(across, width), min(down, height)
    parts, problem = _precincts_of_a_tile(data, start + 2, *tile, components)
    if parts > 1:
        tiles *= components * parts
    return DecodeCost((height, width), tiles=tiles, problem=problem)


def _find_codestream(data: bytes) -> tuple[int | None, tuple[int, int, int] | None, str]:
    """Where it starts; (height, width, components) as the boxes before it say; a problem."""
    said: set[tuple[int, int, int]] = set()
    for parts, (kind, start, end) in enumerate(walk_boxes(data, {b"jp2h": 0}), start=1):
        if parts > MOST_PARTS:
            return None, None, f"it is in more than {MOST_PARTS} boxes"
        if kind == b"ihdr" and end - start >= 10:
            said.add(struct.unpack_from(">IIH", data, start))
        if kind == b"jp2c":
            if len(said) > 1:
                return None, None, "its boxes name several sizes"
            return start, next(iter(said), None), ""
    return None, None, ""


def _precincts_of_a_tile(
    data: bytes, position: int, width: int, height: int, components: int
) -> tuple[int, str]:
    """Parts of one tile and component, by the most that any style of coding asks for.

    A codec prepares each of them before it reads a byte of data: a file of a hundred bytes can
    ask for hundreds of millions. Every start of a tile's part that there is in the file is gone
    on from, also those that another one claims to hold; where two ways meet they are one.
    """
    most = 1
    walked: set[int] = set()
    # A component of a style is named by one byte, or by two where there are many.
    own = 1 if components < 257 else 2
    start: int = position
    while start >= 0:
        position = start
        while position + 4 <= len(data) and position not in walked:
            walked.add(position)
            if len(walked) > _MOST_MARKERS:
                return most, f"it has more than {_MOST_MARKERS} markers"
            marker, (length,) = data[position + 1], struct.unpack_from(">H", data, position + 2)
            if data[position] != 0xFF or marker not in _KNOWN:
                position += 2
                continue
            if marker in (_DATA, 0xD9):
                break
            style = data[position + 4 : position + 2 + min(length, _LONGEST_STYLE)]
            if marker == _STYLE and style[:1] and style[0] & 1:
                most = max(most, _precincts(style[10:], width, height))
            elif marker == _STYLE_OF_ONE and len(style) > own and style[own] & 1:
                most = max(most, _precincts(style[own + 6 :], width, height))
            position += 2 + max(length, 2)
        start = data.find(_TILE_START, start + 2)
    return most, ""


def _precincts(sizes: bytes, width: int, height: int) -> int:
    """How many one tile has; a byte for each level holds the logarithms of its precincts' sides."""
    found = 0
    for level, size in enumerate(sizes):
        # Each level has half the side of the next one.
        halved = len(sizes) - 1 - level
        found += -(-(width >> halved) >> (size & 15)) * -(-(height >> halved) >> (size >> 4))
    return found

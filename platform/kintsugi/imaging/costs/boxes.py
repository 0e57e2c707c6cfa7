"""Boxes of the ISO base media file format, as JPEG 2000, HEIC and AVIF have them."""

import struct
from collections.abc import Iterator, Mapping

_DEEPEST = 8


def walk_boxes(
    data: bytes, hold: Mapping[bytes, int], start: int = 0, end: int | None = None, depth: int = 0
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the content of each box, those inside others after what holds them.

    Args:
        data: The file.
        hold: The kinds that hold boxes, and after how many bytes of their own.
        start: Where the first box is.
        end: Where the last one ends; None: with the file.
        depth: Boxes around these.
    """
    end = len(data) if end is None else end
    while start + 8 <= end and depth < _DEEPEST:
        length, kind = struct.unpack_from(">I4s", data, start)
        content = start + 8
        if length == 1 and start + 16 <= end:
            (length,) = struct.unpack_from(">Q", data, content)
            content += 8
        stop = end if length == 0 else min(end, start + length)
        if stop < content:
            return
        yield kind, content, stop
        if kind in hold:
            yield from walk_boxes(data, hold, content + hold[kind], stop, depth + 1)
        start = stop

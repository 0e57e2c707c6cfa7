"""What decoding a file takes, by its headers: size, passes, frames, tiles; decodes nothing.

A file of 200 kB can ask for 15 s of a processor: a progressive JPEG with hundreds of scans, and
each scan goes over every pixel. The headers are read in time that grows with the file's bytes
and not with what they claim. A file that lies is left to the limits of the process that decodes
it.
"""

import struct
from dataclasses import dataclass, replace

from kintsugi.imaging.costs.cost import MOST_PARTS, DecodeCost
from kintsugi.imaging.costs.heif_cost import heif_cost
from kintsugi.imaging.costs.jpeg2000_cost import jpeg2000_cost
from kintsugi.imaging.costs.tiff_cost import tiff_cost
from kintsugi.imaging.headers import webp_chunks
from kintsugi.imaging.metadata.jpeg_segments import segments

__all__ = ["DecodeCost", "read_decode_cost"]

_JPEG_FRAMES = {0xC0, 0xC1, 0xC2, 0xC3, 0xC5, 0xC6, 0xC7, 0xC9, 0xCA, 0xCB, 0xCD, 0xCE, 0xCF}


def read_decode_cost(data: bytes, format: str) -> DecodeCost:
    """Read the headers of a file of a format that `sniff_format` names; never raises.

    A header that is cut short or broken promises what could be read of it.
    """
    readers = {
        "png": _png,
        "jpeg": _jpeg,
        "webp": _webp,
        "tiff": tiff_cost,
        "heif": heif_cost,
        "avif": heif_cost,
        "gif": _gif,
        "bmp": _bmp,
        "jp2": jpeg2000_cost,
    }
    reader = readers.get(format)
    if reader is None:
        return DecodeCost()
    try:
        cost = reader(data)
        # Of these it is not looked for.
        return replace(cost, has_alpha=True) if format in ("avif", "jp2") else cost
    except (struct.error, IndexError):
        return DecodeCost()


def _png(data: bytes) -> DecodeCost:
    width, height = struct.unpack_from(">II", data, 16)
    bits, has_alpha = data[24], data[25] in (4, 6)
    position, chunks, frames, profile = 8, 0, 1, 0
    while position + 8 <= len(data):
        chunks += 1
        if chunks > MOST_PARTS:
            problem = f"it is in more than {MOST_PARTS} chunks"
            return DecodeCost((height, width), frames=frames, problem=problem)
        length, kind = struct.unpack_from(">I4s", data, position)
        if kind == b"acTL" and position + 12 <= len(data):
            (frames,) = struct.unpack_from(">I", data, position + 8)
        elif kind == b"iCCP":
            profile += length
        elif kind == b"tRNS":
            has_alpha = True
        elif kind == b"IEND":
            break
        position += 12 + length
    return DecodeCost(
        (height, width),
        frames=max(1, min(frames, 2)),
        bits=bits,
        has_alpha=has_alpha,
        profile_bytes=profile,
    )


@dataclass
class _JpegWalk:
    size: tuple[int, int] | None = None
    scans: int = 0
    segments: int = 0
    profile: int = 0
    problem: str = ""


def _jpeg(data: bytes) -> DecodeCost:
    seen = _JpegWalk()
    for parts, (marker, start, end) in enumerate(segments(data), start=1):
        if marker == 0xD9:
            break
        seen.segments = parts
        if parts > MOST_PARTS:
            seen.problem = f"it is in more than {MOST_PARTS} segments"
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


def _webp(data: bytes) -> DecodeCost:
    canvas: tuple[int, int] | None = None
    frames, profile, has_alpha = 0, 0, False
    for parts, (kind, start, end) in enumerate(webp_chunks(data), start=1):
        if parts > MOST_PARTS:
            return DecodeCost(canvas, problem=f"it is in more than {MOST_PARTS} chunks")
        if kind == b"VP8X" and start + 10 <= len(data):
            canvas = _larger(canvas, _webp_canvas(data[start : start + 10]))
            has_alpha |= bool(data[start] & 0x10)
        elif kind in (b"VP8 ", b"VP8L"):
            frames += 1
            canvas = _larger(canvas, _webp_frame(kind, data[start : start + 10]))
            has_alpha |= kind == b"VP8L"
        elif kind == b"ANMF":
            frames += 1
        elif kind == b"ICCP":
            profile += end - start
    return DecodeCost(
        canvas, frames=max(1, min(frames, 2)), has_alpha=has_alpha, profile_bytes=profile
    )


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


def _gif(data: bytes) -> DecodeCost:
    width, height = struct.unpack_from("<HH", data, 6)
    return DecodeCost((height, width))


def _bmp(data: bytes) -> DecodeCost:
    (header,) = struct.unpack_from("<I", data, 14)
    width, height = struct.unpack_from("<HH" if header == 12 else "<ii", data, 18)
    # A negative height: its rows run from the top.
    return DecodeCost((abs(height), abs(width)))

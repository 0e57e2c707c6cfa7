"""Small files that ask for far more than a photograph takes; made in memory."""

import functools
import io
import math
import struct
import zlib

import numpy as np
from PIL import Image

from tests.kintsugi.pictures import encode, photo, png, png_header


def scan_bomb(scans: int, height: int = 5_000, width: int = 6_200, *, size: int = 0) -> bytes:
    """A grey progressive JPEG whose scans are a few bytes each and go over every block.

    Args:
        scans: How many; the first gives the mean of each block, the others nothing.
        height, width: In pixels.
        size: Bytes that the file has at least, by comments.
    """
    blocks = math.ceil(height / 8) * math.ceil(width / 8)
    parts = [b"\xff\xd8", _segment(0xDB, b"\0" + bytes([16] * 64))]
    parts.append(_segment(0xC2, struct.pack(">BHHB", 8, height, width, 1) + b"\1\x11\0"))
    # One code of one bit each: no difference, and the end of 2^14 blocks and more.
    parts.append(_segment(0xC4, _table(0x00, 0x00)) + _segment(0xC4, _table(0x10, 0xE0)))
    parts.append(_scan(0, 0, 1) + bytes(math.ceil(blocks / 8)))
    runs = math.ceil(blocks / (2**15 - 1))
    bits = ("0" + "1" * 14) * runs
    bits += "1" * (-len(bits) % 8)
    packed = int(bits, 2).to_bytes(len(bits) // 8, "big").replace(b"\xff", b"\xff\0")
    parts += [_scan(1, 63, 0) + packed] * (scans - 1)
    body = b"".join(parts)
    comments = math.ceil(max(0, size - len(body)) / 65_000)
    return body[:2] + _segment(0xFE, bytes(65_000)) * comments + body[2:] + b"\xff\xd9"


def _segment(marker: int, body: bytes) -> bytes:
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def _table(kind: int, symbol: int) -> bytes:
    return bytes([kind, 1] + [0] * 15 + [symbol])


def _scan(first: int, last: int, low: int) -> bytes:
    return _segment(0xDA, bytes([1, 1, 0, first, last, low]))


def tiff(entries: dict[int, tuple[int, int, int]], *, more: bytes = b"", second: int = 0) -> bytes:
    """A TIFF directory: tag -> (type, count, value), and what follows it."""
    body = b"".join(
        struct.pack("<HHII", tag, kind, count, value)
        for tag, (kind, count, value) in sorted(entries.items())
    )
    head = struct.pack("<2sHIH", b"II", 42, 8, len(entries))
    return head + body + struct.pack("<I", second) + more


_GREY = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 259: (3, 1, 8), 262: (3, 1, 1)}


def tile_bomb(side: int = 46_336) -> bytes:
    """A TIFF of 64x64 px whose one tile has billions."""
    tiles = {322: (4, 1, side), 323: (4, 1, side), 324: (4, 1, 200), 325: (4, 1, 20)}
    return tiff({**_GREY, **tiles}, more=bytes(100))


def strip_bomb(strips: int = 1_000_000) -> bytes:
    """A TIFF in a million strips of no bytes."""
    return tiff({**_GREY, 278: (4, 1, 1), 273: (4, strips, 300), 279: (4, strips, 300)})


def directory_bomb() -> bytes:
    """A TIFF whose directory has 60,000 entries."""
    return struct.pack("<2sHIH", b"II", 42, 8, 60_000) + bytes(12 * 60_000 + 4)


def tiff_scan_bomb(scans: int) -> bytes:
    """A TIFF whose one strip is a JPEG of many scans."""
    inner = scan_bomb(scans, 64, 64)
    strip = {259: (3, 1, 7), 278: (4, 1, 64), 273: (4, 1, 300), 279: (4, 1, len(inner))}
    head = tiff({**_GREY, **strip})
    return head + bytes(300 - len(head)) + inner


def pages(count: int = 300) -> bytes:
    """A TIFF of many pages."""
    buffer = io.BytesIO()
    first, *others = [Image.fromarray(np.full((16, 16), n % 256, np.uint8)) for n in range(count)]
    first.save(buffer, "TIFF", save_all=True, append_images=others)
    return buffer.getvalue()


def profile_bomb(format: str, size: int = 8 * 2**20) -> bytes:
    """A photograph with a colour profile of megabytes."""
    return photo(format=format, icc_profile=bytes(128) + np.random.default_rng(0).bytes(size))


def chunk_bomb(chunks: int = 100_000) -> bytes:
    """A PNG in a hundred thousand empty chunks."""
    rows = zlib.compress(bytes(64 * (1 + 3 * 64)))
    whole = png(png_header(64, 64), (b"IDAT", rows), (b"IEND", b""))
    return whole[:-12] + png((b"tEXt", b""))[8:] * chunks + whole[-12:]


def segment_bomb(segments: int = 10_000, body: bytes = b"") -> bytes:
    """A JPEG with ten thousand comments, or pieces of something that is joined."""
    piece = _segment(0xE2 if body else 0xFE, body)
    return b"\xff\xd8" + piece * segments + photo()[2:]


def marker_bomb(markers: int = 100_000) -> bytes:
    """A JPEG of markers that have no content."""
    return b"\xff\xd8" + b"\xff\x01" * markers + photo()[2:]


def precinct_bomb(side: int = 11_000, *, in_a_tile: bool = False, of_one: bool = False) -> bytes:
    """A JPEG 2000 of a hundred bytes whose picture is in pieces of 2x2 pixels."""
    sizes = struct.pack(">HIIIIIIIIH", 0, side, side, 0, 0, side, side, 0, 0, 1) + b"\7\1\1"
    style = bytes([1, 0, 0, 1, 0, 1, 4, 4, 0, 1, 0x11, 0x11])
    plain = bytes([0, 0, 0, 1, 0, 1, 4, 4, 0, 1])
    small = _segment(0x53, b"\0" + style[:1] + style[5:]) if of_one else _segment(0x52, style)
    first = small if not (in_a_tile or of_one) else _segment(0x52, plain)
    steps = _segment(0x5C, b"\x40" + b"\x40" * 4)
    # A tile of no data before the one that counts.
    empty = _segment(0x90, struct.pack(">HIBB", 0, 14, 0, 2)) + b"\xff\x93"
    tile = _segment(0x90, struct.pack(">HIBB", 0, 0, 1, 2))
    later = small if in_a_tile else b""
    head = b"\xff\x4f" + _segment(0x51, sizes) + first + steps
    if of_one and not in_a_tile:
        head += small
    return head + empty + tile + later + b"\xff\x93\xff\xd9"


def webp_frame_bomb() -> bytes:
    """A WebP whose canvas is small and whose frame claims 16383 x 16383."""
    canvas = struct.pack("<4sI", b"VP8X", 10) + bytes(4) + b"\x3f\0\0\x3f\0\0"
    bits = 16_382 | 16_382 << 14
    frame = struct.pack("<4sI", b"VP8L", 6) + b"\x2f" + struct.pack("<I", bits) + b"\0"
    body = b"WEBP" + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def heif_bomb(side: int = 60_000, items: int = 4) -> bytes:
    """A HEIC that says in its boxes how large it is, or of how many items."""

    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I4s", len(body) + 8, kind) + body

    size = box(b"ispe", struct.pack(">III", 0, side, side))
    properties = box(b"iprp", box(b"ipco", size))
    listed = box(b"iinf", struct.pack(">IH", 0, items))
    meta = box(b"meta", bytes(4) + listed + properties)
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


@functools.cache
def costly() -> dict[str, bytes]:
    """What a header shows, by its name."""
    return {
        "JPEG scans": scan_bomb(400),
        "JPEG scans of few pixels": scan_bomb(5_000, 256, 256),
        "JPEG segments": segment_bomb(),
        "JPEG profile in pieces": segment_bomb(body=b"ICC_PROFILE\0\1\xff" + bytes(40)),
        "JPEG markers": marker_bomb(),
        "JPEG 2000 precincts": precinct_bomb(),
        "JPEG 2000 precincts of a tile": precinct_bomb(in_a_tile=True),
        "JPEG 2000 precincts of a component": precinct_bomb(of_one=True),
        "PNG chunks": chunk_bomb(),
        "TIFF tile": tile_bomb(),
        "TIFF strips": strip_bomb(),
        "TIFF directory": directory_bomb(),
        "TIFF with JPEG scans": tiff_scan_bomb(500),
        **{f"{format} profile": profile_bomb(format) for format in ("JPEG", "TIFF", "WEBP")},
    }


@functools.cache
def too_large() -> dict[str, bytes]:
    """What claims more pixels than are read."""
    return {
        "WebP frame beyond its canvas": webp_frame_bomb(),
        "HEIC": heif_bomb(),
        "PNG": png(png_header(20_000, 20_000), (b"IDAT", b""), (b"IEND", b"")),
        "JPEG": scan_bomb(1, 60_000, 60_000)[:1000],
        "TIFF": encode(np.zeros((16, 16), np.uint8), "TIFF").replace(
            struct.pack("<HHII", 256, 4, 1, 16), struct.pack("<HHII", 256, 4, 1, 2**24)
        ),
    }

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


def box(kind: bytes, body: bytes, *, wide: bool = False, open_ended: bool = False) -> bytes:
    """A box; its length in 64 bits, or none for the last one of a file."""
    if wide:
        return struct.pack(">I4sQ", 1, kind, len(body) + 16) + body
    return struct.pack(">I4s", 0 if open_ended else len(body) + 8, kind) + body


def jp2_header(height: int, width: int, components: int = 1) -> bytes:
    """Boxes that say how large a JPEG 2000 is."""
    size = box(b"ihdr", struct.pack(">IIHBBBB", height, width, components, 7, 7, 0, 0))
    return box(b"jp2h", size + box(b"colr", b"\1\0\0" + struct.pack(">I", 17)))


JP2_START = b"\0\0\0\x0cjP  \r\n\x87\n" + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")


def hidden_style(side: int = 11_000) -> bytes:
    """A precinct bomb behind a marker that nobody knows, whose length goes over the style.

    OpenJPEG looks for the next marker that it knows, in steps of two bytes.
    """
    whole = precinct_bomb(side)
    at = whole.index(b"\xff\x52")
    return whole[:at] + b"\xff\x7a\0\x10" + whole[at:]


def hidden_tile(side: int = 11_000) -> bytes:
    """A precinct bomb's tile, after one that is none and whose comment goes over it.

    OpenJPEG goes from tile to tile by their lengths, and never meets the one in between.
    """
    whole = precinct_bomb(side, in_a_tile=True)
    at = whole.rindex(b"\xff\x90")
    decoy = _segment(0x90, struct.pack(">HIBB", 0, 0, 1, 2)) + b"\xff\x64\x40\0\0\0"
    first = whole.index(b"\xff\x90")
    # The length of the empty tile holds the decoy as well.
    empty = _segment(0x90, struct.pack(">HIBB", 0, 14 + len(decoy), 0, 2)) + b"\xff\x93"
    return whole[:first] + empty + decoy + whole[at:] + bytes(0x4000)


def jp2_decoys() -> dict[str, bytes]:
    """JPEG 2000 whose boxes say something else than what is decoded, by what is wrong."""
    bomb, small = precinct_bomb(), jp2_header(64, 64)
    honest = precinct_bomb(64)
    real = jp2_header(11_000, 11_000)
    return {
        "its header is small": JP2_START + small + box(b"jp2c", bomb),
        "a small codestream in another box": JP2_START
        + real
        + box(b"uuid", bytes(16) + honest)
        + box(b"jp2c", bomb),
        "two headers": JP2_START + real + small + box(b"jp2c", bomb),
        "two sizes in one header": JP2_START
        + box(b"jp2h", real[8:] + small[8:])
        + box(b"jp2c", bomb),
        "other colours": JP2_START + jp2_header(64, 64, 3) + box(b"jp2c", honest),
        "a length of 64 bits": JP2_START + real + box(b"jp2c", bomb, wide=True),
        "no length": JP2_START + real + box(b"jp2c", bomb, open_ended=True),
        "the codestream first": JP2_START + box(b"jp2c", bomb) + real,
        "a second codestream": JP2_START + real + box(b"jp2c", bomb) + box(b"jp2c", honest),
        "a style behind a marker": hidden_style(),
        "a tile behind a tile": hidden_tile(),
        "something before its size": JP2_START
        + real
        + box(b"jp2c", bomb[:2] + b"\xff\x7a\xff\x7a" + bomb[2:]),
    }


def tiff_decoys() -> dict[str, bytes]:
    """TIFF directories that two readers read differently, by what is wrong."""
    side = 46_336
    tiles = {322: (4, 1, side), 323: (4, 1, side), 324: (4, 1, 200), 325: (4, 1, 20)}
    # Pillow takes the last of two, libtiff the first.
    twice = tiff({**_GREY, **tiles}, more=bytes(100)).replace(
        struct.pack("<H", len(_GREY) + 4), struct.pack("<H", len(_GREY) + 5), 1
    )
    at = twice.index(struct.pack("<HH", 323, 4))
    twice = twice[:at] + struct.pack("<HHII", 322, 4, 1, 64) + twice[at:]
    signed = {322: (9, 1, side), 323: (9, 1, side), 324: (4, 1, 200), 325: (4, 1, 20)}
    wide = {322: (16, 1, 200), 323: (16, 1, 200), 324: (4, 1, 200), 325: (4, 1, 20)}
    # Strips of eight rows that are all the same bytes.
    strips, inner = 64, scan_bomb(500, 8, 64)
    places = struct.pack("<I", 1_000) * strips + struct.pack("<I", len(inner)) * strips
    shared = {
        **{257: (4, 1, 8 * strips), 259: (3, 1, 7), 278: (4, 1, 8)},
        **{273: (4, strips, 300), 279: (4, strips, 300 + 4 * strips)},
    }
    body = tiff({**_GREY, **shared})
    body += bytes(300 - len(body)) + places
    head = tiff({**_GREY, **wide})
    return {
        "a tile's width twice": twice,
        "a tile's sides with a sign": tiff({**_GREY, **signed}, more=bytes(100)),
        "a tile's sides in eight bytes": head + bytes(200 - len(head)) + struct.pack("<Q", side),
        "JPEG strips that share their bytes": body + bytes(1_000 - len(body)) + inner,
    }


def heif_grid(named: int = 60_000, side: int = 64, *, brand: bytes = b"heic") -> bytes:
    """A small picture made of one tile that is named many times."""
    kinds = b"".join(
        box(b"infe", struct.pack(">IHH4sB", 2 << 24, item, 0, kind, 0))
        for item, kind in ((1, b"grid"), (2, b"hvc1"))
    )
    sizes = b"".join(box(b"ispe", struct.pack(">III", 0, side, side)) for _ in range(2))
    links = struct.pack(">IIHBBHBB", 0, 2, 1, 1, 1, 2, 1, 2)
    made_of = struct.pack(">HH", 1, named) + struct.pack(">H", 2) * named
    meta = (
        bytes(4)
        + box(b"pitm", struct.pack(">IH", 0, 1))
        + box(b"iinf", struct.pack(">IH", 0, 2) + kinds)
        + box(b"iref", bytes(4) + box(b"dimg", made_of))
        + box(b"iprp", box(b"ipco", sizes) + box(b"ipma", links))
    )
    return box(b"ftyp", brand + b"\0\0\0\0mif1" + brand) + box(b"meta", meta)


# A unit of AV1 that is padding without content.
AV1_EMPTY = b"\x7a\0"


def av1_header(height: int, width: int) -> bytes:
    """A unit of AV1 that is the header of a still picture, as far as its size."""
    bits = f"{0:03b}11{0:05b}{15:04b}{15:04b}{width - 1:016b}{height - 1:016b}"
    bits += "0" * (-len(bits) % 8)
    content = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return bytes([1 << 3 | 2, len(content)]) + content


def gif_frame_bomb() -> bytes:
    """A GIF of 16 x 16 px whose first frame has 60,000 x 60,000."""
    screen = struct.pack("<6sHHBBB", b"GIF89a", 16, 16, 0x80, 0, 0) + bytes(6)
    frame = struct.pack("<BHHHHB", 0x2C, 0, 0, 60_000, 60_000, 0)
    return screen + frame + b"\2\2\x4c\1\0;"


def webp_frame_bomb() -> bytes:
    """A WebP whose canvas is small and whose frame claims 16383 x 16383."""
    canvas = struct.pack("<4sI", b"VP8X", 10) + bytes(4) + b"\x3f\0\0\x3f\0\0"
    bits = 16_382 | 16_382 << 14
    frame = struct.pack("<4sI", b"VP8L", 6) + b"\x2f" + struct.pack("<I", bits) + b"\0"
    body = b"WEBP" + canvas + frame
    return b"RIFF" + struct.pack("<I", len(body)) + body


def webp_canvas_bomb() -> bytes:
    """A WebP with two canvases, the second one of 16383 x 16383."""
    small, large = (
        struct.pack("<4sI", b"VP8X", 10) + bytes(4) + struct.pack("<I", side - 1)[:3] * 2
        for side in (64, 16_383)
    )
    body = b"WEBP" + small + large
    return b"RIFF" + struct.pack("<I", len(body)) + body


def heif_bomb(side: int = 60_000, items: int = 4) -> bytes:
    """A HEIC that says in its boxes how large it is, or of how many items."""

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
        "AVIF grid of one tile": heif_grid(brand=b"avif"),
        **{f"JPEG 2000: {wrong}": data for wrong, data in jp2_decoys().items()},
        **{f"TIFF: {wrong}": data for wrong, data in tiff_decoys().items()},
        **{f"{format} profile": profile_bomb(format) for format in ("JPEG", "TIFF", "WEBP")},
    }


@functools.cache
def too_large() -> dict[str, bytes]:
    """What claims more pixels than are read."""
    return {
        "WebP frame beyond its canvas": webp_frame_bomb(),
        "WebP with a second canvas": webp_canvas_bomb(),
        "GIF frame beyond its screen": gif_frame_bomb(),
        "BMP from the top": encode(np.zeros((16, 16, 3), np.uint8), "BMP").replace(
            struct.pack("<ii", 16, 16), struct.pack("<ii", 16_000, -16_000)
        ),
        "HEIC": heif_bomb(),
        "PNG": png(png_header(20_000, 20_000), (b"IDAT", b""), (b"IEND", b"")),
        "JPEG": scan_bomb(1, 60_000, 60_000)[:1000],
        "TIFF": encode(np.zeros((16, 16), np.uint8), "TIFF").replace(
            struct.pack("<HHII", 256, 4, 1, 16), struct.pack("<HHII", 256, 4, 1, 2**24)
        ),
    }

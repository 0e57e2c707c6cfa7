"""What the bytes of an image file say before it is decoded; knows no imaging library.

Everything here reads a few bytes or walks a container in bounded memory, so it
is safe on bytes of unknown origin of any declared size.
"""

import struct
import zlib
from collections.abc import Iterator

_PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_CRITICAL = {b"IHDR", b"PLTE", b"IDAT", b"IEND"}
# Samples of a pixel by colour type: grey, RGB, palette, grey + alpha, RGB + alpha.
_PNG_CHANNELS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
# Passes of an interlaced PNG: first column and row, steps between columns and rows.
_ADAM7 = (
    (0, 0, 8, 8),
    (4, 0, 8, 8),
    (0, 4, 4, 8),
    (2, 0, 4, 4),
    (0, 2, 2, 4),
    (1, 0, 2, 2),
    (0, 1, 1, 2),
)
_HEIF_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"mif1"}
_AVIF_BRANDS = {b"avif", b"avis"}
_JP2_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
# Sizes of its headers, as they are stored.
_BMP_HEADERS = {bytes([size, 0, 0, 0]) for size in (12, 16, 40, 52, 56, 64, 108, 124)}
_INFLATE_BYTES = 2**20


def sniff_format(data: bytes) -> str | None:
    """Name the format by its magic bytes, as `kintsugi.imaging.formats`; None for no known one."""
    if data.startswith(_PNG_SIGNATURE):
        return "png"
    if data.startswith(b"\xff\xd8"):
        return "jpeg"
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return "webp"
    if data[:4] in (b"II*\x00", b"MM\x00*"):
        return "tiff"
    if data[4:8] == b"ftyp":
        return _of_brands(data)
    if data[:6] in (b"GIF87a", b"GIF89a"):
        return "gif"
    if data[:2] == b"BM" and data[14:18] in _BMP_HEADERS:
        return "bmp"
    if data[:12] == _JP2_SIGNATURE or data[:4] == b"\xff\x4f\xff\x51":
        return "jp2"
    return None


def _of_brands(data: bytes) -> str | None:
    """HEIC or AVIF, which share a container: by the brand that a file is mainly of."""
    main = data[8:12]
    if main in _AVIF_BRANDS:
        return "avif"
    if main in _HEIF_BRANDS:
        # `mif1` is of either: the others that it names decide.
        others = data[16 : min(int.from_bytes(data[:4], "big"), 256)]
        return "avif" if main == b"mif1" and b"avif" in others else "heif"
    return None


def declared_size(data: bytes, format: str) -> tuple[int, int] | None:
    """Read (height, width) in pixels of a PNG or WebP from its header.

    These two must be known before the imaging library opens the file: it
    allocates a WebP's whole canvas on opening (a file of 34 bytes can ask for
    more than 1 GB). For JPEG and TIFF, which it opens lazily, the answer is
    None, and so it is for a header that is cut short.
    """
    if format == "png" and len(data) >= 24:
        return int.from_bytes(data[20:24], "big"), int.from_bytes(data[16:20], "big")
    if format == "webp":
        return _webp_size(data)
    return None


def png_bit_depth(data: bytes) -> int:
    """Bits of a sample as the header of a PNG says."""
    return data[24]


def webp_chunks(
    data: bytes, start: int = 12, end: int | None = None
) -> Iterator[tuple[bytes, int, int]]:
    """(kind, start, end) of the content of each chunk of a WebP, or of one of its frames."""
    end = len(data) if end is None else end
    while start + 8 <= end:
        length, content = int.from_bytes(data[start + 4 : start + 8], "little"), start + 8
        yield data[start : start + 4], content, content + length
        start = content + length + (length & 1)


def is_lossless_webp(data: bytes) -> bool:
    """Whether the picture of a WebP, or its first one, was coded without loss."""
    for kind, start, end in webp_chunks(data):
        if kind in (b"VP8L", b"VP8 "):
            return kind == b"VP8L"
        if kind == b"ANMF":
            # Behind the frame's place and duration, maybe behind its transparency.
            return any(inner == b"VP8L" for inner, _, _ in webp_chunks(data, start + 16, end))
    return False


def avif_bit_depth(data: bytes) -> int:
    """Bits of a sample as an AVIF's first decoder configuration says: the photograph's."""
    # Two bits of its third byte: more than 8, and of those more than 10.
    at = data.find(b"av1C\x81") + 6
    flags = data[at] >> 5 & 3 if 6 <= at < len(data) else 0
    return {0b10: 10, 0b11: 12}.get(flags, 8)


def declared_colours(data: bytes) -> tuple[int, int] | None:
    """Primaries and transfer of a HEIC or AVIF by the numbers of ITU-T H.273; None: not said."""
    at = data.find(b"colrnclx") + 8
    if not 8 <= at <= len(data) - 4:
        return None
    primaries, transfer = struct.unpack_from(">HH", data, at)
    return primaries, transfer


def container_problem(data: bytes, format: str) -> str | None:
    """Say what is wrong with the container of a PNG or WebP, or None.

    The imaging library does not verify the checksum of a PNG's pixel chunks,
    reads past what it does not know and leaves rows that are missing black: a
    damaged file would pass with wrong pixels.
    """
    if format == "png":
        return _png_problem(data)
    if format == "webp" and int.from_bytes(data[4:8], "little") + 8 > len(data):
        return "it is cut short"
    return None


def _webp_size(data: bytes) -> tuple[int, int] | None:
    kind = data[12:16]
    if kind == b"VP8X" and len(data) >= 30:
        width = 1 + int.from_bytes(data[24:27], "little")
        return 1 + int.from_bytes(data[27:30], "little"), width
    if kind == b"VP8L" and len(data) >= 25:
        bits = int.from_bytes(data[21:25], "little")
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF)
    if kind == b"VP8 " and len(data) >= 30:
        width = int.from_bytes(data[26:28], "little") & 0x3FFF
        return int.from_bytes(data[28:30], "little") & 0x3FFF, width
    return None


def _png_problem(data: bytes) -> str | None:
    position, seen = len(_PNG_SIGNATURE), set[bytes]()
    pixels: list[tuple[int, int]] = []
    while b"IEND" not in seen:
        length = int.from_bytes(data[position : position + 4], "big")
        kind = data[position + 4 : position + 8]
        end = position + 12 + length
        if end > len(data):
            return "it is cut short"
        problem = _png_chunk_problem(kind, length, seen)
        if problem:
            return problem
        # A view: copying would double the memory of the largest chunk.
        checksum = zlib.crc32(memoryview(data)[position + 4 : end - 4])
        if checksum != int.from_bytes(data[end - 4 : end], "big"):
            return f"its {kind.decode()} chunk fails its checksum"
        if kind == b"IDAT":
            pixels.append((position + 8, end - 4))
        seen.add(kind)
        position = end
    return _png_pixel_problem(data, pixels)


def _png_chunk_problem(kind: bytes, length: int, seen: set[bytes]) -> str | None:
    if not kind.isalpha():
        return "it holds a chunk without a name"
    if (kind == b"IHDR") is bool(seen) or (kind == b"IHDR" and length != 13):
        return "it does not start with one header"
    # An upper-case first letter marks a chunk without which the image is not understood.
    if kind[:1].isupper() and kind not in _PNG_CRITICAL:
        return f"its {kind.decode()} chunk is not known"
    return None


def _png_pixel_problem(data: bytes, spans: list[tuple[int, int]]) -> str | None:
    """Inflate the pixel chunks as far as the header needs them, a piece at a time."""
    if data[26]:
        return f"its compression method {data[26]} is not known"
    missing, inflater = _png_raw_bytes(data), zlib.decompressobj()
    try:
        for start, end in spans:
            packed: bytes | memoryview = memoryview(data)[start:end]
            while packed and missing > 0:
                missing -= len(inflater.decompress(packed, min(missing, _INFLATE_BYTES)))
                packed = inflater.unconsumed_tail
        missing -= len(inflater.flush()) if missing > 0 else 0
    except zlib.error:
        return "its pixels are broken"
    return "it has fewer pixels than its header says" if missing > 0 else None


def _png_raw_bytes(data: bytes) -> int:
    """Bytes of all rows before compression, as the header says; 0 for an unknown colour type."""
    width, height, depth, colour, _, _, interlaced = struct.unpack(">IIBBBBB", data[16:29])
    bits = depth * _PNG_CHANNELS.get(colour, 0)
    passes = _ADAM7 if interlaced else ((0, 0, 1, 1),)
    total = 0
    for left, top, step_x, step_y in passes:
        columns, rows = -((left - width) // step_x), -((top - height) // step_y)
        # Each row starts with a byte that names its filter.
        total += rows * (1 + -(-columns * bits // 8)) if bits and columns > 0 < rows else 0
    return total

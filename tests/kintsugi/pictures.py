"""Image files of every kind that the tests need, made in memory."""

import io
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageCms

# First column and row, steps between columns and rows, of PNG's seven passes.
ADAM7 = [
    (0, 0, 8, 8), (4, 0, 8, 8), (0, 4, 4, 8), (2, 0, 4, 4), (0, 2, 2, 4), (1, 0, 2, 2), (0, 1, 1, 2)
]  # fmt: skip


def gradient(height: int = 96, width: int = 64) -> np.ndarray:
    """RGB without any symmetry: a turn or a flip cannot go unnoticed. uint8 H W 3."""
    y, x = np.mgrid[0:height, 0:width]
    red, green = y * 255 // max(1, height - 1), x * 255 // max(1, width - 1)
    return np.stack([red, green, 255 - red // 2 - green // 4], axis=2).astype(np.uint8)


def encode(pixels: np.ndarray | Image.Image, format: str = "PNG", **options: Any) -> bytes:
    image = pixels if isinstance(pixels, Image.Image) else Image.fromarray(pixels)
    buffer = io.BytesIO()
    image.save(buffer, format, **options)
    return buffer.getvalue()


def photo(height: int = 96, width: int = 64, format: str = "JPEG", **options: Any) -> bytes:
    return encode(gradient(height, width), format, **options)


def rotated_photo(orientation: int, format: str = "JPEG") -> bytes:
    """96 x 64 as stored, with an EXIF orientation."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x010E] = "a description that must not survive"
    return photo(format=format, exif=exif)


def cmyk_photo(icc_profile: bytes | None = None) -> bytes:
    image = Image.fromarray(gradient()).convert("CMYK")
    return encode(image, "JPEG", **({"icc_profile": icc_profile} if icc_profile else {}))


def srgb_profile() -> bytes:
    return ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()


def png(*chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG of these chunks, each with a right checksum."""
    data = b"\x89PNG\r\n\x1a\n"
    for kind, body in chunks:
        data += struct.pack(">I", len(body)) + kind + body
        data += struct.pack(">I", zlib.crc32(kind + body))
    return data


def png_header(width: int, height: int, depth: int = 8, colour: int = 2) -> tuple[bytes, bytes]:
    return b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)


def png16(samples: np.ndarray) -> bytes:
    """A 16-bit colour PNG, which Pillow cannot write. `samples`: uint16 H W 3."""
    height, width = samples.shape[:2]
    rows = b"".join(b"\0" + row.astype(">u2").tobytes() for row in samples)
    return png(png_header(width, height, depth=16), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))

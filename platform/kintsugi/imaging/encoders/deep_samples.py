"""Colour samples of 16 bits, which Pillow cuts to eight: read by OpenCV, PNG written here."""

import struct
import zlib

import numpy as np
import numpy.typing as npt

Deep = npt.NDArray[np.uint16]
_PNG_COLOURS = {1: 0, 2: 4, 3: 2, 4: 6}
# Rows that are filtered at a time: memory.
_ROWS = 64
# Level of zlib: noise in the lower bits does not get smaller with more.
_LEVEL = 4


def read_deep(data: bytes, height: int, width: int) -> Deep | None:
    """Samples of a 16-bit PNG or TIFF as they are stored, RGB or RGBA; None when it is none.

    Args:
        data: A file that Pillow could open, so that it is known to be whole.
        height, width: What it says.
    """
    import cv2

    try:
        read = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    except cv2.error:
        return None
    if read is None or read.dtype != np.uint16 or read.shape[:2] != (height, width):
        return None
    if read.ndim == 2:
        return np.repeat(read[..., None], 3, axis=2)
    channels = [2, 1, 0] if read.shape[2] == 3 else [2, 1, 0, 3]
    return np.ascontiguousarray(read[..., channels])


def write_deep_png(samples: Deep) -> bytes:
    """A PNG of 16-bit samples, H W or H W 2, 3 or 4."""
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    rows = samples.reshape(height, width * channels).astype(">u2").view(np.uint8)
    packer = zlib.compressobj(_LEVEL)
    packed = []
    above = np.zeros((1, rows.shape[1]), np.uint8)
    for top in range(0, height, _ROWS):
        part = rows[top : top + _ROWS]
        filtered = _paeth(part, np.vstack([above, part[:-1]]), 2 * channels)
        packed.append(packer.compress(filtered.tobytes()))
        above = part[-1:]
    packed.append(packer.flush())
    header = struct.pack(">IIBBBBB", width, height, 16, _PNG_COLOURS[channels], 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", b"".join(packed)), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        for kind, body in chunks
    )


def _paeth(
    rows: npt.NDArray[np.uint8], above: npt.NDArray[np.uint8], step: int
) -> npt.NDArray[np.uint8]:
    """PNG's fourth filter, with its number before each row."""
    left, corner = (np.zeros_like(rows) for _ in range(2))
    left[:, step:], corner[:, step:] = rows[:, :-step], above[:, :-step]
    a, b, c = (each.astype(np.int16) for each in (left, above, corner))
    guess = a + b - c
    by_a, by_b, by_c = np.abs(guess - a), np.abs(guess - b), np.abs(guess - c)
    nearest = np.where((by_a <= by_b) & (by_a <= by_c), a, np.where(by_b <= by_c, b, c))
    filtered = (rows - nearest.astype(np.uint8)).astype(np.uint8)
    return np.hstack([np.full((len(rows), 1), 4, np.uint8), filtered])

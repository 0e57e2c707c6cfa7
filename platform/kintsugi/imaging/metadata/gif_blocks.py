"""A GIF's XMP, which Pillow does not write; comments it does."""

_NAME = b"XMP DataXMP"
# The end of a packet that readers of blocks stumble over without harm: 258 bytes that count down.
_TRAILER = b"\x01" + bytes(range(255, -1, -1)) + b"\x00"


def read_gif_xmp(data: bytes) -> bytes:
    """The packet; empty when there is none."""
    start = data.find(b"!\xff\x0b" + _NAME)
    if start < 0:
        return b""
    end = data.find(_TRAILER, start)
    return data[start + 14 : end] if end > 0 else b""


def write_gif_xmp(encoded: bytes, xmp: bytes) -> bytes:
    """Put a packet behind the header of an encoded GIF."""
    if not xmp:
        return encoded
    colours = 3 * 2 ** ((encoded[10] & 7) + 1) if encoded[10] & 0x80 else 0
    at = 13 + colours
    block = b"!\xff\x0b" + _NAME + xmp + _TRAILER
    # Extensions are of the version of 1989.
    return b"GIF89a" + encoded[6:at] + block + encoded[at:]

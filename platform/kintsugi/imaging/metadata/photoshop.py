"""Photoshop's image resources, the usual home of IPTC data; knows no file format around them."""

import struct
from collections.abc import Iterator

_SIGNATURE = b"8BIM"
_IPTC = 0x0404
# Small pictures of what was there before.
_THUMBNAILS = {1033, 1036}


def without_thumbnails(resources: bytes) -> bytes:
    """All but the thumbnails; broken ones as they are."""
    return b"".join(whole for number, whole, _ in _each(resources) if number not in _THUMBNAILS)


def iptc_of(resources: bytes) -> bytes:
    """IPTC's own bytes; empty when there are none."""
    return next((body for number, _, body in _each(resources) if number == _IPTC), b"")


def resources_of(iptc: bytes) -> bytes:
    """Resources that hold IPTC's bytes alone."""
    pad = b"\0" * (len(iptc) % 2)
    return _SIGNATURE + struct.pack(">HHI", _IPTC, 0, len(iptc)) + iptc + pad


def _each(resources: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Number, all bytes and body of each resource."""
    at = 0
    while at + 12 <= len(resources):
        (number,) = struct.unpack_from(">H", resources, at + 4)
        # A name as Pascal wrote it, padded to an even length.
        body = at + 6 + (1 + resources[at + 6] + 1) // 2 * 2
        if body + 4 > len(resources):
            return
        (size,) = struct.unpack_from(">I", resources, body)
        end = body + 4 + size + size % 2
        yield number, resources[at:end], resources[body + 4 : body + 4 + size]
        at = end

"""A JPEG's segments next to its pixels: read, and put into a JPEG that was just encoded."""

import re
import struct
from collections.abc import Iterator
from dataclasses import replace

from kintsugi.imaging.metadata.exif_block import without_prefix
from kintsugi.imaging.metadata.photoshop import without_thumbnails
from kintsugi.imaging.metadata.tags import Tags

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP, _ICC, _MPF = b"Photoshop 3.0\0", b"ICC_PROFILE\0", b"MPF\0"
_APP0, _APP1, _APP2, _APP11, _APP13, _APP14, _COMMENT = 0xE0, 0xE1, 0xE2, 0xEB, 0xED, 0xEE, 0xFE
_START_OF_SCAN, _END = 0xDA, 0xD9
# Stuffed bytes, restart markers and fill bytes lie inside the pixels.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Most bytes of one segment, its length not counted.
_MOST = 65_533


def read_jpeg(data: bytes) -> Tags:
    """What the segments say, as it stands in the file; the resolution is the caller's to read."""
    tags, own, notes = Tags(), list[tuple[bytes, bytes]](), list[str]()
    resources = icc = b""
    comments: list[bytes] = []
    for marker, body in _segments(data):
        match marker:
            case 0xE1 if body.startswith(_EXIF) and not tags.exif:
                tags = replace(tags, exif=without_prefix(body))
            case 0xE1 if body.startswith(_XMP) and not tags.xmp:
                tags = replace(tags, xmp=body.removeprefix(_XMP))
            case 0xE2 if body.startswith(_ICC):
                icc += body[len(_ICC) + 2 :]
            case 0xE2 if body.startswith(_MPF):
                notes.append("further pictures in the file (previews, depth or gain map) dropped")
            case 0xED if body.startswith(_PHOTOSHOP):
                resources += body.removeprefix(_PHOTOSHOP)
            case 0xEB:
                notes.append("content credentials dropped: they vouch for the picture as it was")
            case 0xFE:
                comments.append(body)
            # What belongs to the encoding: JFIF with its thumbnail, Adobe's transform.
            case 0xE0 | 0xEE:
                pass
            case _:
                own.append((bytes([marker]), body))
    return replace(
        tags,
        resources=without_thumbnails(resources),
        icc=icc,
        comments=tuple(comments),
        own=tuple(own),
        notes=tuple(dict.fromkeys(notes)),
    )


def bytes_after_end(data: bytes) -> int:
    """How many bytes follow the picture: a motion photo's video, a second picture.

    The last end marker of a picture that is followed by one is not looked for: the first is.
    """
    at = _start_of_scan(data)
    while at is not None:
        found = _MARKER.search(data, at)
        if found is None:
            return 0
        at = found.start()
        if data[at + 1] == _END:
            return len(data) - at - 2
        if at + 4 > len(data):
            return 0
        at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0


def write_jpeg(encoded: bytes, tags: Tags) -> tuple[bytes, tuple[str, ...]]:
    """Put tags into an encoded JPEG; gives what does not fit into segments, too."""
    parts, notes = list[bytes](), list[str]()
    if tags.exif:
        if len(tags.exif) + len(_EXIF) > _MOST:
            notes.append("EXIF data dropped: jpeg holds 64 kB of it at most")
        else:
            parts.append(_segment(_APP1, _EXIF + tags.exif))
    if tags.xmp:
        if len(tags.xmp) + len(_XMP) > _MOST:
            notes.append("XMP data dropped: jpeg holds 64 kB of it at most")
        else:
            parts.append(_segment(_APP1, _XMP + tags.xmp))
    for piece in _pieces(tags.resources, _MOST - len(_PHOTOSHOP)):
        parts.append(_segment(_APP13, _PHOTOSHOP + piece))
    profile = list(_pieces(tags.icc, _MOST - len(_ICC) - 2))
    for number, piece in enumerate(profile, start=1):
        parts.append(_segment(_APP2, _ICC + bytes([number, len(profile)]) + piece))
    parts += [_segment(marker[0], body) for marker, body in tags.own]
    for comment in tags.comments:
        parts += [_segment(_COMMENT, piece) for piece in _pieces(comment, _MOST)]
    # Behind JFIF's own segment, which the encoder wrote first.
    at = 2
    if encoded[2:4] == b"\xff\xe0":
        at = 4 + int.from_bytes(encoded[4:6], "big")
    return encoded[:at] + b"".join(parts) + encoded[at:], tuple(notes)


def _segments(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Marker and body of each APP and comment segment before the pixels."""
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        marker = data[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        if marker in (_START_OF_SCAN, _END):
            return
        size = int.from_bytes(data[at + 2 : at + 4], "big")
        if size < 2:
            return
        if 0xE0 <= marker <= 0xEF or marker == _COMMENT:
            yield marker, data[at + 4 : at + 2 + size]
        at += 2 + size


def _start_of_scan(data: bytes) -> int | None:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF:
        if data[at + 1] == 0xFF:
            at += 1
            continue
        if data[at + 1] == _START_OF_SCAN:
            return at + 2 + int.from_bytes(data[at + 2 : at + 4], "big")
        at += 2 + max(2, int.from_bytes(data[at + 2 : at + 4], "big"))
    return None


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _pieces(data: bytes, most: int) -> Iterator[bytes]:
    for at in range(0, len(data), most):
        yield data[at : at + most]

"""A JPEG's segments next to its pixels: read, and put into a JPEG that was just encoded."""

import re
import struct
from collections.abc import Iterator

from kintsugi.imaging.metadata.exif_block import without_prefix
from kintsugi.imaging.metadata.photoshop import without_thumbnails
from kintsugi.imaging.metadata.tags import Tags

_EXIF, _XMP = b"Exif\0\0", b"http://ns.adobe.com/xap/1.0/\0"
_XMP_MORE = b"http://ns.adobe.com/xmp/extension/\0"
_PHOTOSHOP, _ICC, _MPF = b"Photoshop 3.0\0", b"ICC_PROFILE\0", b"MPF\0"
# A thermal camera's picture, and FlashPix's previews.
_FLIR, _FLASHPIX = b"FLIR\0", b"FPXR\0"
_TIFF_STARTS = (b"II*\0", b"MM\0*")
_APP1, _APP2, _APP13, _COMMENT = 0xE1, 0xE2, 0xED, 0xFE
_START, _START_OF_SCAN, _END = 0xD8, 0xDA, 0xD9
# In entropy-coded data a marker is whatever follows 0xff that is neither stuffing nor a restart.
_MARKER = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
# Markers without content.
_ALONE = {0x01, _START}
# Most bytes of one segment, its length not counted.
_MOST = 65_533


def segments(data: bytes) -> Iterator[tuple[int, int, int]]:
    """(marker, start, end) of each segment's content; the first picture's end is the last one."""
    position = 2
    while (found := _MARKER.search(data, position)) is not None:
        marker, start = data[found.start() + 1], found.end()
        if marker == _END or marker in _ALONE:
            yield marker, start, start
            if marker == _END:
                return
            position = start
            continue
        if start + 2 > len(data):
            return
        end = start + int.from_bytes(data[start : start + 2], "big")
        yield marker, start + 2, end
        position = max(end, start)


def read_jpeg(data: bytes) -> Tags:
    """What the segments say, as it stands in the file; the resolution is the caller's to read."""
    own, bound, notes, comments = list[tuple[bytes, bytes]](), list[str](), list[str](), []
    exif = xmp = resources = icc = b""
    for marker, start, end in segments(data):
        if marker == _START_OF_SCAN:
            break
        body = data[start:end]
        match marker:
            case 0xE1 if body.startswith(_EXIF):
                block = without_prefix(body)
                # What is longer than a segment goes on in the next one, without a start.
                if exif and block.startswith(_TIFF_STARTS):
                    notes.append("a second block of EXIF data dropped")
                else:
                    exif += block
            case 0xE1 if body.startswith(_XMP):
                if xmp:
                    notes.append("a second packet of XMP data dropped")
                xmp = xmp or body.removeprefix(_XMP)
            case 0xE1 if body.startswith(_XMP_MORE):
                notes.append("extended XMP data dropped: apps keep the picture as it was there")
            case 0xE1 | 0xE2 if body.startswith((_FLIR, _FLASHPIX)):
                notes.append("thermal pictures or previews dropped: they show what was there")
            case 0xE2 if body.startswith(_ICC):
                icc += body[len(_ICC) + 2 :]
            case 0xE2 if body.startswith(_MPF):
                notes.append("further pictures in the file (previews, depth or gain map) dropped")
            case 0xED if body.startswith(_PHOTOSHOP):
                resources += body.removeprefix(_PHOTOSHOP)
            case 0xEB if body.startswith(b"JP"):
                notes.append("content credentials dropped: they vouch for the picture as it was")
            case 0xEB:
                notes.append("segment APP11 dropped: it is made of the pixels")
            case 0xFE:
                comments.append(body)
            # What belongs to the encoding: JFIF with its thumbnail, Adobe's transform.
            case 0xE0 if body.startswith((b"JFIF\0", b"JFXX\0")):
                pass
            case 0xEE if body.startswith(b"Adobe"):
                pass
            case _ if 0xE0 <= marker <= 0xEF:
                own.append((bytes([marker]), body))
                bound.append(f"segment APP{marker - 0xE0}")
    return Tags(
        exif=exif,
        xmp=xmp,
        resources=without_thumbnails(resources),
        icc=icc,
        comments=tuple(comments),
        own=tuple(own),
        bound=tuple(dict.fromkeys(bound)),
        notes=tuple(dict.fromkeys(notes)),
    )


def bytes_after_end(data: bytes) -> int:
    """How many bytes follow the picture: a motion photo's video, a second picture.

    The last end marker of a picture that is followed by one is not looked for: the first is.
    """
    is_scanned = False
    for marker, start, _ in segments(data):
        is_scanned |= marker == _START_OF_SCAN
        if marker == _END and is_scanned:
            return len(data) - start
    return 0


def write_jpeg(encoded: bytes, tags: Tags) -> tuple[bytes, tuple[str, ...]]:
    """Put tags into an encoded JPEG; gives what does not fit into segments, too."""
    parts, notes = list[bytes](), list[str]()
    if tags.exif:
        pieces = list(_pieces(tags.exif, _MOST - len(_EXIF)))
        if len(pieces) > 1:
            notes.append("EXIF data over 64 kB is in several segments, which few programs read")
        parts += [_segment(_APP1, _EXIF + piece) for piece in pieces]
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


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _pieces(data: bytes, most: int) -> Iterator[bytes]:
    for at in range(0, len(data), most):
        yield data[at : at + most]

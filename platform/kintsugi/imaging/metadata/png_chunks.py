"""A PNG's chunks next to its pixels: read, and put into a PNG that was just encoded."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import replace

from kintsugi.imaging.metadata.exif_block import without_prefix
from kintsugi.imaging.metadata.photoshop import iptc_of, resources_of
from kintsugi.imaging.metadata.tags import COLOUR_PARTS, Tags

_XMP_KEY = b"XML:com.adobe.xmp"
_IPTC_KEY = b"Raw profile type iptc\0"
_SIGNATURE_BYTES = 8
# Those that are the picture, or an animation of it, or describe its palette.
_PICTURE = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS", b"hIST", b"bKGD"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
# More of a packet than any program writes; a bomb is not inflated further.
_MOST_XMP = 2**24
_INCH_METRES = 0.0254


def read_png(data: bytes) -> Tags:
    """What the chunks say, as stored; the profile and the resolution are the caller's to read."""
    tags, own, notes = Tags(), list[tuple[bytes, bytes]](), list[str]()
    for kind, body in _chunks(data):
        if kind in _PICTURE or kind in _ANIMATION or kind == b"iCCP":
            continue
        if kind == b"eXIf":
            tags = replace(tags, exif=without_prefix(body))
        elif kind == b"iTXt" and body.startswith(_XMP_KEY + b"\0"):
            tags = replace(tags, xmp=_international_text(body))
        elif kind in (b"zTXt", b"tEXt") and body.startswith(_IPTC_KEY):
            # As it is for a PNG, and read for other formats.
            own.append((kind, body))
            tags = replace(tags, resources=_read_raw_profile(kind, body))
        elif kind == b"caBX":
            notes.append("content credentials dropped: they vouch for the picture as it was")
        elif kind in _KNOWN or kind[3:4].islower():
            own.append((kind, body))
        else:
            # A capital there: it depends on the pixels in a way that is not known here.
            notes.append(f"chunk {kind.decode()} dropped: it depends on the pixels")
    return replace(tags, own=tuple(own), notes=tuple(dict.fromkeys(notes)))


def write_png(encoded: bytes, tags: Tags, *, same_format: bool) -> bytes:
    """Put tags into an encoded PNG.

    Args:
        encoded: With nothing but header, palette, transparency and pixels.
        tags: Those of a PNG keep their own chunks.
        same_format: Whether the photograph was a PNG, too.
    """
    own = list(tags.own) if same_format else []
    colours = [part for part in own if part[0] in COLOUR_PARTS]
    if tags.icc:
        colours.append((b"iCCP", b"ICC profile\0\0" + zlib.compress(tags.icc)))
        # A profile counts more than these, and both together are against the standard.
        colours = [part for part in colours if part[0] != b"sRGB"]
    rest = [part for part in own if part[0] not in COLOUR_PARTS]
    if tags.dpi and not any(kind == b"pHYs" for kind, _ in rest):
        across, down = (round(value / _INCH_METRES) for value in tags.dpi)
        rest.append((b"pHYs", struct.pack(">IIB", across, down, 1)))
    if tags.exif:
        rest.append((b"eXIf", tags.exif))
    if tags.xmp:
        rest.append((b"iTXt", _XMP_KEY + b"\0\0\0\0\0" + tags.xmp))
    if tags.resources and not same_format:
        rest.append((b"zTXt", _raw_profile(b"iptc", iptc_of(tags.resources))))
    if not same_format:
        rest += [(b"iTXt", b"Comment\0\0\0\0\0" + text.encode()) for text in tags.comments]
    first = _SIGNATURE_BYTES + 25
    pixels = encoded.index(b"IDAT", first) - 4
    return b"".join(
        [
            encoded[:first],
            *(_chunk(*part) for part in colours),
            encoded[first:pixels],
            *(_chunk(*part) for part in rest),
            encoded[pixels:],
        ]
    )


def bytes_after_end(data: bytes) -> int:
    """How many bytes follow a whole PNG."""
    end = _SIGNATURE_BYTES
    for kind, body in _chunks(data):
        end += 12 + len(body)
        if kind == b"IEND":
            break
    return len(data) - end


_KNOWN = COLOUR_PARTS | {b"pHYs", b"tEXt", b"zTXt", b"iTXt", b"tIME", b"sPLT", b"oFFs", b"pCAL"}


def _chunks(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    at = _SIGNATURE_BYTES
    while at + 12 <= len(data):
        size = int.from_bytes(data[at : at + 4], "big")
        kind = data[at + 4 : at + 8]
        yield kind, data[at + 8 : at + 8 + size]
        if kind == b"IEND":
            return
        at += 12 + size


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _international_text(body: bytes) -> bytes:
    """The text of an iTXt; empty when it is broken."""
    _, _, rest = body.partition(b"\0")
    packed = rest[:1] == b"\1"
    _, _, rest = rest[2:].partition(b"\0")
    _, _, text = rest.partition(b"\0")
    if not packed:
        return text
    try:
        return zlib.decompressobj().decompress(text, _MOST_XMP)
    except zlib.error:
        return b""


def _read_raw_profile(kind: bytes, body: bytes) -> bytes:
    """IPTC's bytes as image resources, which others store them as; empty when broken."""
    try:
        text = body[len(_IPTC_KEY) :]
        if kind == b"zTXt":
            # Behind a byte that names the method.
            text = zlib.decompressobj().decompress(text[1:], _MOST_XMP)
        # A line of the name, one of the length, then hexadecimal digits.
        data = bytes.fromhex(text.strip().split(b"\n", 2)[2].decode())
    except (zlib.error, ValueError, IndexError):
        return b""
    return data if data.startswith(b"8BIM") else resources_of(data)


def _raw_profile(name: bytes, data: bytes) -> bytes:
    """As ImageMagick, and others after it, store what PNG has no chunk for."""
    text = data.hex()
    lines = "\n".join(text[at : at + 72] for at in range(0, len(text), 72))
    content = b"\n%s\n%8d\n%s\n" % (name, len(data), lines.encode())
    return b"Raw profile type " + name + b"\0\0" + zlib.compress(content)

"""A JPEG 2000 file's boxes next to its pixels: read, and put into one that was just encoded."""

import struct
from collections.abc import Iterator

from kintsugi.imaging.costs.boxes import walk_boxes
from kintsugi.imaging.metadata.exif_block import without_prefix
from kintsugi.imaging.metadata.photoshop import iptc_of, resources_of
from kintsugi.imaging.metadata.tags import Tags, named

_XMP = bytes.fromhex("be7acfcb97a942e89c71999491e3afac")
_IPTC = bytes.fromhex("33c7a4d2b81d4723a0baf1a3e097ad38")
_EXIF = b"JpgTiffExif->JP2"
# What programs put there of their own, such as a map's coordinates; and what the encoder writes.
_OWN = {b"uuid", b"xml ", b"uinf"}
_PICTURE = {b"jP  ", b"ftyp", b"jp2h", b"jp2c", b"rreq", b"free"}
_INCH_METRES = 0.0254


def is_jp2(data: bytes) -> bool:
    """Whether it has boxes; a bare codestream has none."""
    return data[4:8] == b"jP  "


def read_jp2(data: bytes) -> Tags:
    """EXIF, XMP, IPTC, profile and resolution; boxes of programs' own."""
    exif = xmp = icc = resources = b""
    own, bound, notes = list[tuple[bytes, bytes]](), list[str](), list[str]()
    others = set[bytes]()
    dpi: tuple[float, float] | None = None
    for kind, body in _boxes(data) if is_jp2(data) else ():
        if kind == b"uuid" and body.startswith(_XMP):
            xmp = body.removeprefix(_XMP)
        elif kind == b"uuid" and body.startswith(_IPTC):
            resources = resources_of(body.removeprefix(_IPTC))
        elif kind == b"uuid" and body.startswith(_EXIF):
            exif = without_prefix(body.removeprefix(_EXIF))
        elif kind == b"jp2h":
            for inner, content in _boxes(body):
                # Method 2: a profile.
                if inner == b"colr" and content[:1] == b"\2":
                    icc = content[3:]
                elif inner == b"res ":
                    dpi = _resolution(content) or dpi
        elif kind in _OWN:
            own.append((kind, body))
            bound.append(f"box {kind.decode().strip()}")
        elif kind == b"jumb":
            notes.append("content credentials dropped: they vouch for the picture as it was")
        elif kind not in _PICTURE:
            others.add(kind)
    if others:
        notes.append(f"{named('box', others)} dropped: not known here")
    return Tags(
        exif=exif,
        xmp=xmp,
        resources=resources,
        icc=icc,
        dpi=dpi,
        own=tuple(own),
        bound=tuple(dict.fromkeys(bound)),
        notes=tuple(dict.fromkeys(notes)),
    )


def write_jp2(encoded: bytes, tags: Tags) -> bytes:
    """Put tags into an encoded JP2."""
    parts = []
    for kind, body in _boxes(encoded):
        if kind == b"jp2h":
            inner = [box for box in _boxes(body) if not (tags.icc and box[0] == b"colr")]
            if tags.icc:
                inner.append((b"colr", b"\2\0\0" + tags.icc))
            if tags.dpi:
                inner.append((b"res ", _box(b"resc", _resolution_body(tags.dpi))))
            parts.append(_box(kind, b"".join(_box(*each) for each in inner)))
            continue
        if kind == b"jp2c":
            if tags.exif:
                parts.append(_box(b"uuid", _EXIF + tags.exif))
            if tags.xmp:
                parts.append(_box(b"uuid", _XMP + tags.xmp))
            if iptc_of(tags.resources):
                parts.append(_box(b"uuid", _IPTC + iptc_of(tags.resources)))
            parts += [_box(*each) for each in tags.own]
        parts.append(_box(kind, body))
    return b"".join(parts)


def _boxes(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    for kind, start, end in walk_boxes(data, {}):
        yield kind, data[start:end]


def _box(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I4s", len(body) + 8, kind) + body


def _resolution(body: bytes) -> tuple[float, float] | None:
    for kind, content in _boxes(body):
        if kind in (b"resc", b"resd") and len(content) >= 10:
            down, down_of, across, across_of, down_tens, across_tens = struct.unpack(
                ">HHHHbb", content[:10]
            )
            if down_of and across_of:
                metre = (
                    across / across_of * 10.0**across_tens,
                    down / down_of * 10.0**down_tens,
                )
                return metre[0] * _INCH_METRES, metre[1] * _INCH_METRES
    return None


def _resolution_body(dpi: tuple[float, float]) -> bytes:
    across, down = (round(value * 100) for value in dpi)
    # So many hundredths of a pixel on 2.54 cm: times 100 a metre.
    values = [(min(each, 65_535), 254) for each in (down, across)]
    return struct.pack(">HHHHbb", *values[0], *values[1], 2, 2)

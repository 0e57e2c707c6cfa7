"""XMP made true of an upright, changed picture; it is patched as text, so that all else stays."""

import re

# Both ways to write a property: as an attribute, and as an element.
_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>\s*))[2-8]")
# Small pictures of what was there before.
_THUMBNAILS = rb"x[am]p:Thumbnails"
# The picture before an app blurred it, its depth, and whatever else is stored as a picture.
_PICTURES = rb"G?Image:Data|G?Depth(?:[Mm]ap)?:(?:Data|Confidence)|x[am]pGImg:image"
# A JPEG's further packet, which is not written.
_MORE = rb"xmpNote:HasExtendedXMP"


def corrected(packet: bytes) -> tuple[bytes, tuple[str, ...]]:
    """Orientation 1, and no pictures; gives notes of what is dropped, but of no thumbnails."""
    packet = _ORIENTATION.sub(rb"\g<1>1", packet)
    packet = _without(_MORE, _without(_THUMBNAILS, packet))
    rest = _without(_PICTURES, packet)
    if rest == packet:
        return packet, ()
    return rest, ("pictures in XMP data dropped: they show what was there before",)


def _without(names: bytes, packet: bytes) -> bytes:
    """All but some properties (a pattern of their names), in time that grows with the length."""
    packet = re.sub(rb"\s(?:" + names + rb")\s*=\s*(?:\"[^\"]*\"|'[^']*')", b"", packet)
    parts, at, endless = list[bytes](), 0, set[bytes]()
    for opened in re.finditer(rb"<(" + names + rb")(?=[\s/>])[^<>]{0,999}>", packet):
        name, end = opened[1], opened.end()
        if opened.start() < at or name in endless:
            continue
        if not opened[0].endswith(b"/>"):
            closed = packet.find(b"</" + name, end)
            end = packet.find(b">", closed) + 1 if closed >= 0 else 0
            if not end:
                endless.add(name)
                continue
        parts.append(packet[at : opened.start()])
        at = end
    return b"".join((*parts, packet[at:]))

"""XMP made true of an upright, changed picture; it is patched as text, so that all else stays."""

import re

# Both ways to write a property: as an attribute, and as an element.
_ORIENTATION = re.compile(rb"(tiff:Orientation(?:\s*=\s*[\"']|\s*>\s*))[2-8]")
# Small pictures of what was there before.
_THUMBNAILS = re.compile(rb"<(x[am]p:Thumbnails)\b.*?</\1\s*>", re.DOTALL)


def corrected(packet: bytes) -> bytes:
    """Orientation 1, and no thumbnails."""
    return _THUMBNAILS.sub(b"", _ORIENTATION.sub(rb"\g<1>1", packet))

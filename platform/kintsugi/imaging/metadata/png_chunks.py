"""A PNG's chunks next to its pixels: read, and put into a PNG that was just encoded."""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from kintsugi.imaging.metadata.exif_block import without_prefix
from kintsugi.imaging.metadata.photoshop import iptc_of, resources_of, without_thumbnails
from kintsugi.imaging.metadata.tags import COLOUR_PARTS, COLOUR_SPACE, Tags, as_text

_XMP_KEY = b"XML:com.adobe.xmp"
# What ImageMagick, and others after it, store as hexadecimal text: PNG had no chunk for it.
_RAW = b"Raw profile type "
_JPEG_XMP = b"http://ns.adobe.com/xap/1.0/\0"
_TEXTS = {b"tEXt", b"zTXt", b"iTXt"}
_SIGNATURE_BYTES = 8
# Those that are the picture, or an animation of it, or describe its palette.
_PICTURE = {b"IHDR", b"PLTE", b"IDAT", b"IEND", b"tRNS"}
_ANIMATION = {b"acTL", b"fcTL", b"fdAT"}
# More of a text than any program writes; a bomb is not inflated further.
_MOST_TEXT = 2**24
_INCH_METRES = 0.0254


@dataclass
class _Texts:
    """What the text chunks hold, by what it is; parts of `Tags`."""

    exif: bytes = b""
    xmp: bytes = b""
    photoshop: bytes = b""
    iptc: bytes = b""
    comments: list[bytes] = field(default_factory=list)
    bound: list[str] = field(default_factory=list)

    def take(self, keyword: bytes, text: bytes) -> bool:
        """Take a text (UTF-8); gives whether its chunk is kept as it is. Raises: ValueError."""
        if keyword == _XMP_KEY:
            self.xmp = self.xmp or text
            return False
        if not keyword.startswith(_RAW):
            name = b"" if keyword == b"Comment" else keyword.decode("latin-1").encode() + b": "
            self.comments.append(name + text)
            return True
        content = _read_raw_profile(text)
        match keyword.removeprefix(_RAW).lower():
            case b"exif" | b"app1" if not content.startswith(_JPEG_XMP):
                self.exif = self.exif or without_prefix(content)
            case b"xmp" | b"app1":
                self.xmp = self.xmp or content.removeprefix(_JPEG_XMP)
            case b"8bim" | b"iptc" if content.startswith(b"8BIM"):
                self.photoshop = self.photoshop or content
            case b"iptc":
                self.iptc = self.iptc or content
            case other:
                self.bound.append(f"raw profile {as_text(other)}")
                return True
        return False

    def resources(self) -> bytes:
        """As Photoshop stores them, no thumbnails."""
        if self.iptc and not iptc_of(self.photoshop):
            return without_thumbnails(self.photoshop) + resources_of(self.iptc)
        return without_thumbnails(self.photoshop)


def read_png(data: bytes) -> Tags:
    """What the chunks say, as stored; the profile and the resolution are the caller's to read.

    What other formats hold, too, is taken out of the texts, since it has to be made true of the
    picture; the other texts stay as they are.
    """
    own, bound, notes, texts, exif = list[tuple[bytes, bytes]](), [], [], _Texts(), b""
    for kind, body in _chunks(data):
        if kind in _PICTURE or kind in _ANIMATION or kind == b"iCCP":
            continue
        if kind == b"eXIf":
            exif = exif or without_prefix(body)
        elif kind in _TEXTS:
            try:
                is_own = texts.take(*_read_text(kind, body))
            except (zlib.error, ValueError):
                keyword = as_text(body.partition(b"\0")[0])[:79]
                notes.append(f"the text {keyword!a} dropped: it is broken")
                continue
            if is_own:
                own.append((kind, body))
        elif kind == b"caBX":
            notes.append("content credentials dropped: they vouch for the picture as it was")
        elif kind in _KNOWN or kind[3:4].islower() or (kind == b"bKGD" and _is_plain(data)):
            own.append((kind, body))
            # A number of pixels a metre is a resolution, which others hold, too.
            if kind not in COLOUR_PARTS and not (kind == b"pHYs" and body[8:9] == b"\1"):
                bound.append(f"chunk {kind.decode()}")
        else:
            # A capital there: it depends on the pixels in a way that is not known here.
            notes.append(f"chunk {kind.decode()} dropped: it depends on the pixels")
    return Tags(
        # Readers take that chunk before any text.
        exif=exif or texts.exif,
        xmp=texts.xmp,
        resources=texts.resources(),
        comments=tuple(texts.comments),
        own=tuple(own),
        bound=tuple(dict.fromkeys((*bound, *texts.bound))),
        notes=tuple(dict.fromkeys(notes)),
    )


def exif_of_app1(text: str) -> bytes:
    """EXIF data that a text of the name `Raw profile type APP1` holds; empty when it has none."""
    try:
        content = _read_raw_profile(text.encode())
    except ValueError:
        return b""
    return b"" if content.startswith(_JPEG_XMP) else content


def write_png(encoded: bytes, tags: Tags, *, same_format: bool) -> bytes:
    """Put tags into an encoded PNG.

    Args:
        encoded: With nothing but header, palette, transparency and pixels.
        tags: Those of a PNG keep their own chunks, others the colour space alone.
        same_format: Whether the photograph was a PNG, too.
    """
    own = [part for part in tags.own if same_format or part[0] == COLOUR_SPACE]
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
    if tags.resources:
        rest.append((b"zTXt", _raw_profile(b"iptc", tags.resources)))
    if not same_format:
        texts = [as_text(comment).encode() for comment in tags.comments]
        rest += [(b"iTXt", b"Comment\0\0\0\0\0" + text) for text in texts]
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


_KNOWN = COLOUR_PARTS | {b"pHYs", b"tIME", b"sPLT", b"oFFs", b"pCAL"}


def _is_plain(data: bytes) -> bool:
    """Whether samples are written as they were stored: no palette, and whole bytes each."""
    return data[25] != 3 and data[24] >= 8


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


def _read_text(kind: bytes, body: bytes) -> tuple[bytes, bytes]:
    """Keyword and text, as UTF-8. Raises: ValueError, zlib.error: it is broken."""
    keyword, _, rest = body.partition(b"\0")
    if kind == b"tEXt":
        return keyword, rest.decode("latin-1").encode()
    if kind == b"zTXt":
        # Behind a byte that names the method.
        return keyword, _inflated(rest[1:]).decode("latin-1").encode()
    is_packed = rest[:1] == b"\1"
    # Behind the method, the language and the keyword in it.
    _, _, rest = rest[2:].partition(b"\0")
    _, _, text = rest.partition(b"\0")
    return keyword, _inflated(text) if is_packed else text


def _inflated(packed: bytes) -> bytes:
    inflater = zlib.decompressobj()
    text = inflater.decompress(packed, _MOST_TEXT)
    if not inflater.eof:
        raise ValueError("it is cut short, or longer than any text")
    return text


def _read_raw_profile(text: bytes) -> bytes:
    """A profile's bytes. Raises: ValueError."""
    lines = text.strip().split(b"\n", 2)
    if len(lines) < 3:
        raise ValueError("it has no line of its name and none of its length")
    return bytes.fromhex(lines[2].decode("ascii"))


def _raw_profile(name: bytes, data: bytes) -> bytes:
    """The content of a zTXt; others read Photoshop's resources under the name iptc."""
    text = data.hex()
    lines = "\n".join(text[at : at + 72] for at in range(0, len(text), 72))
    content = b"\n%s\n%8d\n%s\n" % (name, len(data), lines.encode())
    return b"Raw profile type " + name + b"\0\0" + zlib.compress(content)

"""A TIFF with everything that another one said of its picture; Pillow writes neither 16-bit colour
nor what it does not know.
"""

import zlib
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kintsugi.imaging.metadata.exif_block import DESCRIBING
from kintsugi.imaging.metadata.photoshop import iptc_of, resources_of, without_thumbnails
from kintsugi.imaging.metadata.tags import Tags
from kintsugi.imaging.metadata.tiff_ifds import (
    EXIF,
    GPS,
    Directory,
    Entry,
    byte_order,
    directory_at,
    header,
    longs,
    number,
    rational,
    read_first,
    shorts,
    undefined,
)

_XMP, _IPTC, _RESOURCES, _ICC, _LAYERS = 700, 33723, 34377, 34675, 37724
_DESCRIPTION, _ORIENTATION, _X, _Y, _UNIT = 270, 274, 282, 283, 296
_REDUCED, _SUB_IFDS, _DNG_VERSION = 1, 330, 50706
# How the pixels lie in the file, and what is written otherwise here.
_STRUCTURE = frozenset(
    {254, 255, 256, 257, 258, 259, 262, 263, 264, 265, 266, 273, 277, 278, 279, 280, 281, 284}
    | {288, 289, 290, 291, 292, 293, 297, 317, 320, 321, 322, 323, 324, 325, 330, 332, 333, 334}
    | {336, 338, 339, 340, 341, 342, 347, 512, 513, 514, 515, 517, 518, 519, 520, 521, 529, 530}
    | {531, 532, 37724, 50781, _ICC}
)
_CORRECTED = frozenset({_XMP, _IPTC, _RESOURCES})
_PHOTOMETRIC = {"1": 1, "L": 1, "P": 3, "RGB": 2, "CMYK": 5}
_CHANNELS = {"1": 1, "L": 1, "P": 1, "RGB": 3, "CMYK": 4}
_STRIP_BYTES = 2**18
_LEVEL = 6


@dataclass(frozen=True)
class TiffPicture:
    """What is stored.

    Attributes:
        mode: 1, L, P, RGB or CMYK.
        samples: H W or H W C; bool of mode 1, indices of P; uint8 or uint16. One channel more
            than the mode has is transparency.
        palette: uint8 256 3, of mode P.
    """

    mode: str
    samples: npt.NDArray[np.generic]
    palette: npt.NDArray[np.uint8] | None = None


def is_preview(data: bytes) -> bool:
    """Whether the first picture of a TIFF is a raw file's preview and not the photograph.

    Raises: ValueError: it has no directory.
    """
    order, first = byte_order(data), read_first(data)
    is_reduced = bool((number(order, first.entries.get(254)) or 0) & _REDUCED)
    return (
        _DNG_VERSION in first.entries
        or data[8:10] == b"CR"
        or (is_reduced and _SUB_IFDS in first.entries)
    )


def read_tiff(data: bytes) -> Tags:
    """What a TIFF says that is not in its EXIF data. Raises: ValueError."""
    directory = read_first(data)
    first = directory.entries
    resources = _bytes(first.get(_RESOURCES))
    if not resources and _bytes(first.get(_IPTC)):
        resources = resources_of(_bytes(first.get(_IPTC)))
    notes = []
    if _LAYERS in first:
        notes.append("Photoshop's layers dropped: the picture is kept flat")
    if _SUB_IFDS in first:
        notes.append("further pictures in the file (smaller copies) dropped")
    own = {*first, *directory.children} - _STRUCTURE - _CORRECTED - DESCRIBING - {EXIF, GPS}
    return Tags(
        xmp=_bytes(first.get(_XMP)),
        resources=without_thumbnails(resources),
        bound=tuple(f"tag {tag}" for tag in sorted(own)),
        notes=tuple(notes),
    )


def write_tiff(
    picture: TiffPicture, tags: Tags, source: bytes | None
) -> tuple[bytes, tuple[str, ...]]:
    """Encode a TIFF, compressed without loss; gives what of the tags has no place, too.

    Args:
        picture: Its pixels.
        tags: The tags of the photograph.
        source: The TIFF that it came as; all its tags are kept. None: another format.
    """
    order, kept = "<", Directory()
    if source is not None:
        # Of what is corrected the tags have the only copy.
        order, kept = byte_order(source), read_first(source).without(_STRUCTURE | _CORRECTED)
    elif tags.exif:
        order, kept = byte_order(tags.exif), read_first(tags.exif).without(_STRUCTURE)
    strips, about = _strips(picture, order)
    data = b"".join(strips)
    entries = dict(kept.entries)
    if _ORIENTATION in entries:
        entries[_ORIENTATION] = shorts(order, 1)
    notes: tuple[str, ...] = ()
    if tags.comments and _DESCRIPTION in entries:
        notes = ("comment dropped: its place in tiff holds the description of EXIF data",)
    entries |= _tag_entries(tags, order, entries)
    places = np.cumsum([8, *(len(strip) for strip in strips)])[:-1]
    entries |= about | {
        273: longs(order, *(int(place) for place in places)),
        279: longs(order, *(len(strip) for strip in strips)),
    }
    at = 8 + len(data) + len(data) % 2
    pad = b"\0" * (len(data) % 2)
    directory = directory_at(order, Directory(entries, kept.children), at)
    return header(order, at) + data + pad + directory, notes


def _tag_entries(tags: Tags, order: str, there: dict[int, Entry]) -> dict[int, Entry]:
    entries: dict[int, Entry] = {}
    if tags.icc:
        entries[_ICC] = undefined(tags.icc)
    if tags.xmp:
        entries[_XMP] = Entry(1, len(tags.xmp), tags.xmp)
    if tags.resources:
        entries[_RESOURCES] = Entry(1, len(tags.resources), tags.resources)
        iptc = iptc_of(tags.resources)
        if iptc:
            entries[_IPTC] = undefined(iptc)
    if tags.comments and _DESCRIPTION not in there:
        text = b"\n".join(tags.comments).rstrip(b"\0") + b"\0"
        entries[_DESCRIPTION] = Entry(2, len(text), text)
    if tags.dpi and _X not in there:
        entries |= {
            _X: rational(order, tags.dpi[0]),
            _Y: rational(order, tags.dpi[1]),
            _UNIT: shorts(order, 2),
        }
    return entries


def _strips(picture: TiffPicture, order: str) -> tuple[list[bytes], dict[int, Entry]]:
    """The pixels in compressed pieces, and the tags that say how they lie."""
    samples = picture.samples
    height, width = samples.shape[:2]
    channels = 1 if samples.ndim == 2 else samples.shape[2]
    bits = 1 if picture.mode == "1" else 8 * samples.dtype.itemsize
    # Differences between neighbours; of indices and single bits they are larger, not smaller.
    predicted = picture.mode not in ("1", "P")
    rows = max(1, _STRIP_BYTES // max(1, width * channels * samples.dtype.itemsize))
    strips = [
        zlib.compress(_packed(samples[top : top + rows], picture.mode, order, predicted), _LEVEL)
        for top in range(0, height, rows)
    ]
    about = {
        256: longs(order, width),
        257: longs(order, height),
        258: shorts(order, *[bits] * channels),
        259: shorts(order, 8),
        262: shorts(order, _PHOTOMETRIC[picture.mode]),
        277: shorts(order, channels),
        278: longs(order, rows),
        284: shorts(order, 1),
        317: shorts(order, 2 if predicted else 1),
    }
    if channels > _CHANNELS[picture.mode]:
        about[338] = shorts(order, 2)
    if picture.palette is not None:
        table = picture.palette.T.astype(np.uint16).reshape(-1) * 257
        about[320] = shorts(order, *(int(value) for value in table))
    return strips, about


def _packed(samples: npt.NDArray[np.generic], mode: str, order: str, predicted: bool) -> bytes:
    if mode == "1":
        return np.packbits(samples.astype(np.bool_), axis=1).tobytes()
    whole = samples
    if predicted:
        whole = samples.copy()
        # Whole numbers that run over are what the standard asks for.
        whole[:, 1:] = samples[:, 1:] - samples[:, :-1]  # type: ignore[operator]
    if samples.dtype == np.uint16:
        whole = whole.astype(f"{order}u2")
    return whole.tobytes()


def _bytes(entry: Entry | None) -> bytes:
    return entry.value if entry is not None else b""

"""The formats of photographs: one list for folders, commands, the service and the page."""

from dataclasses import dataclass
from pathlib import PurePosixPath

from kintsugi.errors import InvalidInput


@dataclass(frozen=True)
class Format:
    """A format that is read and written.

    Attributes:
        name: As an option names it.
        label: As people write it.
        suffixes: The suffixes of file names, lower case; the first is what a new file gets.
        media_type: As HTTP names it.
        plugin: Pillow's name.
        modes: What it stores: 1 (bilevel), L (grey), P (palette), RGB, CMYK.
        depth: Most bits of a sample that are written.
        alpha: Whether it stores transparency.
        keeps: Metadata it holds: exif, xmp, iptc, icc, dpi, gamma, comment.
        side_limit: The longest side it can store, in pixels; None for more than is accepted.
    """

    name: str
    label: str
    suffixes: tuple[str, ...]
    media_type: str
    plugin: str
    modes: frozenset[str]
    depth: int
    alpha: bool
    keeps: frozenset[str]
    side_limit: int | None = None

    def check_sides(self, height: int, width: int) -> None:
        """Raises: InvalidInput `format_side_limit`: a side is longer than it can store."""
        longest = max(height, width)
        if self.side_limit is not None and longest > self.side_limit:
            raise InvalidInput(
                f"{self.name} holds at most {self.side_limit} px a side and the image has"
                f" {longest}",
                code="format_side_limit",
                hint="ask for png or tiff",
            )


_ALL = frozenset({"exif", "xmp", "iptc", "icc", "dpi", "comment"})
_PICTURE = frozenset({"exif", "xmp", "icc"})

FORMATS: dict[str, Format] = {
    each.name: each
    for each in (
        Format(
            "png",
            "PNG",
            (".png",),
            "image/png",
            "PNG",
            frozenset({"1", "L", "P", "RGB"}),
            16,
            True,
            _ALL | {"gamma"},
        ),
        Format(
            "jpeg",
            "JPEG",
            (".jpg", ".jpeg", ".jpe", ".jfif"),
            "image/jpeg",
            "JPEG",
            frozenset({"L", "RGB", "CMYK"}),
            8,
            False,
            _ALL,
            65_500,
        ),
        Format(
            "webp",
            "WebP",
            (".webp",),
            "image/webp",
            "WEBP",
            frozenset({"RGB"}),
            8,
            True,
            _PICTURE,
            16_383,
        ),
        Format(
            "tiff",
            "TIFF",
            (".tif", ".tiff"),
            "image/tiff",
            "TIFF",
            frozenset({"1", "L", "P", "RGB", "CMYK"}),
            16,
            True,
            _ALL,
        ),
        Format(
            "heif",
            "HEIC",
            (".heic", ".heif", ".hif"),
            "image/heif",
            "HEIF",
            frozenset({"L", "RGB"}),
            8,
            True,
            _PICTURE,
            16_384,
        ),
        Format(
            "avif",
            "AVIF",
            (".avif",),
            "image/avif",
            "AVIF",
            frozenset({"RGB"}),
            8,
            True,
            _PICTURE,
            65_536,
        ),
        Format(
            "bmp",
            "BMP",
            (".bmp", ".dib"),
            "image/bmp",
            "BMP",
            frozenset({"1", "L", "P", "RGB"}),
            8,
            False,
            frozenset({"dpi"}),
        ),
        Format(
            "gif",
            "GIF",
            (".gif",),
            "image/gif",
            "GIF",
            frozenset({"1", "L", "P"}),
            8,
            True,
            frozenset({"comment", "xmp"}),
            65_535,
        ),
        Format(
            "jp2",
            "JPEG 2000",
            (".jp2", ".j2k", ".jpx", ".jpf", ".j2c"),
            "image/jp2",
            "JPEG2000",
            frozenset({"L", "RGB"}),
            8,
            True,
            frozenset({"exif", "xmp", "iptc", "icc", "dpi"}),
        ),
    )
}
FORMAT_NAMES = tuple(FORMATS)
# By which photographs are found in folders and buckets; what is in them is looked at later.
PHOTO_SUFFIXES = tuple(suffix for each in FORMATS.values() for suffix in each.suffixes)
# "PNG, JPEG, ..." for messages and documents.
ALL_LABELS = ", ".join(each.label for each in FORMATS.values())
# From here on the chroma of every pixel is worth keeping, too.
FINE_QUALITY = 90
_BY_SUFFIX = {suffix: each for each in FORMATS.values() for suffix in each.suffixes}


def is_photo(name: str) -> bool:
    """Whether a file is taken for a photograph: by its ending, and it is not hidden."""
    return name.lower().endswith(PHOTO_SUFFIXES) and not is_hidden(name)


def is_hidden(name: str) -> bool:
    """Whether a file, or a folder it lies in, is some program's own, such as macOS's `._a.png`."""
    return any(part.startswith(".") and part not in (".", "..") for part in name.split("/"))


def format_of_name(name: str) -> Format | None:
    """The format that a file's name ends in."""
    return _BY_SUFFIX.get(PurePosixPath(name).suffix.lower())

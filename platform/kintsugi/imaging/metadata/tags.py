"""What is carried from a photograph's file to the file of its fill; reads and writes nothing."""

from dataclasses import dataclass, field, replace


@dataclass(frozen=True)
class Tags:
    """Everything next to the pixels, already true of the upright picture.

    Attributes:
        exif: A TIFF block, without JPEG's prefix; no thumbnail, orientation 1.
        xmp: A packet.
        resources: Photoshop's image resources, IPTC among them; no thumbnail.
        icc: The colour profile of the stored samples.
        dpi: Pixels an inch across and down.
        comments: Free text, as stored: UTF-8, or else Latin-1.
        own: Other parts of the file by kind, kept as they are where the format stays the same.
        bound: Names of what only a file of the same format holds, such as "chunk tIME"; not of
            what decides colours.
        notes: What could not be taken over, one short English clause each.
    """

    exif: bytes = b""
    xmp: bytes = b""
    resources: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    comments: tuple[bytes, ...] = ()
    own: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
    bound: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def stripped(self) -> "Tags":
        """The colour profile alone, and what else decides colours."""
        colours = tuple(part for part in self.own if part[0] in COLOUR_PARTS)
        return Tags(icc=self.icc, own=colours)

    def lost_in(self, label: str, keeps: frozenset[str]) -> tuple[str, ...]:
        """What a format cannot hold, one clause each."""
        held = {
            "exif": (self.exif, "EXIF data"),
            "xmp": (self.xmp, "XMP data"),
            "iptc": (self.resources, "IPTC data"),
            "icc": (self.icc, "colour profile"),
            "dpi": (self.dpi, "resolution"),
            "comment": (self.comments, "comment"),
        }
        return tuple(
            f"{name} dropped: {label} holds none"
            for kind, (value, name) in held.items()
            if value and kind not in keeps
        )

    def for_another(self, label: str) -> tuple["Tags", tuple[str, ...]]:
        """What another format can take, and what it cannot, one clause each."""
        kinds = {kind for kind, _ in self.own} & COLOUR_PARTS
        if b"sRGB" in kinds or self.icc:
            # It says the same, or counts more.
            kinds -= {b"gAMA", b"cHRM"}
        names = {b"gAMA": "gamma"}
        lost = [names.get(kind, f"chunk {kind.decode()}") for kind in sorted(kinds - {b"sRGB"})]
        lost += self.bound
        if len(lost) > _MOST_NAMES:
            lost[_MOST_NAMES:] = [f"{len(lost) - _MOST_NAMES} more"]
        notes = (f"{', '.join(lost)} dropped: {label} holds none",) if lost else ()
        return replace(self, own=(), bound=()), notes


def as_text(comment: bytes) -> str:
    """A comment's words; what is no UTF-8 is Latin-1, in which any bytes are text."""
    try:
        return comment.decode().rstrip("\0")
    except UnicodeDecodeError:
        return comment.decode("latin-1").rstrip("\0")


# PNG's chunks that decide what colours samples are.
COLOUR_PARTS = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT"})
# More names are not listed in a note.
_MOST_NAMES = 12

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
        comments: Free text.
        own: Other parts of the file by kind, kept as they are where the format stays the same.
        notes: What could not be taken over, one short English clause each.
    """

    exif: bytes = b""
    xmp: bytes = b""
    resources: bytes = b""
    icc: bytes = b""
    dpi: tuple[float, float] | None = None
    comments: tuple[str, ...] = ()
    own: tuple[tuple[bytes, bytes], ...] = field(default=(), repr=False)
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

    def without_own(self) -> "Tags":
        """What another format can take."""
        return replace(self, own=())


# PNG's chunks that decide what colours samples are.
COLOUR_PARTS = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT"})

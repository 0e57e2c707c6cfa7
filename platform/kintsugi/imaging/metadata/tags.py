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
        # What says the colour space is named in words, by who knows the format.
        kinds = ({kind for kind, _ in self.own} & COLOUR_PARTS) - {COLOUR_SPACE}
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


def named(part: str, kinds: set[bytes]) -> str:
    """Parts of a file by their kinds, as a note begins; many are not listed."""
    names = [f"{part} {kind.decode('latin-1')!a}" for kind in sorted(kinds)[:_MOST_NAMES]]
    return ", ".join(names) + (" and more" if len(kinds) > _MOST_NAMES else "")


def as_text(comment: bytes) -> str:
    """A comment's words; what is no UTF-8 is Latin-1, in which any bytes are text."""
    try:
        return comment.decode().rstrip("\0")
    except UnicodeDecodeError:
        return comment.decode("latin-1").rstrip("\0")


# PNG's chunk, and the part of a HEIC's or AVIF's tags, that says primaries and transfer by number.
COLOUR_SPACE = b"cICP"
# Those that are shown as sRGB is, or as much as, or not known; names of others.
_SRGB_PRIMARIES, _SRGB_TRANSFERS = frozenset({1, 2}), frozenset({1, 2, 6, 13, 14, 15})
_PRIMARIES = {9: "BT.2020", 11: "DCI-P3", 12: "Display P3"}
_TRANSFERS = {4: "gamma 2.2", 5: "gamma 2.8", 8: "linear", 16: "PQ", 18: "HLG"}


def colour_space(primaries: int, transfer: int) -> tuple[tuple[bytes, bytes], ...]:
    """These numbers of H.273 as PNG stores them, a part of `Tags.own`; none of sRGB's like."""
    is_usual = primaries in _SRGB_PRIMARIES and transfer in _SRGB_TRANSFERS
    if is_usual or max(primaries, transfer) > 255:
        return ()
    # Samples are RGB here, of the full range.
    return ((COLOUR_SPACE, bytes([primaries, transfer, 0, 1])),)


def colour_space_name(body: bytes) -> str:
    """The part of `COLOUR_SPACE` in words; "" for what is shown as sRGB is."""
    if len(body) < 2 or not colour_space(body[0], body[1]):
        return ""
    primaries, transfer = body[0], body[1]
    words = [
        ""
        if primaries in _SRGB_PRIMARIES
        else _PRIMARIES.get(primaries, f"of primaries {primaries}"),
        "" if transfer in _SRGB_TRANSFERS else _TRANSFERS.get(transfer, f"of transfer {transfer}"),
    ]
    return " ".join(filter(None, words))


# PNG's chunks that decide what colours samples are.
COLOUR_PARTS = frozenset({b"gAMA", b"cHRM", b"sRGB", b"cICP", b"mDCV", b"cLLI", b"sBIT"})
# More names are not listed in a note.
_MOST_NAMES = 12

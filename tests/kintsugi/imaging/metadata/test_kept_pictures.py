"""No file of a fill holds a copy of what was there; own parts of programs stay or are named."""

import io
import struct
import time

import pytest
from PIL import Image

from kintsugi.imaging.metadata.exif_block import made_upright
from kintsugi.imaging.metadata.tiff_ifds import Directory, Entry, read_first, write_block
from kintsugi.imaging.metadata.xmp_packet import corrected
from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import open_photograph
from kintsugi.imaging.saving import save_photograph
from tests.kintsugi.pictures import encode, gradient, photo

COPY = b"ORIGINALPICTURE"
XMP = b"http://ns.adobe.com/xap/1.0/\0"


def packet(inner: bytes) -> bytes:
    return b"<x:xmpmeta><rdf:RDF><rdf:Description " + inner + b"</rdf:RDF></x:xmpmeta>"


def with_segments(*segments: tuple[int, bytes]) -> bytes:
    data = photo()
    parts = [struct.pack(">BBH", 0xFF, kind, len(body) + 2) + body for kind, body in segments]
    return data[:2] + b"".join(parts) + data[2:]


def filled(data: bytes, format: str = "same") -> tuple[bytes, str]:
    before = open_photograph(data)
    saved = save_photograph(before, before.seen, output_in(format))
    return saved.body, "; ".join(saved.notes)


@pytest.mark.parametrize("format", ["same", "png", "tiff"])
def test_extended_xmp_is_dropped_and_named(format: str) -> None:
    guid = b"0123456789ABCDEF0123456789ABCDEF"
    main = packet(b'xmpNote:HasExtendedXMP="' + guid + b'" xmp:Rating="4"/>')
    more = b"<x:xmpmeta><GImage:Data>" + COPY + b"</GImage:Data></x:xmpmeta>"
    extension = b"http://ns.adobe.com/xmp/extension/\0" + guid + struct.pack(">II", len(more), 0)
    data = with_segments((0xE1, XMP + main), (0xE1, extension + more))
    body, notes = filled(data, format)
    assert COPY not in body
    assert guid not in body
    assert b'xmp:Rating="4"' in body
    assert notes == "extended XMP data dropped: apps keep the picture as it was there"


@pytest.mark.parametrize(
    "inner",
    [
        b'GImage:Mime="image/jpeg" GImage:Data="' + COPY + b'" xmp:Rating="4"/>',
        b"GImage:Data='" + COPY + b'\' xmp:Rating="4"/>',
        b'xmp:Rating="4"><GImage:Data>' + COPY + b"</GImage:Data></rdf:Description>",
        b'xmp:Rating="4"><GDepth:Data xml:lang="x">' + COPY + b"</GDepth:Data ></rdf:Description>",
        b'xmp:Rating="4"><a><xmpGImg:image>' + COPY + b"</xmpGImg:image></a></rdf:Description>",
    ],
)
@pytest.mark.parametrize("format", ["jpeg", "png", "webp", "tiff", "gif"])
def test_pictures_in_xmp_are_dropped_and_named(format: str, inner: bytes) -> None:
    body, notes = filled(with_segments((0xE1, XMP + packet(inner))), format)
    assert COPY not in body
    assert b'xmp:Rating="4"' in body
    assert "pictures in XMP data dropped: they show what was there before" in notes


def test_pictures_in_the_xmp_of_any_format_are_dropped() -> None:
    inner = packet(b'xmp:Rating="4" GImage:Data="' + COPY + b'"/>')
    webp = photo(format="WEBP", xmp=inner)
    assert COPY in webp
    body, notes = filled(webp)
    assert COPY not in body
    assert b'xmp:Rating="4"' in body
    assert "pictures in XMP data dropped" in notes


def test_xmp_without_pictures_stays_to_the_byte() -> None:
    plain = packet(b'xmp:Rating="4"><GImage:Mime>image/jpeg</GImage:Mime></rdf:Description>')
    assert corrected(plain) == (plain, ())


@pytest.mark.parametrize(
    "hostile",
    [
        b"<GImage:Data>",
        b"<GImage:Data",
        b' GImage:Data="',
        b" GImage:Data='\"",
        b"<xmp:Thumbnails>",
        b"<GImage:Data></GImage:Data",
    ],
)
def test_a_hostile_packet_takes_no_more_time_than_its_length(hostile: bytes) -> None:
    def seconds(count: int) -> float:
        began = time.process_time()
        corrected(hostile * count)
        return time.process_time() - began

    few, many = min(seconds(2_000) for _ in range(3)), seconds(40_000)
    # Twenty times as long; what grows with the square takes four hundred times.
    assert many < 100 * few + 0.2


@pytest.mark.parametrize(
    ("marker", "body", "note"),
    [
        (0xE1, b"FLIR\0\1\0\0" + COPY, "thermal pictures or previews dropped"),
        (0xE2, b"FPXR\0\0" + COPY, "thermal pictures or previews dropped"),
        (0xEB, b"HDR_RI ver=11" + COPY, "segment APP11 dropped: it is made of the pixels"),
        (0xEB, b"JP\0\1" + COPY, "content credentials dropped"),
        (0xE0, b"JFXX\0\x10" + COPY, ""),
    ],
)
def test_segments_that_hold_a_picture_are_dropped_and_named(
    marker: int, body: bytes, note: str
) -> None:
    made, notes = filled(with_segments((marker, body)))
    assert COPY not in made
    assert note in notes
    assert bool(note) is bool(notes)


def test_a_second_packet_or_block_is_dropped_and_named() -> None:
    exif = Image.Exif()
    exif[0x010E] = "first"
    block = exif.tobytes()
    other = block.replace(b"first", COPY[:5])
    xmp = XMP + packet(b'xmp:Rating="4"/>')
    data = with_segments((0xE1, block), (0xE1, xmp), (0xE1, other), (0xE1, xmp + COPY))
    made, notes = filled(data)
    assert COPY[:5] not in made
    assert b"first" in made
    assert "a second block of EXIF data dropped" in notes
    assert "a second packet of XMP data dropped" in notes


def test_exif_data_over_several_segments_stays_one_block() -> None:
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 6, "a" * 100_000
    block = exif.tobytes()
    parts = [block[:60_000], b"Exif\0\0" + block[60_000:]]
    made, notes = filled(with_segments(*((0xE1, part) for part in parts)))
    with Image.open(io.BytesIO(made)) as image:
        assert image.getexif()[0x010E] == "a" * 100_000
        assert image.getexif()[0x0112] == 1
        assert image.size == (96, 64)
    assert "EXIF data over 64 kB is in several segments" in notes


@pytest.mark.parametrize("format", ["png", "tiff", "webp"])
def test_segments_that_another_format_does_not_hold_are_named(format: str) -> None:
    data = with_segments((0xE7, b"Mine\0abc"), (0xEC, b"Ducky"), (0xE0, b"OCAD\0x"))
    made, notes = filled(data)
    assert (b"Mine\0abc" in made, b"OCAD\0x" in made, notes) == (True, True, "")
    _, notes = filled(data, format)
    named = "segment APP7, segment APP12, segment APP0 dropped"
    assert notes == f"{named}: {format} holds none"


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("strips", [1, 2])
def test_a_thumbnail_without_compression_is_dropped(order: str, strips: int) -> None:
    first = write_block(order, Directory({0x010E: Entry(2, 7, b"a lake\0")}))
    second = len(first)
    at = second + 2 + 2 * 12 + 4 + (8 if strips == 2 else 0)
    half = len(COPY) // 2
    if strips == 1:
        where, sizes, values = at, struct.pack(f"{order}HH", len(COPY), 0), b""
    else:
        where, sizes = at - 8, struct.pack(f"{order}HH", half, len(COPY) - half)
        values = struct.pack(f"{order}II", at, at + half)
    entries = struct.pack(f"{order}HHHII", 2, 273, 4, strips, where)
    entries += struct.pack(f"{order}HHI", 279, 3, strips) + sizes + bytes(4)
    # The link to it is what the first directory ends with, before its values.
    block = first[:22] + struct.pack(f"{order}I", second) + first[26:] + entries + values + COPY
    assert block.index(COPY) == at
    made = made_upright(block, turned=False)
    assert COPY[:half] not in made
    assert COPY[half:] not in made
    assert read_first(made).entries[0x010E].value == b"a lake\0"


def test_photoshop_thumbnails_alone_leave_nothing_in_a_tiff() -> None:
    small = encode(Image.fromarray(gradient(24, 16)), "JPEG")
    resources = b"8BIM\x04\x0c\0\0" + struct.pack(">I", len(small)) + small
    resources += b"\0" * (len(small) % 2)
    tiff = encode(gradient(), "TIFF", tiffinfo={34377: resources})
    assert small in tiff
    assert small not in filled(tiff)[0]


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """Chunks behind those of a WebP."""
    more = b"".join(
        kind + struct.pack("<I", len(body)) + body + b"\0" * (len(body) % 2)
        for kind, body in chunks
    )
    data = photo(format="WEBP", lossless=True)
    size = len(data) + len(more) - 8
    return data[:4] + struct.pack("<I", size) + data[8:] + more


def test_chunks_of_a_webp_that_are_not_known_are_named() -> None:
    assert filled(riff())[1] == ""
    made, notes = filled(riff((b"C2PA", b"abc"), (b"mine", COPY)))
    assert COPY not in made
    assert notes == "chunk 'C2PA', chunk 'mine' dropped: not known here"
    # What follows the file is none of it, and a file of very many kinds has a short note.
    assert filled(riff() + b"mine" + bytes(60))[1] == ""
    many = [(b"%04d" % number, b"") for number in range(500)]
    assert filled(riff(*many))[1].endswith("chunk '0011' and more dropped: not known here")


def test_boxes_of_a_jpeg_2000_stay_or_are_named() -> None:
    def box(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", 8 + len(body)) + kind + body

    map_box = box(b"uuid", bytes.fromhex("b14bf8bd083d4b43a5ae8cd7d5a6ce03") + b"II*\0map")
    words = box(b"xml ", b"<gml/>")
    data = photo(format="JPEG2000")
    at = data.index(b"jp2c") - 4
    data = data[:at] + map_box + words + box(b"jumb", COPY) + box(b"mine", b"") + data[at:]
    lost = (
        "content credentials dropped: they vouch for the picture as it was;"
        " box 'mine' dropped: not known here"
    )
    made, notes = filled(data)
    assert map_box + words in made
    assert COPY not in made
    assert notes == lost
    assert filled(data, "png")[1] == f"{lost}; box uuid, box xml dropped: png holds none"

"""Texts of a PNG: EXIF, XMP and IPTC in them are corrected; others stay, go along or are named."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image, PngImagePlugin

from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import open_photograph
from kintsugi.imaging.saving import save_photograph
from tests.kintsugi.pictures import encode, gradient, photo

XMP = b'<x:xmpmeta><rdf:Description tiff:Orientation="6"/></x:xmpmeta>'
SMALL = encode(Image.fromarray(gradient(24, 16)), "JPEG")


def exif_with_thumbnail(orientation: int = 6) -> bytes:
    """An EXIF block of that orientation whose second directory is a thumbnail."""
    first = struct.pack(">HHHIIHHIHH", 2, 0x010E, 2, 7, 38, 0x0112, 3, 1, orientation, 0)
    first += struct.pack(">I", 46)
    second = struct.pack(">HHHIIHHIII", 2, 513, 4, 1, 76, 514, 4, 1, len(SMALL), 0)
    return b"MM\0*\0\0\0\x08" + first + b"a lake\0\0" + second + SMALL


def resource(number: int, body: bytes) -> bytes:
    size = len(body).to_bytes(4, "big")
    return b"8BIM" + number.to_bytes(2, "big") + b"\0\0" + size + body + b"\0" * (len(body) % 2)


def raw(name: str, content: bytes) -> str:
    digits = content.hex()
    lines = "\n".join(digits[at : at + 72] for at in range(0, len(digits), 72))
    return f"\n{name}\n{len(content):8d}\n{lines}\n"


def with_text(keyword: str, text: str, kind: str = "zTXt") -> bytes:
    chunks = PngImagePlugin.PngInfo()
    if kind == "iTXt":
        chunks.add_itxt(keyword, text)
    else:
        chunks.add_text(keyword, text, zip=kind == "zTXt")
    return photo(format="PNG", pnginfo=chunks)


def filled(data: bytes, format: str = "same") -> tuple[Image.Image, bytes, str]:
    before = open_photograph(data)
    saved = save_photograph(before, before.seen, output_in(format))
    image = Image.open(io.BytesIO(saved.body))
    image.load()
    return image, saved.body, "; ".join(saved.notes)


@pytest.mark.parametrize("kind", ["tEXt", "zTXt", "iTXt"])
@pytest.mark.parametrize("name", ["exif", "APP1"])
@pytest.mark.parametrize("format", ["same", "jpeg", "tiff", "webp"])
def test_exif_in_a_text_is_corrected(name: str, kind: str, format: str) -> None:
    content = b"Exif\0\0" + exif_with_thumbnail()
    data = with_text(f"Raw profile type {name}", raw(name, content), kind)
    image, body, notes = filled(data, format)
    assert image.size == (96, 64)
    assert image.getexif()[0x0112] == 1
    assert image.getexif()[0x010E] == "a lake"
    assert b"Raw profile" not in body
    assert SMALL not in body
    assert SMALL.hex().encode()[:64] not in zlib_texts(body)
    assert notes == ""


def zlib_texts(data: bytes) -> bytes:
    """All texts of a PNG, inflated, without their lines."""
    found, at = b"", 8
    while data.startswith(b"\x89PNG") and at < len(data):
        size, kind = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        body = data[at + 8 : at + 8 + size]
        if kind == b"zTXt":
            body = zlib.decompress(body.partition(b"\0")[2][1:])
        found += body if kind != b"IDAT" else b""
        at += 12 + size
    return found.replace(b"\n", b"")


@pytest.mark.parametrize("name", ["xmp", "APP1"])
def test_xmp_in_a_text_is_corrected(name: str) -> None:
    content = (b"http://ns.adobe.com/xap/1.0/\0" if name == "APP1" else b"") + XMP
    image, body, _ = filled(with_text(f"Raw profile type {name}", raw(name, content)))
    assert b'tiff:Orientation="1"' in body
    assert b"Raw profile" not in body
    assert "XML:com.adobe.xmp" in image.info


@pytest.mark.parametrize("name", ["8bim", "iptc"])
def test_thumbnails_in_a_text_are_dropped_and_all_else_of_it_stays(name: str) -> None:
    iptc = b"\x1c\x02\x19\x00\x05words"
    content = resource(0x0404, iptc) + resource(1036, SMALL) + resource(0x040A, b"\1")
    _, body, _ = filled(with_text(f"Raw profile type {name}", raw(name, content)))
    assert SMALL.hex().encode()[:64] not in zlib_texts(body)
    assert (resource(0x0404, iptc) + resource(0x040A, b"\1")).hex().encode() in zlib_texts(body)


def test_a_chunk_counts_more_than_a_text() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Raw profile type exif", raw("exif", exif_with_thumbnail(6)))
    exif = Image.Exif()
    exif[0x0112], exif[0x010E] = 3, "a hill"
    image, _, _ = filled(photo(format="PNG", pnginfo=chunks, exif=exif))
    assert image.size == (64, 96)
    assert (image.getexif()[0x0112], image.getexif()[0x010E]) == (1, "a hill")


@pytest.mark.parametrize("text", ["no profile", "\nexif\n   3\nnothex\n"])
def test_a_broken_text_is_named(text: str) -> None:
    _, body, notes = filled(with_text("Raw profile type iptc", text))
    assert b"Raw profile" not in body
    assert notes == "the text 'Raw profile type iptc' dropped: it is broken"


WORDS = {"Copyright": "(c) Ann 2024", "Description": "A lake", "Comment": "a comment"}


@pytest.mark.parametrize("format", ["same", "jpeg", "tiff", "gif", "webp", "avif", "bmp", "jp2"])
def test_texts_go_along_or_are_named(format: str) -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add_text("Copyright", WORDS["Copyright"])
    chunks.add_text("Description", WORDS["Description"], zip=True)
    chunks.add_itxt("Comment", WORDS["Comment"])
    image, body, notes = filled(photo(format="PNG", pnginfo=chunks), format)
    if format == "same":
        assert {name: image.info[name] for name in WORDS} == WORDS
        assert notes == ""
    elif format in ("jpeg", "tiff", "gif"):
        for word in WORDS.values():
            assert word.encode() in body
        assert "comment dropped" not in notes
    else:
        assert f"comment dropped: {format} holds none" in notes


def test_chunks_that_another_format_does_not_hold_are_named() -> None:
    chunks = PngImagePlugin.PngInfo()
    chunks.add(b"tIME", bytes(7))
    chunks.add(b"cICP", bytes([9, 16, 0, 1]))
    chunks.add(b"prvt", b"mine")
    chunks.add(b"bKGD", bytes(6))
    data = photo(format="PNG", pnginfo=chunks)
    _, body, notes = filled(data)
    assert notes == ""
    for kind in (b"tIME", b"cICP", b"prvt", b"bKGD"):
        assert kind in body
    for format in ("jpeg", "tiff", "webp"):
        _, body, notes = filled(data, format)
        space = f"colour space BT.2020 PQ dropped: {format} is written without"
        named = f"chunk tIME, chunk prvt, chunk bKGD dropped: {format} holds none"
        assert notes == f"{space}; {named}"


@pytest.mark.parametrize(
    "comments", [(b"caf\xe9 by Andr\xe9",), ("café".encode(), b"second"), (b"\xe9" * 70_000,)]
)
@pytest.mark.parametrize("format", ["same", "png", "tiff", "gif"])
def test_comments_of_a_jpeg_keep_their_bytes_or_their_words(
    comments: tuple[bytes, ...], format: str
) -> None:
    data = photo()
    whole = b"".join(
        b"\xff\xfe" + (len(part) + 2).to_bytes(2, "big") + part
        for comment in comments
        for part in (comment[:65_533], comment[65_533:])
        if part
    )
    image, body, _ = filled(data[:2] + whole + data[2:], format)
    if format == "same":
        assert whole in body
    elif format == "png":
        read = open_photograph(body).tags.comments
        words = "café" if len(comments) > 1 else comments[0][:65_533].decode("latin-1")
        assert read[0].decode() == words
        assert len(read) == len(open_photograph(data[:2] + whole + data[2:]).tags.comments)
    else:
        joined = b"\n".join(open_photograph(data[:2] + whole + data[2:]).tags.comments)
        assert joined in (body if format == "tiff" else image.info["comment"])


def test_comments_of_a_gif_keep_their_bytes_in_a_jpeg() -> None:
    gif = encode(Image.fromarray(gradient()), "GIF", comment=b"caf\xe9")
    for format in ("same", "jpeg"):
        _, body, _ = filled(gif, format)
        assert b"caf\xe9" in body


def test_a_comment_without_a_place_is_named() -> None:
    exif = Image.Exif()
    exif[0x010E] = "a description"
    data = photo(exif=exif, comment=b"a remark")
    image, _, notes = filled(data, "tiff")
    assert image.tag_v2[270] == "a description"
    assert "comment dropped: its place in tiff holds the description of EXIF data" in notes


def test_samples_stay() -> None:
    data = with_text("Title", "words")
    np.testing.assert_array_equal(open_photograph(data).samples, gradient())

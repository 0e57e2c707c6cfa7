"""kintsugi.imaging.codec: what is refused, with which code; nothing escapes as another error."""

import functools
import random
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import InputError, TooLarge, UnsupportedFormat
from kintsugi.imaging import limits
from kintsugi.imaging.codec import ImageLimits, decode_image
from tests.kintsugi.pictures import cmyk_photo, encode, gradient, photo, png, png_header


def code_of(data: bytes, limits: ImageLimits = ImageLimits()) -> str:
    with pytest.raises(InputError) as caught:
        decode_image(data, limits)
    assert caught.value.hint, "an error must say what to do"
    return caught.value.code


@pytest.mark.parametrize("format", ["ICO", "PCX", "TGA"])
def test_other_formats_are_unsupported(format: str) -> None:
    with pytest.raises(UnsupportedFormat) as caught:
        decode_image(photo(32, 32, format=format))
    assert caught.value.code == "image_format_not_allowed"


def test_heic_without_the_extra_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "reads_heif", lambda: False)
    with pytest.raises(UnsupportedFormat, match="is HEIC") as caught:
        decode_image(b"\0\0\0\x1cftypheic" + bytes(100))
    assert caught.value.code == "image_format_not_allowed"
    assert "pillow-heif" in caught.value.hint


def test_bytes_are_checked_first() -> None:
    with pytest.raises(TooLarge, match="has 7 bytes, the limit is 6") as caught:
        decode_image(b"no file", ImageLimits(max_bytes=6))
    assert caught.value.code == "image_too_large"
    assert code_of(b"") == "image_empty_file"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_size_limits(format: str) -> None:
    assert code_of(photo(96, 64, format), ImageLimits(max_pixels=6143)) == "image_too_many_pixels"
    assert code_of(photo(96, 64, format), ImageLimits(min_side=65)) == "image_too_small"
    decode_image(photo(96, 64, format), ImageLimits(max_pixels=6144, min_side=64))


def lossless_webp_header(width: int, height: int) -> bytes:
    bits = (width - 1) | (height - 1) << 14
    chunk = b"VP8L" + struct.pack("<I", 14) + b"\x2f" + struct.pack("<I", bits) + b"\0" * 9
    return b"RIFF" + struct.pack("<I", len(chunk) + 4) + b"WEBP" + chunk


def test_bombs_are_refused_by_their_header() -> None:
    pixels = (b"IDAT", zlib.compress(b"\0" * 100)), (b"IEND", b"")
    assert code_of(png(png_header(2**31 - 1, 64), *pixels)) == "image_too_many_pixels"
    assert code_of(lossless_webp_header(16383, 16383)) == "image_too_many_pixels"
    jpeg = bytearray(photo())
    at = jpeg.index(b"\xff\xc0") + 5
    jpeg[at : at + 4] = b"\xff\xff\xff\xff"
    assert code_of(bytes(jpeg)) == "image_too_many_pixels"


@pytest.mark.parametrize("format", ["PNG", "WEBP", "TIFF", "GIF", "AVIF"])
def test_the_first_of_several_frames_is_used_and_that_is_said(format: str) -> None:
    frames = {"save_all": True, "append_images": [Image.fromarray(255 - gradient())]}
    decoded = decode_image(photo(format=format, **frames))
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < 8
    assert decoded.notes == ("the first of its frames or pages is used",)


def test_a_cameras_raw_file_is_none() -> None:
    whole = bytearray(photo(format="TIFF"))
    # Its version, where Pillow wrote how planes lie: a preview would be filled in its place.
    at = whole.index(b"\x1c\x01\x03\x00")
    whole[at : at + 2] = (50706).to_bytes(2, "little")
    with pytest.raises(UnsupportedFormat, match="raw file"):
        decode_image(bytes(whole))


def test_bytes_after_a_picture_change_nothing_and_are_named() -> None:
    for kind in ("PNG", "JPEG"):
        whole = photo(format=kind)
        decoded = decode_image(whole + b"\0" * 512)
        np.testing.assert_array_equal(decoded.pixels, decode_image(whole).pixels)
        assert decoded.notes == ("512 bytes after the end of the picture dropped",)


@functools.cache
def broken_files() -> dict[str, bytes]:
    whole = photo(format="PNG")
    header, end = png_header(64, 96), (b"IEND", b"")
    rows = (b"IDAT", zlib.compress(b"\0" * (96 * 193)))
    idat = whole.index(b"IDAT")
    return {
        "PNG: signature only": whole[:8],
        "PNG: cut": whole[: len(whole) // 2],
        "PNG: no end": whole[:-12],
        "PNG: checksum of header": whole[:29] + b"\0\0\0\0" + whole[33:],
        "PNG: a bit of the pixels": whole[: idat + 20]
        + bytes([whole[idat + 20] ^ 1])
        + whole[idat + 21 :],
        "PNG: checksum of the pixels": whole[:-16] + b"\0\0\0\0" + whole[-12:],
        "PNG: no pixels": png(header, end),
        "PNG: two headers": png(header, header, rows, end),
        "PNG: 0x0": png(png_header(0, 0), rows, end),
        "PNG: bit depth 3": png(png_header(64, 96, depth=3), rows, end),
        "PNG: compression method 9": png((b"IHDR", header[1][:10] + b"\x09\0\0"), rows, end),
        "PNG: no palette": png(png_header(64, 96, colour=3), rows, end),
        "PNG: not zlib": png(header, (b"IDAT", b"not zlib"), end),
        "PNG: too few rows": png(header, (b"IDAT", zlib.compress(b"\0" * 193)), end),
        "PNG: unknown critical chunk": png(header, (b"ABCD", b""), rows, end),
        "PNG: text bomb": png(
            header, (b"zTXt", b"a\0\0" + zlib.compress(b"\0" * 10**7)), rows, end
        ),
        "JPEG: start only": b"\xff\xd8",
        "JPEG: cut": photo()[:-200],
        "WebP: header only": b"RIFF\x04\0\0\0WEBP",
        "WebP: cut": photo(format="WEBP")[:-20],
        "WebP: lies about its length": b"RIFF\xff\xff\xff\x7f" + photo(format="WEBP")[8:],
        "TIFF: header only": b"II*\x00",
        "TIFF: cut": photo(format="TIFF")[:-500],
    }


@pytest.mark.parametrize("kind", broken_files())
def test_broken_files_are_undecodable(kind: str) -> None:
    assert code_of(broken_files()[kind]) == "image_undecodable"


def test_mutated_files_raise_nothing_else() -> None:
    seeds = [photo(24, 20, format) for format in ("PNG", "JPEG", "WEBP")] + [cmyk_photo()]
    rng = random.Random(0)
    outcomes = set()
    for _ in range(2000):
        data = bytearray(rng.choice(seeds))
        for _ in range(rng.choice((1, 2, 8))):
            data[rng.randrange(len(data))] = rng.randrange(256)
        try:
            decode_image(bytes(data))
            outcomes.add("decoded")
        except InputError as error:
            outcomes.add(error.code)
    assert {"decoded", "image_undecodable"} <= outcomes


def test_floating_point_samples_are_refused() -> None:
    assert code_of(encode(gradient()[:, :, 0].astype(np.float32), "TIFF")) == "image_bit_depth"


def test_codes_carry_the_name() -> None:
    with pytest.raises(UnsupportedFormat, match="the content is none of") as caught:
        decode_image(b"text", name="content")
    assert caught.value.code == "content_format_not_allowed"


def colour_tiff(bits: int, planes: int, sample_format: int = 1) -> bytes:
    """16 x 16 RGB without compression; planes 2: one colour after the other."""
    size = 16 * 16 * bits // 8
    strips = 3 if planes == 2 else 1
    extra = 8 + 2 + 11 * 12 + 4
    places, start = extra + 6, extra + 6 + 24
    short, long = 3, 4
    many = (strips, places) if strips == 3 else (1, start)
    counts = (strips, places + 12) if strips == 3 else (1, 3 * size)
    entries = [
        (256, short, 1, 16), (257, short, 1, 16), (258, short, 3, extra), (259, short, 1, 1),
        (262, short, 1, 2), (273, long, *many), (277, short, 1, 3), (278, short, 1, 16),
        (279, long, *counts), (284, short, 1, planes), (339, short, 1, sample_format),
    ]  # fmt: skip
    ifd = struct.pack("<H", len(entries))
    ifd += b"".join(struct.pack("<HHII", *entry) for entry in entries) + b"\0\0\0\0"
    starts = struct.pack("<3I", *(start + number * size for number in range(3)))
    tail = struct.pack("<3H", bits, bits, bits) + starts + struct.pack("<3I", size, size, size)
    return b"II*\0" + struct.pack("<I", 8) + ifd + tail + bytes(3 * size)


def test_samples_that_would_be_read_as_noise_are_refused() -> None:
    assert decode_image(colour_tiff(16, 1)).pixels.shape == (16, 16, 3)
    assert decode_image(colour_tiff(8, 2)).pixels.shape == (16, 16, 3)
    assert code_of(colour_tiff(16, 2)) == "image_bit_depth"


def test_what_is_not_read_of_tiff_is_named_and_not_called_broken() -> None:
    with pytest.raises(InputError, match="says samples that are not read"):
        decode_image(colour_tiff(32, 1, 3))
    with pytest.raises(UnsupportedFormat, match="is a BigTIFF"):
        decode_image(b"II+\0\x08\0\0\0" + bytes(64))

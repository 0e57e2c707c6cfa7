"""kintsugi.imaging.codec: what is accepted comes out upright and right, the rest with its code."""

import io
import struct
import warnings
import zlib

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import decode_image, encode_image, sniff_format
from tests.kintsugi import pictures
from tests.kintsugi.pictures import cmyk_photo, encode, gradient, photo, png

LOSSLESS = [("png", {}), ("tiff", {}), ("webp", {"lossless": True, "exact": True})]


@pytest.mark.parametrize(("format", "options"), LOSSLESS)
def test_lossless_formats_decode_exactly(format: str, options: dict[str, object]) -> None:
    decoded = decode_image(encode(gradient(), format.upper(), **options))
    assert decoded.format == format
    assert decoded.pixels.dtype == np.uint8
    np.testing.assert_array_equal(decoded.pixels, gradient())
    assert (decoded.alpha, decoded.icc_profile, decoded.notes) == (None, None, ())


def test_jpeg_decodes_closely() -> None:
    decoded = decode_image(photo(quality=95))
    assert decoded.format == "jpeg"
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < 2


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_exif_orientation_is_applied(format: str, orientation: int) -> None:
    stored = gradient()
    upright = {
        1: stored,
        2: stored[:, ::-1],
        3: stored[::-1, ::-1],
        4: stored[::-1],
        5: stored.transpose(1, 0, 2),
        6: np.rot90(stored, -1),
        7: stored[::-1, ::-1].transpose(1, 0, 2),
        8: np.rot90(stored, 1),
    }[orientation]
    pixels = decode_image(pictures.rotated_photo(orientation, format)).pixels
    assert pixels.shape == upright.shape
    assert np.abs(pixels.astype(int) - upright).mean() < 6


@pytest.mark.parametrize(("height", "width"), [(16, 16), (17, 23), (33, 16)])
@pytest.mark.parametrize("colour", [0, 2, 6])
def test_an_interlaced_png_is_whole(height: int, width: int, colour: int) -> None:
    channels = {0: 1, 2: 3, 6: 4}[colour]
    rows = b""
    for left, top, step_x, step_y in pictures.ADAM7:
        columns = len(range(left, width, step_x))
        rows += (
            len(range(top, height, step_y)) * (b"\0" + b"\x40" * columns * channels) * (columns > 0)
        )
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, colour, 0, 0, 1))
    whole = png(header, (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    assert (decode_image(whole).pixels == 0x40).all()
    cut = png(header, (b"IDAT", zlib.compress(rows[:-1])), (b"IEND", b""))
    with pytest.raises(InvalidInput, match="fewer pixels than its header says"):
        decode_image(cut)


def test_other_exif_does_not_survive() -> None:
    decoded = decode_image(pictures.rotated_photo(6))
    again = encode_image(decoded.pixels, "jpeg", icc_profile=decoded.icc_profile)
    assert b"description" not in again
    assert not Image.open(io.BytesIO(again)).getexif()


def test_broken_exif_is_ignored() -> None:
    whole = decode_image(photo(exif=b"Exif\0\0garbage that is no TIFF header"))
    assert whole.pixels.shape == (96, 64, 3)


@pytest.mark.parametrize("mode", ["L", "1", "P", "LA", "RGBA", "PA"])
def test_every_colour_mode_becomes_rgb(mode: str) -> None:
    image = Image.fromarray(gradient()).convert("LA" if mode == "PA" else mode).convert(mode)
    decoded = decode_image(encode(image, "TIFF" if mode == "PA" else "PNG"))
    assert decoded.pixels.shape == (96, 64, 3)
    np.testing.assert_array_equal(decoded.pixels, np.array(image.convert("RGB")))
    assert (decoded.alpha is not None) == (mode in ("LA", "RGBA", "PA"))


def test_alpha_is_kept_and_colours_under_it() -> None:
    alpha = gradient()[:, :, 0]
    decoded = decode_image(encode(np.dstack([gradient(), alpha])))
    assert decoded.alpha is not None
    np.testing.assert_array_equal(decoded.alpha, alpha)
    np.testing.assert_array_equal(decoded.pixels, gradient())


def test_a_transparent_palette_colour_becomes_alpha() -> None:
    image = Image.fromarray(np.repeat([[0, 1]], 32, axis=0).repeat(16, axis=1).astype(np.uint8))
    image = image.convert("P")
    image.putpalette([255, 0, 0, 0, 255, 0])
    decoded = decode_image(encode(image, transparency=1))
    assert decoded.alpha is not None
    assert decoded.alpha[0, 0] == 255
    assert decoded.alpha[0, -1] == 0
    assert decoded.pixels[0, 0].tolist() == [255, 0, 0]


def test_sixteen_bits_become_eight_with_a_note() -> None:
    grey = (np.arange(64 * 64).reshape(64, 64) * 16).astype(np.uint16)
    for data in (encode(grey, "PNG"), encode(grey, "TIFF")):
        decoded = decode_image(data)
        np.testing.assert_array_equal(decoded.pixels[:, :, 1], grey >> 8)
        assert decoded.notes == ("16-bit samples reduced to 8 bit",)
    colour = np.dstack([grey, grey.T, grey[::-1]])
    decoded = decode_image(pictures.png16(colour))
    np.testing.assert_array_equal(decoded.pixels, colour >> 8)
    assert decoded.notes == ("16-bit samples reduced to 8 bit",)


def test_an_rgb_profile_is_kept() -> None:
    profile = pictures.srgb_profile()
    decoded = decode_image(photo(icc_profile=profile))
    assert decoded.icc_profile == profile
    again = encode_image(decoded.pixels, "png", icc_profile=decoded.icc_profile)
    assert decode_image(again).icc_profile == profile


def test_a_grey_profile_is_dropped_with_a_note() -> None:
    profile = bytearray(pictures.srgb_profile())
    profile[16:20] = b"GRAY"
    decoded = decode_image(encode(Image.fromarray(gradient()).convert("L"), icc_profile=profile))
    assert decoded.icc_profile is None
    assert "profile dropped" in decoded.notes[0]


def test_cmyk_is_converted() -> None:
    decoded = decode_image(cmyk_photo())
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < 6
    assert decoded.notes == ("CMYK without a profile converted to RGB",)


def test_cmyk_with_a_broken_profile_is_converted_plainly() -> None:
    profile = b"\0" * 16 + b"CMYK" + b"\0" * 200
    decoded = decode_image(cmyk_photo(profile))
    np.testing.assert_array_equal(decoded.pixels, decode_image(cmyk_photo()).pixels)
    assert decoded.icc_profile is None
    assert "broken" in decoded.notes[0]


def test_a_phone_jpeg_with_a_second_picture_is_one_image() -> None:
    second = Image.fromarray(gradient()[::-1].copy())
    data = encode(gradient(), "MPO", save_all=True, append_images=[second])
    decoded = decode_image(data)
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < 6


def test_sniffing_goes_by_content() -> None:
    assert sniff_format(photo()) == "jpeg"
    assert sniff_format(photo(format="WEBP")) == "webp"
    assert sniff_format(b"") is None
    assert sniff_format(b" " + photo(format="PNG")) is None


def test_no_warning_leaks_and_pillow_is_left_alone() -> None:
    before = Image.MAX_IMAGE_PIXELS
    odd = photo(exif=b"Exif\0\0II*\0\x08\0\0\0\xff\xff")
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        decode_image(odd)
    assert said == []
    assert before == Image.MAX_IMAGE_PIXELS


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff"])
def test_encode_and_decode_are_inverse(format: str) -> None:
    alpha = gradient()[:, :, 1]
    decoded = decode_image(encode_image(gradient(), format, quality=95, alpha=alpha))
    assert decoded.format == format
    exact = format in ("png", "tiff")
    assert np.abs(decoded.pixels.astype(int) - gradient()).mean() < (0.01 if exact else 3)
    if format == "jpeg":
        assert decoded.alpha is None
    else:
        np.testing.assert_array_equal(decoded.alpha, alpha)


def test_quality_is_used() -> None:
    assert len(encode_image(gradient(), "jpeg", quality=30)) < len(
        encode_image(gradient(), "jpeg", quality=92)
    )


def test_encoding_refuses_what_a_format_cannot_hold() -> None:
    with pytest.raises(InvalidInput, match="16383") as caught:
        encode_image(np.zeros((16, 16_384, 3), np.uint8), "webp")
    assert caught.value.code == "format_side_limit"
    with pytest.raises(InvalidInput, match="'gif'"):
        encode_image(gradient(), "gif")

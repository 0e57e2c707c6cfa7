"""What of a file's depth, channels and colours is not read or not written is named."""

import zlib
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import pytest

from kintsugi.imaging.codec import decode_image
from kintsugi.imaging.formats import FORMATS
from kintsugi.imaging.photo_options import output_in
from kintsugi.imaging.photograph import Photograph, open_photograph
from kintsugi.imaging.saving import save_photograph
from tests.kintsugi.deep_pictures import avif, heic, tiff
from tests.kintsugi.pictures import encode, gradient

Samples = npt.NDArray[Any]
EIGHT = gradient()
SIXTEEN = (EIGHT.astype(np.uint16) * 257 + np.arange(64)[None, :, None]).astype(np.uint16)
# Numbers of H.273: BT.2020, and the transfer PQ.
HDR = (9, 16)


def notes_of(data: bytes, format: str = "same") -> tuple[tuple[str, ...], Photograph]:
    """What is said of a file that is written again, and what is read of it then."""
    photo = open_photograph(data)
    saved = save_photograph(photo, photo.seen, output_in(format))
    return saved.notes, open_photograph(saved.body)


@pytest.mark.parametrize("bits", [8, 10, 12])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_of_deep_avif_the_depth_is_named(bits: int, channels: int) -> None:
    samples = np.dstack([SIXTEEN, np.full((96, 64), 65_535, np.uint16)])
    data = avif(samples[..., 0] if channels == 1 else samples[..., :channels], bits)
    expected = [] if bits == 8 else [f"{bits}-bit samples reduced to 8 bit"]
    # Where only colours are wanted, as of a style, too.
    assert list(decode_image(data).notes) == expected
    for format in ("same", "png"):
        notes, made = notes_of(data, format)
        assert [note for note in notes if "-bit" in note] == expected
        assert made.depth == 8


def test_of_deep_heic_the_depth_is_named_once() -> None:
    reduced = "10-bit samples reduced to 8 bit"
    assert notes_of(heic(SIXTEEN))[0] == (reduced,)
    grey = heic(SIXTEEN[..., 0])
    assert notes_of(grey)[0] == (f"{reduced}: heif is written with 8",)
    notes, made = notes_of(grey, "tiff")
    assert (notes, made.depth) == (("10-bit samples are kept in 16 bits",), 16)


@pytest.mark.parametrize("bits", [8, 16])
def test_of_jpeg_2000_the_depth_is_named(bits: int) -> None:
    samples = SIXTEEN if bits == 16 else EIGHT
    data = bytes(cv2.imencode(".jp2", np.ascontiguousarray(samples[..., ::-1]))[1])
    assert notes_of(data)[0] == (() if bits == 8 else ("16-bit samples reduced to 8 bit",))


MORE = EIGHT[..., :2]
KINDS = [
    ("rgb", [EIGHT, MORE[..., 0]], [0], 1),
    ("rgb", [EIGHT, MORE], [0, 0], 2),
    ("rgb", [EIGHT, np.full((96, 64), 200, np.uint8)], [2], 0),
    ("rgb", [EIGHT, np.full((96, 64), 200, np.uint8), MORE[..., 0]], [2, 0], 1),
    ("rgb", [SIXTEEN, SIXTEEN[..., 0]], [0], 1),
    ("minisblack", [MORE], [0], 1),
    ("separated", [EIGHT, MORE[..., 0]], [], 0),
    ("separated", [EIGHT, MORE], [0], 1),
]


@pytest.mark.parametrize(("photometric", "parts", "extra", "dropped"), KINDS)
def test_of_tiff_channels_next_to_the_colours_are_named(
    photometric: str, parts: list[Samples], extra: list[int], dropped: int
) -> None:
    expected = {
        0: [],
        1: ["1 channel next to the colours dropped"],
        2: ["2 channels next to the colours dropped"],
    }
    notes, _ = notes_of(tiff(np.dstack(parts), photometric, extra))
    assert list(notes) == expected[dropped]


def test_of_tiff_other_colours_are_named() -> None:
    assert notes_of(tiff(EIGHT, "ycbcr", []))[0] == ("YCbCr converted to RGB",)
    deep_inks = np.dstack([SIXTEEN, SIXTEEN[..., 0]])
    assert notes_of(tiff(deep_inks, "separated", []))[0] == ("16-bit samples reduced to 8 bit",)


@pytest.mark.parametrize("format", sorted(FORMATS))
def test_colours_beyond_srgb_are_kept_or_named(format: str) -> None:
    primaries, transfer = HDR
    source = heic(SIXTEEN, color_primaries=primaries, transfer_characteristics=transfer)
    photo = open_photograph(source)
    saved = save_photograph(photo, photo.seen, output_in(format))
    named = f"colour space BT.2020 PQ dropped: {format} is written without"
    kept = dict(open_photograph(saved.body).tags.own).get(b"cICP")
    assert (named in saved.notes) == (format not in ("png", "heif"))
    assert (kept == bytes([*HDR, 0, 1])) == (format in ("png", "heif"))
    # As every photograph of a telephone says: nothing is lost.
    plain = open_photograph(heic(SIXTEEN, color_primaries=1, transfer_characteristics=13))
    saved = save_photograph(plain, plain.seen, output_in(format))
    assert [note for note in saved.notes if "colour space" in note] == []


def test_colours_of_a_png_by_number_are_named_where_they_go() -> None:
    photo = open_photograph(encode(EIGHT))
    plain = save_photograph(photo, photo.seen).body
    # Display P3.
    body = b"cICP" + bytes([12, 13, 0, 1])
    chunk = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    data = plain[:33] + chunk + plain[33:]
    assert notes_of(data)[0] == ()
    assert notes_of(data, "jpeg")[0] == (
        "colour space Display P3 dropped: jpeg is written without",
    )

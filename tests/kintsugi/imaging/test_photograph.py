"""A photograph's file and that of its fill: mode, depth, known samples, transparency, losses."""

import io
import struct
import tracemalloc
import zlib
from typing import Any

import numpy as np
import pytest
import tifffile
from PIL import Image, TiffImagePlugin

from kintsugi.imaging.codec import decode_image
from kintsugi.imaging.encoders.deep_samples import write_deep_png
from kintsugi.imaging.formats import FORMATS
from kintsugi.imaging.heif import reads_heif
from kintsugi.imaging.holed import open_holed
from kintsugi.imaging.photo_options import MaskOptions, OutputOptions
from kintsugi.imaging.photograph import Photograph, open_photograph
from kintsugi.imaging.saving import Saved, save_photograph
from tests.kintsugi.pictures import encode, gradient, photo, png, png16, srgb_profile

HOLE = np.zeros((96, 64), np.bool_)
HOLE[30:50, 20:40] = True
DEEP = (gradient().astype(np.uint16) * 257 + np.arange(64)[None, :, None]).astype(np.uint16)
# Most that a known sample may be off where a format is lossy, away from the hole.
LOSSY = {"jpeg": 6, "webp": 50, "avif": 16, "heif": 16}
MODES = {
    "PNG": ["1", "L", "LA", "P", "RGB", "RGBA"],
    "JPEG": ["L", "RGB", "CMYK"],
    "TIFF": ["1", "L", "LA", "P", "RGB", "RGBA", "CMYK"],
    "WEBP": ["RGB", "RGBA"],
    "BMP": ["1", "L", "P", "RGB"],
    "GIF": ["P"],
    "AVIF": ["RGB", "RGBA"],
    "HEIF": ["L", "RGB", "RGBA"],
    "JPEG2000": ["L", "RGB", "RGBA"],
}
KINDS = [(format, mode) for format, modes in MODES.items() for mode in modes]


def with_alpha(image: Image.Image) -> Image.Image:
    if image.mode in ("LA", "RGBA"):
        alpha = np.full((96, 64), 255, np.uint8)
        alpha[:10] = 90
        alpha[80:] = 0
        image.putalpha(Image.fromarray(alpha))
    return image


def made(format: str, mode: str) -> bytes:
    if format == "HEIF" and not reads_heif():
        pytest.skip("the extra heic is not installed")
    return encode(with_alpha(Image.fromarray(gradient()).convert(mode)), format)


def inverted(photograph: Photograph) -> Any:
    """The hole turned to its opposite, as a method would fill it."""
    filled = photograph.seen.copy()
    filled[HOLE] = np.iinfo(filled.dtype).max - filled[HOLE]
    return filled


def filled(data: bytes, **options: Any) -> tuple[Photograph, Saved, Photograph]:
    before = open_photograph(data)
    saved = save_photograph(before, inverted(before), OutputOptions(**options))
    return before, saved, open_photograph(saved.body)


def in_colours(photograph: Photograph) -> Any:
    """Samples, those of a palette as its colours: encoders sort and shrink palettes."""
    if photograph.palette is None:
        return photograph.samples.astype(np.int64)
    return photograph.palette[photograph.samples].astype(np.int64)


@pytest.mark.parametrize(("format", "mode"), KINDS)
def test_mode_depth_and_known_samples_stay(format: str, mode: str) -> None:
    before, saved, after = filled(made(format, mode))
    name = {"JPEG2000": "jp2"}.get(format, format.lower())
    assert (saved.format, after.format) == (name, name)
    assert (after.mode, after.depth) == (before.mode, before.depth)
    away = ~HOLE
    if name in LOSSY:
        # Blocks that the hole is in are coded again.
        away[16:64, 8:56] = False
    off = np.abs(in_colours(after) - in_colours(before))[away]
    assert off.max() <= LOSSY.get(name, 0)
    changed = (in_colours(after) != in_colours(before))[HOLE]
    assert changed.mean() > (0.5 if mode in ("CMYK", "P") else 0.8)
    if before.alpha is None:
        assert after.alpha is None
    else:
        assert after.alpha is not None
        assert np.abs(after.alpha.astype(int) - before.alpha).max() <= (2 if name in LOSSY else 0)
    losses = [note for note in saved.notes if not note.startswith("filled with the")]
    assert losses == []
    assert ("palette" in "".join(saved.notes)) == (mode == "P")


def tiff16(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


RGBA16 = np.dstack([DEEP, np.where(HOLE, 65_535, 40_000).astype(np.uint16)])
SIXTEEN = {
    "PNG grey": lambda: write_deep_png(DEEP[..., 0]),
    "PNG grey and alpha": lambda: write_deep_png(RGBA16[..., [0, 3]]),
    "PNG": lambda: png16(DEEP),
    "PNG and alpha": lambda: write_deep_png(RGBA16),
    "TIFF grey": lambda: tiff16(DEEP[..., 0], photometric="minisblack"),
    "TIFF": lambda: tiff16(DEEP, photometric="rgb"),
    "TIFF, big-endian": lambda: tiff16(DEEP, photometric="rgb", byteorder=">"),
    "TIFF, deflated": lambda: tiff16(DEEP, photometric="rgb", compression="zlib"),
    "TIFF and alpha": lambda: tiff16(RGBA16, photometric="rgb", extrasamples=["unassalpha"]),
}


@pytest.mark.parametrize("kind", SIXTEEN)
def test_sixteen_bits_stay_and_are_filled_in_sixteen(kind: str) -> None:
    before, saved, after = filled(SIXTEEN[kind]())
    assert before.pixels.dtype == np.uint16
    assert (before.depth, after.depth, after.mode) == (16, 16, before.mode)
    np.testing.assert_array_equal(after.samples[~HOLE], before.samples[~HOLE])
    # All sixteen bits of the fill: it is no multiple of 257 throughout.
    assert (after.samples[HOLE] % 257 != 0).any()
    assert saved.notes == ()
    if "alpha" in kind:
        np.testing.assert_array_equal(after.deep_alpha, before.deep_alpha)


def test_an_own_png_of_sixteen_bits_is_read_by_others() -> None:
    grey = np.asarray(Image.open(io.BytesIO(write_deep_png(DEEP[..., 1]))))
    np.testing.assert_array_equal(grey, DEEP[..., 1])
    wide = np.tile(DEEP, (6, 1, 1))
    with Image.open(io.BytesIO(write_deep_png(wide))) as image:
        np.testing.assert_array_equal(np.asarray(image), wide >> 8)


def test_an_own_tiff_is_read_by_others() -> None:
    for data, samples in ((tiff16(DEEP, photometric="rgb"), DEEP), (made("TIFF", "CMYK"), None)):
        before, saved, _ = filled(data)
        read = tifffile.imread(io.BytesIO(saved.body))
        np.testing.assert_array_equal(read[~HOLE], before.samples[~HOLE])
        assert samples is None or read.dtype == samples.dtype
    for mode in MODES["TIFF"]:
        before, saved, _ = filled(made("TIFF", mode))
        with Image.open(io.BytesIO(saved.body)) as image:
            assert image.mode == mode


def test_grey_in_colour_channels_stays_grey() -> None:
    grey = np.repeat(gradient()[..., :1], 3, axis=2)
    before = open_photograph(encode(grey))
    tinted = before.seen.copy()
    tinted[HOLE] = (100, 104, 99)
    after = open_photograph(save_photograph(before, tinted).body)
    assert after.mode == "RGB"
    assert after.is_colourless
    assert after.samples[40, 30].tolist() == [101] * 3


@pytest.mark.parametrize("mode", ["L", "RGB", "1"])
def test_writing_takes_no_more_than_a_few_copies(mode: str) -> None:
    """Counted in the arrays that are made: a service has so much for each picture it opens."""
    side = 1500
    source = Image.fromarray(np.resize(gradient(), (side, side, 3))).convert(mode)
    before = open_photograph(encode(source))
    filled = before.seen.copy()
    filled[100:150, 100:150] = 255 - filled[100:150, 100:150]
    tracemalloc.start()
    try:
        save_photograph(before, filled, OutputOptions(format="jpeg"))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    # 25 bytes a pixel where a sum of all channels is made at once.
    assert peak < 12 * side**2


def test_one_bit_is_filled_with_black_and_white() -> None:
    _, saved, after = filled(made("PNG", "1"))
    assert after.mode == "1"
    assert png_depth(saved.body) == 1
    assert after.is_colourless


def png_depth(data: bytes) -> int:
    return data[24]


def test_a_palette_is_kept_and_its_transparency() -> None:
    image = Image.fromarray((gradient()[..., 0] // 64).astype(np.uint8))
    image.putpalette([10, 0, 0, 0, 200, 0, 0, 0, 220, 250, 250, 250])
    for transparent in (1, bytes([255, 0, 128, 255])):
        before, saved, after = filled(encode(image, "PNG", transparency=transparent))
        assert (after.mode, len(saved.notes)) == ("P", 1)
        assert after.alpha is not None
        np.testing.assert_array_equal(after.alpha[~HOLE], before.alpha[~HOLE])
        np.testing.assert_array_equal(in_colours(after)[~HOLE], in_colours(before)[~HOLE])


def keyed_png(samples: np.ndarray, bits: int, key: tuple[int, ...]) -> bytes:
    """A PNG of H W or H W 3 samples of some bits in which one colour is transparent."""
    height, width = samples.shape[:2]
    values = samples.reshape(height, -1)
    spread = (values[..., None] >> np.arange(bits)[::-1] & 1).astype(np.uint8)
    rows = np.packbits(spread.reshape(height, -1), axis=1)
    header = struct.pack(">IIBBBBB", width, height, bits, 2 if samples.ndim == 3 else 0, 0, 0, 0)
    filtered = np.hstack([np.zeros((height, 1), np.uint8), rows])
    return png(
        (b"IHDR", header),
        (b"tRNS", struct.pack(f">{len(key)}H", *key)),
        (b"IDAT", zlib.compress(filtered.tobytes())),
        (b"IEND", b""),
    )


@pytest.mark.parametrize(
    ("bits", "channels"), [(1, 1), (2, 1), (4, 1), (8, 1), (8, 3), (16, 1), (16, 3)]
)
def test_a_transparent_colour_is_none_that_is_filled_from(bits: int, channels: int) -> None:
    samples = DEEP >> (16 - bits)
    key = samples[60, 45]
    clear = (samples == key).all(axis=2)
    # In the upper eight bits the same, and another colour.
    samples[5, 7] = key ^ np.array([0, 0, 1], np.uint16) if bits == 16 else samples[5, 7]
    if channels == 1:
        samples, key = samples[..., 0], key[:1]
        clear = samples == key
    data = keyed_png(samples, bits, tuple(int(each) for each in key))
    before, _, after = filled(data)
    for alpha in (before.alpha, after.alpha, decode_image(data).alpha):
        assert alpha is not None
        np.testing.assert_array_equal(alpha == 0, clear)
    assert (before.pixels[clear] == 0).all()
    assert before.pixels.shape[2] == 4
    erased = MaskOptions("alpha")
    np.testing.assert_array_equal(open_holed(data, None, erased).hole, clear)


@pytest.mark.parametrize("format", [name for name in FORMATS if name != "heif"])
def test_any_photograph_is_written_in_any_format_and_losses_are_named(format: str) -> None:
    spec = FORMATS[format]
    for kind in (
        made("PNG", "1"),
        made("PNG", "RGBA"),
        made("TIFF", "CMYK"),
        made("GIF", "P"),
        png16(DEEP),
        photo(icc_profile=srgb_profile(), dpi=(300, 300)),
    ):
        before, saved, after = filled(kind, format=format)
        notes = "; ".join(saved.notes)
        assert after.format == format
        assert after.seen.shape == before.seen.shape
        if before.mode not in spec.modes:
            assert "converted to" in notes or "reduced to 256" in notes
        if before.depth == 16 and spec.depth < 16:
            assert "16-bit samples reduced to 8 bit" in notes
        if before.alpha is not None and not spec.alpha:
            assert "transparency dropped" in notes
        if before.tags.icc and "icc" not in spec.keeps:
            assert "colour profile dropped" in notes


@pytest.mark.parametrize("subsampling", [0, 1, 2])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_keeps_its_tables_sampling_and_scans(subsampling: int, progressive: bool) -> None:
    settings = {"quality": 71, "subsampling": subsampling, "progressive": progressive}
    data = photo(quality=71, subsampling=subsampling, progressive=progressive)
    before, saved, after = filled(data)
    assert before.jpeg is not None
    assert after.jpeg == before.jpeg, settings
    assert abs(len(saved.body) - len(data)) < 0.25 * len(data)
    _, smaller, _ = filled(data, quality=30)
    assert len(smaller.body) < len(saved.body)


@pytest.mark.parametrize("profile", [0, 6_000])
@pytest.mark.parametrize("frames", [1, 2])
def test_a_lossless_webp_stays_lossless(profile: int, frames: int) -> None:
    # A profile, of any length, comes before the picture.
    icc = srgb_profile() + bytes(profile)
    more = [Image.fromarray(gradient()[::-1].copy())] if frames == 2 else []
    options = {"save_all": True, "append_images": more} if more else {}
    data = photo(format="WEBP", lossless=True, exact=True, icc_profile=icc, **options)
    before, saved, after = filled(data)
    np.testing.assert_array_equal(after.samples[~HOLE], before.samples[~HOLE])
    assert open_photograph(saved.body).lossless
    # A lossy one whose profile names the other kind.
    named = photo(format="WEBP", quality=60, icc_profile=srgb_profile() + b"VP8L")
    assert not open_photograph(named).lossless


def test_two_files_that_look_the_same_are_filled_from_the_same() -> None:
    alpha = np.full((96, 64), 255, np.uint8)
    alpha[:, :20], alpha[:, 20:24] = 0, 3
    other = gradient().copy()
    other[:, :20] = 255 - other[:, :20]
    other[:, 20:24] = 255 - other[:, 20:24]
    one, two = (open_photograph(encode(np.dstack([each, alpha]))) for each in (gradient(), other))
    np.testing.assert_array_equal(one.pixels[:, :20], two.pixels[:, :20])
    assert (one.pixels[:, :20, 3] == 0).all()
    # Nearly transparent pixels count by their weight: 3 of 255.
    apart = np.abs(one.seen[:, 20:24].astype(int) - two.seen[:, 20:24])
    assert apart.max() <= 16
    np.testing.assert_array_equal(one.pixels[:, 24:], two.pixels[:, 24:])
    # What is stored under the transparency comes back.
    after = open_photograph(save_photograph(two, inverted(two)).body)
    np.testing.assert_array_equal(after.samples[~HOLE], other[~HOLE])


def tiff(samples: np.ndarray, **options: Any) -> bytes:
    buffer = io.BytesIO()
    tifffile.imwrite(buffer, samples, **options)
    return buffer.getvalue()


def twelve_bits(samples: np.ndarray) -> bytes:
    """A grey TIFF of 12-bit samples, two in three bytes. `samples`: uint16 H W, W even."""
    height, width = samples.shape
    one, two = samples[:, ::2].ravel(), samples[:, 1::2].ravel()
    packed = np.stack([one >> 4, (one & 15) << 4 | two >> 8, two & 255], axis=1).astype(np.uint8)
    tags = [(256, width), (257, height), (258, 12), (259, 1), (262, 1), (273, 8), (277, 1)]
    tags += [(278, height), (279, packed.size)]
    entries = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in tags)
    directory = struct.pack("<H", len(tags)) + entries + bytes(4)
    return b"II*\0" + struct.pack("<I", 8 + packed.size) + packed.tobytes() + directory


RAMP = np.linspace(0, 65_535, 64).astype(np.uint16)[None].repeat(96, axis=0)
HALF = np.full_like(RAMP, 32_768)
IN_COLOUR = np.dstack([RAMP, RAMP[:, ::-1], RAMP // 2])
PREMULTIPLIED = (IN_COLOUR * (32_768 / 65_535)).astype(np.uint16)


@pytest.mark.parametrize("compression", [None, "zlib"])
@pytest.mark.parametrize("format", ["same", "png", "jpeg", "webp"])
def test_a_negative_of_sixteen_bits_is_taken_as_it_is_seen(
    format: str, compression: str | None
) -> None:
    data = tiff(65_535 - RAMP, photometric="miniswhite", compression=compression)
    before, saved, _after = filled(data, format=format)
    np.testing.assert_array_equal(before.samples, RAMP)
    np.testing.assert_array_equal(decode_image(data).pixels[..., 0], RAMP >> 8)
    apart = np.abs(decode_image(saved.body).pixels.astype(int) - decode_image(data).pixels)
    assert apart[~HOLE].max() <= (6 if format in ("jpeg", "webp") else 0)


@pytest.mark.parametrize("format", ["same", "png", "jpeg"])
def test_twelve_bits_are_as_bright_as_sixteen(format: str) -> None:
    data = twelve_bits(RAMP >> 4)
    before, saved, _after = filled(data, format=format)
    assert before.samples[0, [0, -1]].tolist() == [0, 65_535]
    np.testing.assert_array_equal(before.samples >> 4, RAMP >> 4)
    apart = np.abs(decode_image(saved.body).pixels.astype(int) - decode_image(data).pixels)
    assert apart[~HOLE].max() <= (6 if format == "jpeg" else 0)
    reduced = "12-bit samples reduced to 8 bit: jpeg is written with 8"
    kept = "12-bit samples are kept in 16 bits"
    assert saved.notes == ((reduced,) if format == "jpeg" else (kept,))


@pytest.mark.parametrize("byteorder", ["<", ">"])
@pytest.mark.parametrize("format", ["same", "png", "webp"])
def test_colours_that_are_multiplied_by_their_transparency_are_divided(
    format: str, byteorder: str
) -> None:
    data = tiff(
        np.dstack([PREMULTIPLIED, HALF]),
        photometric="rgb",
        extrasamples=["assocalpha"],
        byteorder=byteorder,
    )
    before, saved, _after = filled(data, format=format)
    assert np.abs(before.samples.astype(int) - IN_COLOUR).max() <= 2
    decoded, again = decode_image(data), decode_image(saved.body)
    np.testing.assert_array_equal(again.alpha, decoded.alpha)
    # Eight bits are divided by the library, with its rounding.
    apart = np.abs(again.pixels.astype(int) - decoded.pixels)
    assert apart[~HOLE].max() <= (50 if format == "webp" else 2)


def test_where_all_is_transparent_nothing_is_divided() -> None:
    clear = np.dstack([PREMULTIPLIED, np.where(HOLE, HALF, 0)])
    opened = open_photograph(tiff(clear, photometric="rgb", extrasamples=["assocalpha"]))
    assert opened.deep_alpha is not None
    assert opened.deep_alpha[0, 0] == 0
    assert np.abs(opened.samples[HOLE].astype(int) - IN_COLOUR[HOLE]).max() <= 2


def test_a_palette_of_a_tiff_that_is_kept_as_colour_is_named() -> None:
    before, saved, after = filled(encode(Image.fromarray(gradient()).convert("PA"), "TIFF"))
    assert (before.mode, after.mode) == ("RGB", "RGB")
    assert saved.notes == ("palette with a channel of transparency converted to colour",)
    np.testing.assert_array_equal(after.samples[~HOLE], before.samples[~HOLE])


@pytest.mark.parametrize("format", ["same", "png", "jpeg", "webp"])
def test_tags_of_a_tiff_that_another_format_does_not_hold_are_named(format: str) -> None:
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    for tag, kind, value in (
        (33550, 12, (0.5, 0.5, 0.0)),
        (42113, 2, "-9999"),
        (270, 2, "words"),
        (330, 4, (8,)),
    ):
        tags.tagtype[tag], tags[tag] = kind, value
    _, saved, after = filled(encode(gradient(), "TIFF", tiffinfo=tags), format=format)
    named = "further pictures in the file (smaller copies) dropped"
    if format == "same":
        assert saved.notes == (named,)
        with Image.open(io.BytesIO(saved.body)) as image:
            assert image.tag_v2[33550] == (0.5, 0.5, 0.0)
    else:
        assert saved.notes == (named, f"tag 33550, tag 42113 dropped: {format} holds none")
        assert b"words" in after.tags.exif
    stripped = save_photograph(
        open_photograph(encode(gradient(), "TIFF", tiffinfo=tags)),
        gradient(),
        OutputOptions(format=format, strip_metadata=True),
    )
    assert stripped.notes == (named,)


def test_a_fourth_channel_of_no_meaning_is_no_transparency() -> None:
    data = tiff(np.dstack([IN_COLOUR, HALF]), photometric="rgb", extrasamples=["unspecified"])
    before, _saved, after = filled(data)
    assert decode_image(data).alpha is None
    assert before.deep_alpha is after.alpha is None
    np.testing.assert_array_equal(after.samples[~HOLE], IN_COLOUR[~HOLE])


def test_inks_of_sixteen_bits_are_reduced_with_a_note() -> None:
    data = tiff(np.dstack([RAMP] * 4), photometric="separated")
    _, saved, _ = filled(data)
    assert "16-bit samples reduced to 8 bit" in saved.notes


def test_a_jpeg_2000_of_sixteen_bits_shows_its_upper_ones() -> None:
    data = encode(RAMP, "JPEG2000")
    decoded = decode_image(data)
    np.testing.assert_array_equal(decoded.pixels[..., 0], RAMP >> 8)
    assert decoded.notes == ("16-bit samples reduced to 8 bit",)
    _, saved, after = filled(data)
    np.testing.assert_array_equal(after.samples[~HOLE], (RAMP >> 8)[~HOLE])
    assert any("16-bit samples reduced to 8 bit" in note for note in saved.notes)

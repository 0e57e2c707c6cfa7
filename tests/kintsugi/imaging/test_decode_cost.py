"""What a header promises is refused before anything is decoded; honest files are read as before."""

import struct
from typing import Any

import pytest
from PIL import Image, ImageFile, TiffImagePlugin

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import ImageLimits, decode_image
from kintsugi.imaging.decode_cost import DecodeCost, read_decode_cost
from kintsugi.imaging.heif import reads_heif
from tests.kintsugi import bombs
from tests.kintsugi.pictures import encode, gradient, photo, png_header, srgb_profile


@pytest.mark.parametrize("kind", bombs.costly())
def test_what_takes_too_much_is_refused_at_once(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    data = bombs.costly()[kind]
    # Nothing is decoded: what that takes is the attack.
    monkeypatch.setattr(ImageFile.ImageFile, "load", lambda image: pytest.fail("it was decoded"))
    with pytest.raises(InvalidInput) as caught:
        decode_image(data)
    assert caught.value.code == "image_too_costly"


@pytest.mark.parametrize("kind", bombs.too_large())
def test_pixels_are_counted_in_every_format(kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_image(bombs.too_large()[kind])
    assert caught.value.code == "image_too_many_pixels"


def test_pages_are_not_walked(monkeypatch: pytest.MonkeyPatch) -> None:
    directories = []
    load = TiffImagePlugin.ImageFileDirectory_v2.load

    def counted(directory: TiffImagePlugin.ImageFileDirectory_v2, file: object) -> None:
        directories.append(directory)
        load(directory, file)  # type: ignore[arg-type]

    monkeypatch.setattr(TiffImagePlugin.ImageFileDirectory_v2, "load", counted)
    assert decode_image(bombs.pages()).notes == ("the first of its frames or pages is used",)
    # The first page, perhaps that there is a second one, and what they say of themselves.
    assert len(directories) < 10


def test_a_scan_bomb_is_one() -> None:
    """The attack is real: without the limit it is decoded, scan by scan."""
    data = bombs.scan_bomb(121, 400, 400)
    assert read_decode_cost(data, "jpeg").scans == 121
    with pytest.raises(InvalidInput, match="121"):
        decode_image(data)
    lenient = ImageLimits(max_scans=10**6, max_scan_megapixels=1e9)
    assert decode_image(data, lenient).pixels.shape == (400, 400, 3)
    # No scan is passed over: a fault in the last one alone is noticed.
    last = data.rindex(b"\xff\xda")
    with pytest.raises(InvalidInput) as caught:
        decode_image(data[: last + 5] + b"\x07" + data[last + 6 :], lenient)
    assert caught.value.code == "image_undecodable"


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_honest_files_promise_what_they_hold(format: str) -> None:
    profile = srgb_profile()
    data = photo(80, 112, format, icc_profile=profile)
    cost = read_decode_cost(data, format.lower())
    assert cost.size == (80, 112)
    assert (cost.frames, cost.scans, cost.problem) == (1, 1, "")
    assert 0 < cost.profile_bytes < 2 * len(profile)
    assert decode_image(data).pixels.shape == (80, 112, 3)


def test_a_progressive_photograph_is_read() -> None:
    data = photo(80, 112, progressive=True)
    assert 5 < read_decode_cost(data, "jpeg").scans < 20
    assert decode_image(data).pixels.shape == (80, 112, 3)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "heif", "other"])
def test_a_header_that_is_cut_promises_nothing(format: str) -> None:
    whole = photo(format="PNG" if format in ("heif", "other") else format.upper())
    for length in range(0, 64):
        assert isinstance(read_decode_cost(whole[:length], format), DecodeCost)


@pytest.mark.parametrize("precincts", [{}, {"precinct_size": (64, 32)}])
@pytest.mark.parametrize("tiles", [{}, {"tile_size": (64, 64)}])
def test_an_honest_jpeg_2000_is_read(precincts: dict[str, Any], tiles: dict[str, Any]) -> None:
    """A fault here would refuse good files: parts are counted, and no file of ours has many."""
    data = photo(160, 224, "JPEG2000", num_resolutions=3, **precincts, **tiles)
    cost = read_decode_cost(data, "jp2")
    assert cost.size == (160, 224)
    # 3 colours; the largest of three levels in 4x5 precincts of 64x32, or tiles in 1x2.
    least = {(False, False): 1, (False, True): 12, (True, False): 3 * 20, (True, True): 12 * 3 * 2}
    found = least[bool(precincts), bool(tiles)]
    assert found <= cost.tiles <= 3 * found
    assert decode_image(data).pixels.shape == (160, 224, 3)


def test_a_jpeg_2000_of_small_pieces_is_walked_to_its_end() -> None:
    """Each of its bytes is looked at, and none twice: a file of many tiles takes no time."""
    whole = bombs.precinct_bomb(64)
    assert read_decode_cost(whole, "jp2").tiles == 32 * 32 + 16 * 16
    for length in range(len(whole)):
        assert isinstance(read_decode_cost(whole[:length], "jp2"), DecodeCost)


@pytest.mark.parametrize("how", [{"wide": True}, {"open_ended": True}, {}])
def test_boxes_of_every_length_are_read(how: dict[str, bool]) -> None:
    whole = photo(80, 112, "JPEG2000")
    at = whole.index(b"jp2c") - 4
    data = whole[:at] + bombs.box(b"jp2c", whole[at + 8 :], **how)
    assert read_decode_cost(data, "jp2") == read_decode_cost(whole, "jp2")
    assert decode_image(data).pixels.shape == (80, 112, 3)


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("said", [(64, 48), (320, 240)])
def test_a_size_that_is_not_the_pictures_is_refused(format: str, said: tuple[int, int]) -> None:
    """An AVIF is decoded all the same otherwise, at the size that it has, and scaled."""
    if format == "HEIF" and not reads_heif():
        pytest.skip("the extra heic is not installed")
    whole = photo(240, 160, format)
    size = b"ispe\0\0\0\0" + struct.pack(">II", 160, 240)
    assert whole.count(size) == 1
    decode_image(whole)
    data = whole.replace(size, size[:8] + struct.pack(">II", *said))
    with pytest.raises(InvalidInput) as caught:
        decode_image(data)
    codes = {"HEIF": "image_undecodable", "AVIF": "image_too_costly"}
    assert caught.value.code == codes[format]


@pytest.mark.parametrize("format", ["HEIF", "AVIF"])
@pytest.mark.parametrize("mode", ["RGB", "RGBA"])
def test_an_honest_heic_is_made_of_itself(format: str, mode: str) -> None:
    """Its transparency is another picture of the same size, which is decoded with it."""
    if format == "HEIF" and not reads_heif():
        pytest.skip("the extra heic is not installed")
    image = Image.fromarray(gradient(240, 160)).convert(mode)
    if mode == "RGBA":
        image.putalpha(image.getchannel(0))
    data = encode(image, format)
    cost = read_decode_cost(data, format.lower())
    assert (cost.size, cost.scans, cost.problem) == ((240, 160), len(mode) - 2, "")
    for length in range(0, len(data), 7):
        assert isinstance(read_decode_cost(data[:length], format.lower()), DecodeCost)


def test_a_grid_costs_its_tiles() -> None:
    assert read_decode_cost(bombs.heif_grid(named=6), "heif").scans == 6
    # Of itself: no end.
    endless = bombs.heif_grid(named=1).replace(
        struct.pack(">HHH", 1, 1, 2), struct.pack(">HHH", 1, 1, 1)
    )
    assert read_decode_cost(endless, "heif").scans > 10**9


def test_a_png_has_one_header() -> None:
    whole = photo(64, 48, "PNG")
    header = bombs.png(png_header(20_000, 20_000))[8:]
    with pytest.raises(InvalidInput, match="one header") as caught:
        decode_image(whole[:33] + header + whole[33:])
    assert caught.value.code == "image_undecodable"


def test_the_first_page_of_a_tiff_is_priced() -> None:
    """The second one claims what nobody decodes."""
    data = bytearray(bombs.pages(2))
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    (second,) = struct.unpack_from("<I", data, first + 2 + 12 * count)
    struct.pack_into("<I", data, second + 2 + 8, 60_000)
    assert read_decode_cost(bytes(data), "tiff").size == (16, 16)
    assert decode_image(bytes(data)).pixels.shape == (16, 16, 3)
    # With the directories the other way round it is the one that counts.
    struct.pack_into("<I", data, 4, second)
    assert read_decode_cost(bytes(data), "tiff").size == (16, 60_000)

"""What a header promises is refused before anything is decoded; honest files are read as before."""

from typing import Any

import pytest
from PIL import ImageFile, TiffImagePlugin

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import ImageLimits, decode_image
from kintsugi.imaging.decode_cost import DecodeCost, read_decode_cost
from tests.kintsugi import bombs
from tests.kintsugi.pictures import photo, srgb_profile


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

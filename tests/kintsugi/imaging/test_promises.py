"""What a header promises is refused before anything is decoded; honest files are read as before."""

import time

import pytest

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import ImageLimits, decode_image
from kintsugi.imaging.promises import Promises, read_promises
from tests.kintsugi import bombs
from tests.kintsugi.pictures import photo, srgb_profile

CHEAP_SECONDS = 0.5


@pytest.mark.parametrize("kind", bombs.costly())
def test_what_takes_too_much_is_refused_at_once(kind: str) -> None:
    data = bombs.costly()[kind]
    began = time.process_time()
    with pytest.raises(InvalidInput) as caught:
        decode_image(data)
    assert caught.value.code == "image_too_costly"
    assert time.process_time() - began < CHEAP_SECONDS


@pytest.mark.parametrize("kind", bombs.too_large())
def test_pixels_are_counted_in_every_format(kind: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        decode_image(bombs.too_large()[kind])
    assert caught.value.code == "image_too_many_pixels"


def test_pages_are_not_walked() -> None:
    began = time.process_time()
    assert decode_image(bombs.pages()).notes == ("the first of its frames or pages is used",)
    assert time.process_time() - began < CHEAP_SECONDS


def test_a_scan_bomb_is_one() -> None:
    """The attack is real: without the limit each scan goes over all pixels."""
    lenient = ImageLimits(max_scans=10**6, max_scan_megapixels=1e9)
    seconds = []
    for scans in (1, 121):
        data = bombs.scan_bomb(scans, 2_000, 2_000)
        began = time.process_time()
        decode_image(data, lenient)
        seconds.append(time.process_time() - began)
    assert seconds[1] > 2 * seconds[0]


@pytest.mark.parametrize("format", ["PNG", "JPEG", "WEBP", "TIFF"])
def test_honest_files_promise_what_they_hold(format: str) -> None:
    profile = srgb_profile()
    data = photo(80, 112, format, icc_profile=profile)
    promises = read_promises(data, format.lower())
    assert promises.size == (80, 112)
    assert (promises.frames, promises.scans, promises.problem) == (1, 1, "")
    assert 0 < promises.profile_bytes < 2 * len(profile)
    assert decode_image(data).pixels.shape == (80, 112, 3)


def test_a_progressive_photograph_is_read() -> None:
    data = photo(80, 112, progressive=True)
    assert 5 < read_promises(data, "jpeg").scans < 20
    assert decode_image(data).pixels.shape == (80, 112, 3)


@pytest.mark.parametrize("format", ["png", "jpeg", "webp", "tiff", "heif", "other"])
def test_a_header_that_is_cut_promises_nothing(format: str) -> None:
    whole = photo(format="PNG" if format in ("heif", "other") else format.upper())
    for length in range(0, 64):
        assert isinstance(read_promises(whole[:length], format), Promises)

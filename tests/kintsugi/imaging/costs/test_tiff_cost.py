"""What is decoded of a TIFF's first page is priced, however its directory is written."""

import struct

import pytest

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import decode_image
from kintsugi.imaging.decode_cost import read_decode_cost
from tests.kintsugi import bombs
from tests.kintsugi.pictures import photo

_GREY = {256: (4, 1, 64), 257: (4, 1, 64), 258: (3, 1, 8), 262: (3, 1, 1)}
_SCANS = 500


def _cost(data: bytes) -> tuple[tuple[int, int] | None, int]:
    cost = read_decode_cost(data, "tiff")
    return cost.size, cost.scans


def _jpeg_strips(
    entries: dict[int, tuple[int, int, int]], more: bytes = b"", scans: int = _SCANS
) -> bytes:
    """A TIFF of one JPEG at byte 1,000, and of what ``more`` holds from byte 400 on."""
    head = bombs.tiff({**_GREY, 259: (3, 1, 7), 278: (4, 1, 64), **entries})
    assert len(head) <= 400
    body = head + bytes(400 - len(head)) + more
    return body + bytes(1_000 - len(body)) + bombs.scan_bomb(scans, 64, 64)


def _directory_last(data: bytes, *, cut: int) -> bytes:
    """The same with its directory at the end, without the last ``cut`` bytes."""
    (first,) = struct.unpack_from("<I", data, 4)
    (count,) = struct.unpack_from("<H", data, first)
    directory = data[first : first + 2 + 12 * count + 4]
    return data[:4] + struct.pack("<I", len(data)) + data[8:] + directory[: len(directory) - cut]


@pytest.mark.parametrize("cut", [0, 1, 4])
def test_a_file_may_end_with_its_directory(cut: int) -> None:
    """It is decoded, so it has a price."""
    data = _directory_last(photo(80, 112, "TIFF"), cut=cut)
    assert decode_image(data).pixels.shape == (80, 112, 3)
    assert _cost(data) == ((80, 112), 1)
    assert read_decode_cost(data, "tiff").frames == 1
    bomb = _jpeg_strips({273: (4, 1, 1_000), 279: (4, 1, 10**6)})
    assert _cost(_directory_last(bomb, cut=cut)) == ((64, 64), _SCANS)


def test_a_directory_that_is_cut_says_what_it_holds() -> None:
    data = _directory_last(bombs.tile_bomb(), cut=4 + 12)
    assert read_decode_cost(data, "tiff").largest_tile > 2**30


@pytest.mark.parametrize(
    "size",
    [{}, {279: (4, 0, 0)}, {279: (4, 1, 0)}, {279: (9, 1, 2**32 - 7)}, {279: (5, 1, 400)}],
    ids=["missing", "none", "zero", "negative", "no number"],
)
def test_a_strip_without_a_size_goes_to_the_end(size: dict[int, tuple[int, int, int]]) -> None:
    data = _jpeg_strips({273: (4, 1, 1_000), **size})
    assert _cost(data) == ((64, 64), _SCANS)
    with pytest.raises(InvalidInput) as caught:
        decode_image(data)
    assert caught.value.code == "image_too_costly"


def test_sizes_may_be_fewer_than_strips() -> None:
    strips = {278: (4, 1, 32), 273: (4, 2, 400), 279: (4, 1, 10)}
    data = _jpeg_strips(strips, struct.pack("<II", 900, 1_000))
    assert _cost(data) == ((64, 64), _SCANS // 2)


def test_strips_beyond_the_picture_thin_nothing_out() -> None:
    """One strip is decoded, whatever number its directory claims."""
    places = {273: (4, 60, 400), 279: (4, 60, 640)}
    more = struct.pack("<I", 1_000) + bytes(4 * 59) + struct.pack("<I", 10**6) + b"\1\0\0\0" * 59
    assert _cost(_jpeg_strips(places, more)) == ((64, 64), _SCANS)


def test_tiles_may_have_the_places_of_strips() -> None:
    tile = {322: (4, 1, 64), 323: (4, 1, 64), 273: (4, 1, 1_000), 279: (4, 1, 10**6)}
    assert _cost(_jpeg_strips(tile)) == ((64, 64), _SCANS)
    strip = {324: (4, 1, 1_000), 325: (4, 1, 10**6)}
    assert _cost(_jpeg_strips(strip))[1] == _SCANS


def _old_style(pages: int, *, strips: bool) -> bytes:
    """Pages that are each a JPEG of three scans, as an old-style TIFF holds them."""
    inner = bombs.scan_bomb(3, 64, 64)
    body = struct.pack("<2sHI", b"II", 42, 8)
    for page in range(pages):
        where = {513: (4, 1, len(body) + 200), 514: (4, 1, len(inner))}
        if strips:
            where = {273: (4, 1, len(body) + 200), 279: (4, 1, len(inner))}
        after = len(body) + 200 + len(inner)
        entries = {**_GREY, 259: (3, 1, 6), **where}
        last = page + 1 == pages
        directory = bombs.tiff(entries, second=0 if last else after)[8:]
        body += directory + bytes(200 - len(directory)) + inner
    return body


@pytest.mark.parametrize("strips", [False, True])
def test_old_style_pages_that_nobody_decodes_are_free(strips: bool) -> None:
    assert _cost(_old_style(100, strips=strips)) == ((64, 64), 3)


def test_an_old_style_stream_is_priced() -> None:
    stream = {259: (3, 1, 6), 513: (4, 1, 1_000)}
    assert _cost(_jpeg_strips(stream)) == ((64, 64), _SCANS)
    assert _cost(_jpeg_strips({259: (3, 1, 6), 273: (4, 1, 1_000)})) == ((64, 64), _SCANS)
    both = {**stream, 514: (4, 1, 10**6), 273: (4, 1, 1_000), 279: (4, 1, 10**6)}
    assert _cost(_jpeg_strips(both)) == ((64, 64), 2 * _SCANS)


def test_honest_jpeg_strips_have_one_scan() -> None:
    data = photo(640, 400, "TIFF", compression="jpeg")
    assert _cost(data) == ((640, 400), 1)
    assert decode_image(data).pixels.shape == (640, 400, 3)

"""The pictures of a HEIC or AVIF are priced as they are decoded, whatever its boxes claim."""

import io
import struct

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import decode_image
from kintsugi.imaging.costs import heif_cost
from kintsugi.imaging.costs.cost import MOST_PARTS
from kintsugi.imaging.costs.heif_cost import heif_cost as cost_of
from tests.kintsugi import bombs
from tests.kintsugi.bombs import AV1_EMPTY, av1_header, box


def _file(*boxes: bytes) -> bytes:
    meta = box(b"meta", bytes(4) + b"".join(boxes))
    return box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


def _places(items: int, pieces: int, *, width: int = 0, each: bytes = b"") -> bytes:
    """An `iloc` of version 0 whose items claim some pieces; lengths of ``width`` bytes."""
    body = struct.pack(">IBBH", 0, width, 0, items)
    for item in range(items):
        body += struct.pack(">HHH", item + 1, 0, pieces) + each
    return box(b"iloc", body)


def _numbers_taken(data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    taken = []
    take = heif_cost._Numbers.take

    def counted(numbers: heif_cost._Numbers, size: int) -> int:
        taken.append(size)
        assert len(taken) < 10 * MOST_PARTS, "it reads what costs nothing"
        return take(numbers, size)

    monkeypatch.setattr(heif_cost._Numbers, "take", counted)
    assert cost_of(data).problem
    return len(taken)


def test_pieces_without_a_place_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    """Six kilobytes ask for 65 million of them."""
    assert _numbers_taken(_file(_places(1_000, 65_535)), monkeypatch) < 10
    assert cost_of(_file(_places(1, 2))).problem
    # One piece without numbers is the whole file.
    assert cost_of(_file(_places(1, 1))).problem == ""


def test_pieces_are_counted_over_all_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    one, two = (_places(n, 40_000, width=1, each=bytes(40_000)) for n in (1, 2))
    assert "40000 pieces" not in cost_of(_file(one)).problem
    assert "80000 pieces" in cost_of(_file(two)).problem
    # Three numbers of each piece of the first picture, none of the second.
    assert _numbers_taken(_file(two), monkeypatch) < 130_000


@pytest.mark.parametrize("tiles", [5, 7])
def test_a_wide_list_is_known_by_its_version(tiles: int) -> None:
    """Item 2n + 1 with n tiles has the length of a narrow list of item 0."""
    item = 2 * tiles + 1
    whole = bombs.heif_grid(named=tiles)
    narrow = box(
        b"iref", bytes(4) + box(b"dimg", struct.pack(f">HH{tiles}H", 1, tiles, *[2] * tiles))
    )
    wide = box(
        b"iref",
        b"\1\0\0\0" + box(b"dimg", struct.pack(f">IH{tiles}I", item, tiles, *[2] * tiles)),
    )
    assert whole.count(narrow) == 1
    at = whole.index(b"meta") - 4
    meta = whole[at + 8 :].replace(narrow, wide)
    meta = meta.replace(b"pitm" + struct.pack(">IH", 0, 1), b"pitm" + struct.pack(">IH", 0, item))
    meta = meta.replace(
        b"infe" + struct.pack(">IHH4s", 2 << 24, 1, 0, b"grid"),
        b"infe" + struct.pack(">IHH4s", 2 << 24, item, 0, b"grid"),
    )
    assert cost_of(whole[:at] + box(b"meta", meta)).scans == tiles


def _pictures(
    references: list[tuple[bytes, int, list[int]]], sides: dict[int, int], *more: bytes
) -> bytes:
    """Square pictures by number, of which the first is shown, and how they refer to each other."""
    listed = b"".join(
        box(b"infe", struct.pack(">IHH4sB", 2 << 24, item, 0, b"hvc1", 0)) for item in sides
    )
    sizes = b"".join(box(b"ispe", struct.pack(">III", 0, side, side)) for side in sides.values())
    links = b"".join(struct.pack(">HBB", item, 1, at) for at, item in enumerate(sides, start=1))
    named = b"".join(
        box(kind, struct.pack(f">HH{len(items)}H", source, len(items), *items))
        for kind, source, items in references
    )
    return _file(
        box(b"pitm", struct.pack(">IH", 0, next(iter(sides)))),
        box(b"iinf", struct.pack(">IH", 0, len(sides)) + listed),
        box(b"iref", bytes(4) + named),
        box(b"iprp", box(b"ipco", sizes) + box(b"ipma", struct.pack(">II", 0, len(sides)) + links)),
        *more,
    )


def test_transparency_is_priced() -> None:
    """It is decoded with the picture that it points to, and so is what it is made of."""
    sides = {1: 64, 2: 64, 3: 64, 4: 64}
    assert cost_of(_pictures([], sides)).scans == 1
    assert cost_of(_pictures([(b"auxl", 2, [1])], sides)).scans == 2
    grid = [(b"auxl", 2, [1]), (b"dimg", 2, [3] * 1_000)]
    assert cost_of(_pictures(grid, sides)).scans == 1_001
    # Of each tile, as often as the tile is named.
    tiles = [(b"dimg", 1, [2] * 10), (b"auxl", 3, [2]), (b"auxl", 4, [2])]
    assert cost_of(_pictures(tiles, sides)).scans == 30
    # Small previews and pictures of others are not decoded.
    assert cost_of(_pictures([(b"thmb", 2, [1]), (b"auxl", 3, [4])], sides)).scans == 1
    assert cost_of(_pictures([(b"auxl", 1, [1])], sides)).scans > 10**9


def test_boxes_that_readers_choose_from_are_refused() -> None:
    whole = _pictures([], {1: 64, 2: 64})
    assert cost_of(whole).problem == ""
    assert "meta" in cost_of(whole + whole[whole.index(b"meta") - 4 :]).problem
    for second in (
        box(b"pitm", struct.pack(">IH", 0, 2)),
        box(b"iinf", struct.pack(">IH", 0, 0)),
        box(b"iprp", b""),
        box(b"iref", bytes(4)),
    ):
        problem = cost_of(_pictures([], {1: 64, 2: 64}, second)).problem
        assert second[4:8].decode() in problem
    place = _places(1, 1)
    assert cost_of(_pictures([], {1: 64}, place)).problem == ""
    assert "iloc" in cost_of(_pictures([], {1: 64}, place, place)).problem
    assert "ipco" in cost_of(_file(box(b"iprp", 2 * box(b"ipco", b"")))).problem


def test_boxes_in_other_places_say_nothing() -> None:
    """No reader looks for them there."""
    grid = [(b"dimg", 1, [2] * 10)]
    outside = box(b"pitm", struct.pack(">IH", 0, 2))
    assert cost_of(_pictures(grid, {1: 64, 2: 64}) + outside).scans == 10
    # A property that has the name of a list counts as one, and what is in it as none.
    inner = box(b"iprp", box(b"ispe", struct.pack(">III", 0, 16, 16)))
    sizes = inner + box(b"ispe", struct.pack(">III", 0, 64, 32))
    links = box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 2))
    cost = cost_of(
        _file(
            box(b"pitm", struct.pack(">IH", 0, 1)),
            box(b"iref", bytes(4) + box(b"dimg", struct.pack(">HH5H", 1, 5, *[1] * 5))),
            box(b"iprp", box(b"ipco", sizes) + links),
        )
    )
    assert cost.size == (32, 64)


@pytest.mark.parametrize("before", [0, 100, 4_096])
def test_the_size_of_an_avif_is_that_of_its_picture(before: int) -> None:
    """Whatever lies before it."""
    picture = AV1_EMPTY * before + av1_header(4_096, 4_096)
    at = 1_000
    kind = box(b"infe", struct.pack(">IHH4sB", 2 << 24, 1, 0, b"av01", 0))
    head = _file(
        box(b"pitm", struct.pack(">IH", 0, 1)),
        box(b"iinf", struct.pack(">IH", 0, 1) + kind),
        box(
            b"iprp",
            box(b"ipco", box(b"ispe", struct.pack(">III", 0, 64, 64)))
            + box(b"ipma", struct.pack(">IIHBB", 0, 1, 1, 1, 1)),
        ),
        box(b"iloc", struct.pack(">IBBHHHHII", 0, 0x44, 0, 1, 1, 0, 1, at, len(picture))),
    )
    data = head + box(b"mdat", bytes(at - len(head) - 8) + picture)
    assert data[at:] == picture
    assert cost_of(data).problem
    # What the boxes say is what there is.
    assert not cost_of(data.replace(picture, av1_header(64, 64).ljust(len(picture)))).problem


def _sequence() -> bytes:
    """An AVIF of three pictures of 64 x 64 px in a track; the first one is in its list, too."""
    pictures = [
        Image.fromarray(np.random.default_rng(seed).integers(0, 255, (64, 64, 3), np.uint8))
        for seed in range(3)
    ]
    buffer = io.BytesIO()
    pictures[0].save(buffer, "AVIF", save_all=True, append_images=pictures[1:])
    return buffer.getvalue()


def test_the_first_picture_of_a_sequence_is_priced() -> None:
    """A track is decoded where there is one, whatever the list of pictures says."""
    whole = _sequence()
    cost = cost_of(whole)
    assert (cost.size, cost.scans, cost.problem) == ((64, 64), 1, "")
    assert decode_image(whole).pixels.shape == (64, 64, 3)
    # Its first sample elsewhere: at the end of the file.
    header = av1_header(60_000, 60_000)
    data = bytearray(whole + header)
    struct.pack_into(">I", data, whole.index(b"stco") + 12, len(whole))
    struct.pack_into(">I", data, whole.index(b"stsz") + 16, len(header))
    assert cost_of(bytes(data)).size == (60_000, 60_000)
    with pytest.raises(InvalidInput, match="too many pixels"):
        decode_image(bytes(data))
    for cut in range(0, len(whole), 97):
        cost_of(whole[:cut])


def test_tracks_that_share_their_bytes_are_refused() -> None:
    sizes = box(b"stsz", struct.pack(">IIII", 0, 0, 1, 1_000))
    coded = box(b"stsd", struct.pack(">II", 0, 1) + box(b"av01", b""))
    table = box(b"stbl", box(b"stco", struct.pack(">III", 0, 1, 0)) + sizes + coded)
    track = box(b"trak", box(b"mdia", box(b"minf", table)))
    assert "share" not in cost_of(_file() + box(b"moov", track) + bytes(1_000)).problem
    assert "share" in cost_of(_file() + box(b"moov", track * 100)).problem
    # Sound is none of a picture's bytes.
    sound = track.replace(b"av01", b"mp4a")
    assert cost_of(_file() + box(b"moov", sound * 100)).problem == ""

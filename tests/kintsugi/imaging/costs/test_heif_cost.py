"""The pictures of a HEIC or AVIF are priced as they are decoded, whatever its boxes claim."""

import struct

import pytest

from kintsugi.imaging.costs import heif_cost
from kintsugi.imaging.costs.heif_cost import heif_cost as cost_of
from tests.kintsugi import bombs


def _file(*boxes: bytes) -> bytes:
    meta = bombs.box(b"meta", bytes(4) + b"".join(boxes))
    return bombs.box(b"ftyp", b"heic\0\0\0\0mif1heic") + meta


def _places(items: int, pieces: int, *, width: int = 0, each: bytes = b"") -> bytes:
    """An `iloc` of version 0 whose items claim some pieces; lengths of ``width`` bytes."""
    body = struct.pack(">IBBH", 0, width, 0, items)
    for item in range(items):
        body += struct.pack(">HHH", item + 1, 0, pieces) + each
    return bombs.box(b"iloc", body)


def _numbers_taken(data: bytes, monkeypatch: pytest.MonkeyPatch) -> int:
    taken = []
    take = heif_cost._Numbers.take

    def counted(numbers: heif_cost._Numbers, size: int) -> int:
        taken.append(size)
        assert len(taken) < 10 * heif_cost.MOST_PARTS, "it reads what costs nothing"
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


def test_pieces_are_counted_over_all_boxes(monkeypatch: pytest.MonkeyPatch) -> None:
    one = _places(1, 40_000, width=1, each=bytes(40_000))
    assert "40000 pieces" not in cost_of(_file(one)).problem
    # Three numbers of each piece of the first box, none of the second.
    assert _numbers_taken(_file(one, one), monkeypatch) < 130_000
    assert "80000 pieces" in cost_of(_file(one, one)).problem


@pytest.mark.parametrize("tiles", [5, 7])
def test_a_wide_list_is_known_by_its_version(tiles: int) -> None:
    """Item 2n + 1 with n tiles has the length of a narrow list of item 0."""
    item = 2 * tiles + 1
    whole = bombs.heif_grid(named=tiles)
    narrow = bombs.box(
        b"iref", bytes(4) + bombs.box(b"dimg", struct.pack(f">HH{tiles}H", 1, tiles, *[2] * tiles))
    )
    wide = bombs.box(
        b"iref",
        b"\1\0\0\0" + bombs.box(b"dimg", struct.pack(f">IH{tiles}I", item, tiles, *[2] * tiles)),
    )
    assert whole.count(narrow) == 1
    at = whole.index(b"meta") - 4
    meta = whole[at + 8 :].replace(narrow, wide)
    meta = meta.replace(b"pitm" + struct.pack(">IH", 0, 1), b"pitm" + struct.pack(">IH", 0, item))
    meta = meta.replace(
        b"infe" + struct.pack(">IHH4s", 2 << 24, 1, 0, b"grid"),
        b"infe" + struct.pack(">IHH4s", 2 << 24, item, 0, b"grid"),
    )
    assert cost_of(whole[:at] + bombs.box(b"meta", meta)).scans == tiles

"""The codestream of a JPEG 2000 is gone over once, however many ways lead to a marker."""

import struct

import pytest

from kintsugi.imaging.costs import jpeg2000_cost
from tests.kintsugi import bombs

_LENGTH = 65_000


def _ways_to_one_style(ways: int) -> bytes:
    """Tiles whose comments all end at one style of coding, which is as long as a marker can be."""
    whole = bombs.precinct_bomb(64)
    head = whole[: whole.index(b"\xff\x90")]
    tile, each = b"\xff\x90\0\x0a" + struct.pack(">HIBB", 0, 0, 0, 1), 16
    starts = b"".join(
        tile + b"\xff\x64" + struct.pack(">H", 2 + each * (ways - 1 - way)) for way in range(ways)
    )
    style = struct.pack(">BBHBBBBBBB", 1, 0, 1, 0, 4, 4, 4, 0, 1, 0x11)
    style += bytes([0x11]) * (_LENGTH - 2 - len(style))
    return head + starts + b"\xff\x52" + struct.pack(">H", _LENGTH) + style + b"\xff\x93\xff\xd9"


def test_a_style_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of its levels no more than a codec reads."""
    levels: list[int] = []
    count = jpeg2000_cost._precincts

    def counted(sizes: bytes, width: int, height: int) -> int:
        levels.append(len(sizes))
        return count(sizes, width, height)

    monkeypatch.setattr(jpeg2000_cost, "_precincts", counted)
    jpeg2000_cost.jpeg2000_cost(_ways_to_one_style(300))
    # That of the header, and the long one.
    assert len(levels) == 2
    assert max(levels) < 40

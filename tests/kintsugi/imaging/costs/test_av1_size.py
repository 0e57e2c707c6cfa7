"""All sequence headers of an AV1 picture are read, or it is said that they are not."""

import pytest

from kintsugi.imaging.costs.av1_size import TooManyUnits, av1_sizes
from tests.kintsugi.bombs import AV1_EMPTY, av1_header


def _sizes(data: bytes) -> list[tuple[int, int]]:
    return list(av1_sizes(memoryview(data)))


def test_each_header_has_a_size() -> None:
    data = AV1_EMPTY + av1_header(64, 48) + AV1_EMPTY * 3 + av1_header(4_096, 300)
    assert _sizes(data) == [(64, 48), (4_096, 300)]
    assert _sizes(b"") == []


def test_a_header_that_is_cut_hides_no_other() -> None:
    short = bytes([1 << 3 | 2, 1, 0x18])
    assert _sizes(short + av1_header(64, 48)) == [(64, 48)]


def test_more_units_than_are_read_are_said() -> None:
    header = av1_header(64, 48)
    assert _sizes(AV1_EMPTY * 4_095 + header) == [(64, 48)]
    with pytest.raises(TooManyUnits, match="4096"):
        _sizes(AV1_EMPTY * 4_096 + header)

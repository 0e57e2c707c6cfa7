"""kintsugi.imaging.metadata.jpeg_segments: where a JPEG's picture ends, whatever is in it."""

import random

import pytest

from kintsugi.imaging.metadata.jpeg_segments import bytes_after_end

HEAD = b"\xff\xd8\xff\xda\x00\x04ab"
END = b"\xff\xd9"


def by_hand(data: bytes) -> int:
    """Marker by marker, as the standard says it."""
    at = len(HEAD)
    while at + 1 < len(data):
        if data[at] != 0xFF:
            at += 1
        elif data[at + 1] == 0xD9:
            return len(data) - at - 2
        elif data[at + 1] == 0xFF:
            at += 1
        elif data[at + 1] == 0 or 0xD0 <= data[at + 1] <= 0xD7 or at + 4 > len(data):
            at += 2
        else:
            at += 2 + int.from_bytes(data[at + 2 : at + 4], "big")
    return 0


@pytest.mark.parametrize(
    ("scan", "after"),
    [
        (b"pixels", 7),
        (b"\xff\x00\xff\xd0\xff\xd7\xff\xff", 7),
        # A table between two scans, which holds what looks like an end.
        (b"x\xff\xc4\x00\x04\xff\xd9y", 7),
        (b"", 0),
    ],
)
def test_the_first_end_outside_of_segments_counts(scan: bytes, after: int) -> None:
    assert bytes_after_end(HEAD + scan + END + b"z" * after) == after


def test_it_is_as_by_hand() -> None:
    rng = random.Random(0)
    choice = [
        b"\xff",
        b"\xff\x00",
        b"\xff\xd3",
        b"\xff\xc4\x00\x03",
        b"\xff\xda\x00\x02",
        b"a",
        END,
    ]
    for _ in range(3000):
        data = HEAD + b"".join(rng.choices(choice, [3, 5, 3, 2, 1, 9, 1], k=rng.randrange(12)))
        assert bytes_after_end(data) == by_hand(data), data

"""kintsugi.data.feeding.joining: blocks of any size become batches of one, by one copy."""

from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pytest
import torch

from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.feeding import joining
from kintsugi.data.feeding.joining import Joiner, TaskCost
from kintsugi.data.samples import Sample, _table
from kintsugi.data.shard_reader import Decoded
from kintsugi.errors import StorageError

SIDE = 16


def sample(number: int, instead_of: str = "") -> tuple[Decoded, Sample]:
    rng = np.random.default_rng(number)
    image = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
    decoded = Decoded(number, 0, image, instead_of)
    return decoded, Sample(image, rng.random((SIDE, SIDE)) < 0.3, float(rng.random()))


def blocks(sizes: list[int]) -> Iterator[pa.Table]:
    first = 0
    for size in sizes:
        yield _table([sample(first + at) for at in range(size)], seconds=float(size))
        first += size


@pytest.mark.parametrize("sizes", [[12], [1] * 12, [5, 7], [4, 4, 4], [9, 3], [2, 9, 1]])
@pytest.mark.parametrize("cut", [0, 3])
def test_batches_are_the_samples_in_their_order(sizes: list[int], cut: int) -> None:
    cost = TaskCost()
    joiner = Joiner(4, SIDE, CorruptRows("x", 100, 0.0), cost)
    found = []
    for block in blocks(sizes):
        # As Ray Data cuts blocks that are too large: the pieces begin inside of the same bytes.
        pieces = [block.slice(at, cut) for at in range(0, len(block), cut)] if cut else [block]
        for piece in pieces:
            found += list(joiner.add(piece))
    assert len(found) == 3
    for number in range(12):
        batch, at = found[number // 4], number % 4
        decoded, expected = sample(number)
        assert int(batch.keys[at]) == decoded.key
        assert np.array_equal(batch.image[at].numpy(), expected.image)
        assert np.array_equal(batch.mask[at].numpy(), expected.mask)
        assert float(batch.draw[at]) == np.float32(expected.draw)
    assert (cost.photos, cost.seconds) == (12, pytest.approx(12.0))
    assert [part.dtype for part in found[0].parts()] == [
        torch.int64, torch.uint8, torch.bool, torch.float32
    ]  # fmt: skip


def test_a_batch_is_not_written_again_once_it_is_given() -> None:
    joiner = Joiner(4, SIDE, CorruptRows("x", 100, 0.0), None)
    (first,) = [batch for block in blocks([4]) for batch in joiner.add(block)]
    kept = first.image.clone()
    list(joiner.add(_table([sample(50 + at) for at in range(4)], 0.0)))
    assert torch.equal(first.image, kept)


def test_nothing_is_copied_on_the_way_to_the_batch() -> None:
    (block,) = blocks([6])
    (chunk,) = block.to_batches()
    column = chunk.column("image")
    rows = joining._bytes_of(column)
    assert rows.ctypes.data == column.buffers()[1].address
    later = joining._bytes_of(chunk.slice(2).column("image"))
    assert later.ctypes.data == column.buffers()[1].address + 2 * SIDE * SIDE * 3


def test_rows_that_do_not_decode_are_counted() -> None:
    joiner = Joiner(4, SIDE, CorruptRows("x", 100, 0.01), None)
    list(joiner.add(_table([sample(0, "part: a (broken)"), sample(1)], 0.0)))
    with pytest.raises(StorageError, match="2 photographs do not decode"):
        list(joiner.add(_table([sample(2, "part: b (broken)")], 0.0)))

"""kintsugi.data.shard_reader: what does not decode is replaced in a settled way, up to a limit."""

from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import PackedBatch, local_batches
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.sampler import Position, Read, SampleOrder
from kintsugi.data.shard_manifest import read_manifest, read_part
from kintsugi.data.shard_reader import (
    Scaled,
    ShardReader,
    decode_sample,
    open_reader,
    sample_key,
)
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage
from tests.kintsugi.corrupt_shards import replace_rows
from tests.kintsugi.pictures import encode
from tests.kintsugi.training_runs import pack_photos

# One of twelve photographs is a twelfth.
TOLERANT = DataSection(shards="unused", crop_px=128, resize_px=128, max_corrupt_share=0.1)


@pytest.fixture
def shards(tmp_path: Path) -> Storage:
    """Twelve photographs, four in a part."""
    return Storage(pack_photos(tmp_path))


def ids_of(shards: Storage) -> list[str]:
    return [
        name
        for part in read_manifest(shards).parts
        for name in read_part(shards, part)["id"].to_pylist()
    ]


def read_rows(shards: Storage, *rows: int) -> list[tuple[int, str]]:
    decoded = open_reader(shards.uri, 128).decode(Read(0, np.array(rows, dtype=np.int64)))
    return [(each.key, each.instead_of) for each in decoded]


def order_of(reader: ShardReader, workers: int = 1, batch_size: int = 3) -> SampleOrder:
    return SampleOrder(reader.rows_per_part, 1, shuffle_parts=2, workers=workers,
                       batch_size=batch_size)  # fmt: skip


def test_the_next_row_of_the_shard_takes_a_corrupt_rows_place(shards: Storage) -> None:
    ids = ids_of(shards)
    replace_rows(shards, 1, {0: b"", 1: b"x"})
    empty = f"part-00001.parquet: {ids[4]} (image_empty_file)"
    other = f"part-00001.parquet: {ids[5]} (image_format_not_allowed)"
    assert read_rows(shards, 3, 4, 5, 6) == [
        (sample_key(ids[3]), ""),
        (sample_key(ids[6]), empty),
        (sample_key(ids[6]), other),
        (sample_key(ids[6]), ""),
    ]


def test_after_the_last_row_comes_the_first_whatever_else_is_read(shards: Storage) -> None:
    ids = ids_of(shards)
    replace_rows(shards, 1, {3: b"x"})
    (alone,) = read_rows(shards, 7)
    assert alone[0] == sample_key(ids[4])
    assert alone in read_rows(shards, 9, 7, 0)


def test_a_shard_without_any_photograph_is_named(shards: Storage) -> None:
    replace_rows(shards, 2, dict.fromkeys(range(4), b"x"))
    with pytest.raises(StorageError, match=r"none of the 4 photographs in .*part-00002\.parquet"):
        read_rows(shards, 8)


def equal(one: PackedBatch, other: PackedBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parts(), other.parts(), strict=True))


def test_batches_and_positions_do_not_move_for_a_corrupt_row(shards: Storage) -> None:
    reader = open_reader(shards.uri, 128)
    order = order_of(reader)
    before = list(islice(local_batches(reader, order, TOLERANT, Position()), 8))
    corrupt = sample_key(replace_rows(shards, 1, {2: b"x"})[0])
    reader = open_reader(shards.uri, 128)
    after = list(islice(local_batches(reader, order, TOLERANT, Position()), 8))
    touched = [corrupt in batch.keys.tolist() for batch in before]
    assert sum(touched) == 2, "once in each of two epochs"
    assert not any(corrupt in batch.keys.tolist() for batch in after)
    for was, now, changed in zip(before, after, touched, strict=True):
        assert len(was.keys) == len(now.keys)
        assert equal(was, now) != changed
    for step in range(8):
        resumed = next(local_batches(reader, order, TOLERANT, order.advance(Position(), step)))
        assert equal(resumed, after[step])


def test_a_corrupt_row_is_counted_once_and_reported_once(
    shards: Storage, caplog: pytest.LogCaptureFixture
) -> None:
    (photo_id,) = replace_rows(shards, 0, {1: b"x"})
    reader = open_reader(shards.uri, 128)
    list(islice(local_batches(reader, order_of(reader), TOLERANT, Position()), 12))
    (logged,) = [r.message for r in caplog.records if r.name == "kintsugi.data.corrupt_rows"]
    assert f"{shards.uri}/part-00000.parquet: {photo_id} (image_format_not_allowed)" in logged
    assert "(1 of 1 allowed)" in logged


def test_more_than_the_limit_is_one_error_that_names_them(shards: Storage) -> None:
    first = replace_rows(shards, 0, {1: b"x"})[0]
    second = replace_rows(shards, 2, {0: b""})[0]
    reader = open_reader(shards.uri, 128)
    with pytest.raises(StorageError, match="2 photographs do not decode") as caught:
        list(islice(local_batches(reader, order_of(reader), TOLERANT, Position()), 8))
    for words in (
        f"part-00000.parquet: {first} (",
        f"part-00002.parquet: {second} (",
        "data.max_corrupt_share=0.1 of 12 allows 1",
    ):
        assert words in str(caught.value)


def test_a_small_data_set_tolerates_none_by_default(shards: Storage) -> None:
    assert CorruptRows("x", 999, 0.001).limit == 0
    assert CorruptRows("x", 1000, 0.001).limit == 1
    replace_rows(shards, 0, {1: b"x"})
    reader = open_reader(shards.uri, 128)
    strict = DataSection(shards="unused", crop_px=128, resize_px=128)
    with pytest.raises(StorageError, match=r"max_corrupt_share=0\.001 of 12 allows 0"):
        list(islice(local_batches(reader, order_of(reader), strict, Position()), 4))


def test_an_error_names_twenty_and_no_more() -> None:
    rows = CorruptRows("place", 1000, 0.03)
    for number in range(30):
        rows.note(f"part-00000.parquet: {number:03d} (bad)")
        rows.note(f"part-00000.parquet: {number:03d} (bad)")
    with pytest.raises(StorageError, match=r"31 photographs .*: 019 \(bad\), \.\.\.: pack"):
        rows.note("part-00000.parquet: 030 (bad)")


def test_what_other_workers_have_met_counts_once() -> None:
    rows = CorruptRows("place", 1000, 0.003)
    rows.note("part-00000.parquet: 1 (bad)")
    rows.learn(["part-00000.parquet: 1 (bad)", "part-00001.parquet: 2 (bad)"])
    rows.note("part-00001.parquet: 2 (bad)")
    assert len(rows.found()) == 2
    with pytest.raises(StorageError, match=r"4 photographs .* allows 3: .*part-00002"):
        rows.learn(["part-00002.parquet: 3 (bad)", "part-00002.parquet: 4 (bad)"])


def test_other_workers_use_exactly_the_photographs_that_were_left(shards: Storage) -> None:
    reader = open_reader(shards.uri, 128)
    two, one = order_of(reader, workers=2, batch_size=2), order_of(reader, batch_size=2)
    used = [
        key
        for rank in range(2)
        for batch in islice(local_batches(reader, two, TOLERANT, Position(), rank), 2)
        for key in batch.keys.tolist()
    ]
    rest = [
        key
        for batch in islice(local_batches(reader, one, TOLERANT, two.advance(Position(), 2)), 2)
        for key in batch.keys.tolist()
    ]
    assert len(used) == 8
    assert sorted(used + rest) == sorted(sample_key(name) for name in ids_of(shards))


def orders(pixels: np.ndarray, across: int, down: int) -> list[np.ndarray]:
    """Brought to size by columns and then rows, and the other way around."""
    image, found = Image.fromarray(pixels), []
    for first in ((across, image.height), (image.width, down)):
        halfway = image.resize(first, Image.Resampling.LANCZOS)
        found.append(np.asarray(halfway.resize((across, down), Image.Resampling.LANCZOS)))
    return found


@pytest.mark.parametrize(("height", "width"), [(321, 481), (286, 400), (500, 333), (140, 140)])
def test_a_part_that_is_brought_to_size_alone_is_that_of_the_whole(height: int, width: int) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (height, width, 3), np.uint8)
    whole, parts = (decode_sample(encode(pixels), 286, draft=draft) for draft in (False, True))
    assert isinstance(parts, Scaled)
    assert parts.shape == whole.shape
    down, across = whole.shape[:2]
    assert any(np.array_equal(whole[:, :], each) for each in orders(pixels, across, down))
    bottom, right = down - 256, across - 256
    for top, left in ((0, 0), (bottom, right), (bottom // 2, right // 3)):
        here = slice(top, top + 256), slice(left, left + 256)
        part = parts[here].astype(int)
        # Of noise the two orders differ much: halfway samples are clipped.
        differences = [np.abs(part - each[here]) for each in orders(pixels, across, down)]
        least = min(differences, key=lambda difference: float(difference.mean()))
        assert least.max() <= 1
        assert (least > 0).mean() < 0.01, "rounded otherwise, here and there"


def test_a_large_jpeg_is_decoded_smaller_and_no_smaller_than_twice() -> None:
    ramp = np.linspace(0, 255, 1800).astype(np.uint8)
    data = encode(np.broadcast_to(ramp[None, :, None], (1200, 1800, 3)), "JPEG", quality=95)
    whole, parts = decode_sample(data, 140), decode_sample(data, 140, draft=True)
    assert isinstance(parts, Scaled)
    assert parts._image.size == (450, 300)
    assert parts.shape == whole.shape
    here = slice(0, 140), slice(40, 180)
    assert np.abs(parts[here].astype(int) - whole[here]).max() <= 3


def test_what_is_shared_of_corrupt_rows_is_what_is_new() -> None:
    rows = CorruptRows("place", 1000, 0.5)
    rows.note("part-00000.parquet: 1 (bad)")
    assert rows.take_new() == ["part-00000.parquet: 1 (bad)"]
    rows.learn(["part-00001.parquet: 2 (bad)"])
    for row in ("part-00000.parquet: 1 (bad)", "part-00001.parquet: 2 (bad)"):
        rows.note(row)
    assert rows.take_new() == [], "known already, here or elsewhere"
    rows.note("part-00002.parquet: 3 (bad)")
    assert rows.take_new() == ["part-00002.parquet: 3 (bad)"]
    assert len(rows.found()) == 3

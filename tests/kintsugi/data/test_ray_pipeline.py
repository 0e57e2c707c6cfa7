"""Ray Data gives a worker the batches that reading in this process gives, in that order."""

import dataclasses
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path
from typing import Any

import pytest
import torch

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import BatchRequest, PackedBatch, corrupt_rows, local_batches
from kintsugi.data.mask_files.mask_folder import pack_masks
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.shard_reader import open_reader
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage
from tests.kintsugi.corrupt_shards import replace_rows
from tests.kintsugi.data.mask_files.pictures_of_masks import write_masks
from tests.kintsugi.training_runs import pack_photos

CONFIG = DataSection(
    shards="unused",
    crop_px=128,
    resize_px=140,
    masks=("rectangle", "strokes"),
    # One of twelve photographs.
    max_corrupt_share=0.1,
)

pytestmark = pytest.mark.ray


def equal(one: PackedBatch, other: PackedBatch) -> bool:
    return all(torch.equal(a, b) for a, b in zip(one.parts(), other.parts(), strict=True))


def streamed(uri: str, start: Position, rank: int, count: int) -> tuple[Iterator[PackedBatch], Any]:
    from kintsugi.data.ray_pipeline import stream_batches

    reader = open_reader(uri, CONFIG.resize_px)
    order = SampleOrder(reader.rows_per_part, seed=1, shuffle_parts=2, workers=2, batch_size=3)
    request = BatchRequest(reader, order, start, rank, count, corrupt_rows(reader, CONFIG))
    stream = stream_batches(request, CONFIG)
    return islice(stream, count), local_batches(reader, order, CONFIG, start, rank)


@pytest.mark.parametrize("rank", [0, 1])
def test_batches_equal_those_read_here_over_several_epochs(
    local_ray: object, tmp_path: Path, rank: int
) -> None:
    # 12 photographs and 6 a step: two steps an epoch, the third and fourth are epoch 1.
    stream, local = streamed(pack_photos(tmp_path), Position(), rank, 5)
    got = list(stream)
    assert len(got) == 5
    assert all(equal(one, other) for one, other in zip(got, local, strict=False))


def test_masks_of_files_are_the_same_in_tasks_of_any_worker(
    local_ray: object, tmp_path: Path
) -> None:
    from kintsugi.data.ray_pipeline import stream_batches

    packed = pack_masks(write_masks(tmp_path / "masks"), Storage(tmp_path / "packed"), 128)
    config = dataclasses.replace(CONFIG, masks=(packed.uri, "strokes"))
    reader = open_reader(pack_photos(tmp_path), CONFIG.resize_px)
    drawn = []
    for workers in (1, 2):
        order = SampleOrder(reader.rows_per_part, 1, 2, workers, 6 // workers, together=True)
        alike = {}
        for rank in range(workers):
            corrupt = corrupt_rows(reader, config)
            request = BatchRequest(reader, order, Position(), rank, 2, corrupt)
            local = local_batches(reader, order, config, Position(), rank)
            for batch in islice(stream_batches(request, config), 2):
                assert equal(batch, next(local))
                alike |= {
                    key: mask.numpy().tobytes()
                    for key, mask in zip(batch.keys.tolist(), batch.mask, strict=True)
                }
        drawn.append(alike)
    assert len(drawn[0]) == 12
    assert drawn[0] == drawn[1]


def test_a_stream_goes_on_inside_an_epoch(local_ray: object, tmp_path: Path) -> None:
    uri = pack_photos(tmp_path)
    reader = open_reader(uri, CONFIG.resize_px)
    order = SampleOrder(reader.rows_per_part, seed=1, shuffle_parts=2, workers=2, batch_size=3)
    stream, local = streamed(uri, order.advance(Position(), 1), 0, 2)
    assert all(equal(one, other) for one, other in zip(stream, local, strict=False))


def test_an_altered_shard_ends_the_stream_by_its_name(local_ray: object, tmp_path: Path) -> None:
    uri = pack_photos(tmp_path)
    storage = Storage(uri)
    data = bytearray(storage.read("part-00001.parquet"))
    data[len(data) // 2] ^= 1
    storage.write("part-00001.parquet", bytes(data))
    stream, _ = streamed(uri, Position(), 0, 2)
    with pytest.raises(Exception, match=r"part-00001\.parquet has SHA-256"):
        list(stream)


def test_a_photograph_that_does_not_decode_is_replaced_as_it_is_here(
    local_ray: object, tmp_path: Path
) -> None:
    uri = pack_photos(tmp_path)
    replace_rows(Storage(uri), 1, {0: b"x"})
    stream, local = streamed(uri, Position(), 1, 4)
    assert all(equal(one, other) for one, other in zip(stream, local, strict=False))


def test_too_many_that_do_not_decode_end_the_stream_by_their_names(
    local_ray: object, tmp_path: Path
) -> None:
    uri = pack_photos(tmp_path)
    names = [replace_rows(Storage(uri), part, {0: b"x"})[0] for part in (0, 2)]
    streams = [streamed(uri, Position(), rank, 8)[0] for rank in (0, 1)]
    with pytest.raises(StorageError, match="2 photographs do not decode") as caught:
        list(chain(*streams))
    assert all(name in str(caught.value) for name in names)


def test_a_stream_whose_process_dies_ends_with_that_and_a_closed_one_ends_it(
    local_ray: Any, tmp_path: Path
) -> None:
    from kintsugi.data.ray_pipeline import stream_batches

    reader = open_reader(pack_photos(tmp_path), CONFIG.resize_px)
    order = SampleOrder(reader.rows_per_part, seed=1, shuffle_parts=2, workers=2, batch_size=3)
    for ending in ("killed", "closed"):
        request = BatchRequest(reader, order, Position(), 0, 500, corrupt_rows(reader, CONFIG))
        stream = stream_batches(request, CONFIG)
        next(stream)
        feeder = stream.gi_frame.f_locals["feeder"]  # type: ignore[attr-defined]
        if ending == "killed":
            local_ray.kill(feeder)
            with pytest.raises(local_ray.exceptions.RayActorError):
                list(stream)
        else:
            stream.close()  # type: ignore[attr-defined]
            with pytest.raises(local_ray.exceptions.RayActorError):
                local_ray.get(feeder.blocks.remote())

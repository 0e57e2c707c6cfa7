"""The photographs of a run: in which order each worker sees them, and which it is looked at with.

The latter are the same every time and never changed as crops for training are. Trains nothing.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch

from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import DataSection
from kintsugi.data.batches import PackedBatch, collate, corrupt_rows, settings_of
from kintsugi.data.sampler import Position, Read, SampleOrder
from kintsugi.data.samples import sample_of
from kintsugi.data.shard_reader import ShardReader, open_reader
from kintsugi.data.shards.part_lists import Split
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import ConfigError

# Photographs in the sample pictures.
SAMPLE_ROWS = 4


def open_run_reader(data: DataSection, *, split: Split = TRAIN) -> ShardReader:
    """The reader of a run's photographs. Raises: StorageError as `open_reader`."""
    return open_reader(data.shards, data.resize_px, split=split, draft=data.jpeg_draft)


def order_of(config: JobConfig, reader: ShardReader, workers: int) -> SampleOrder:
    """The order in which this number of workers sees a run's photographs.

    Raises: ConfigError when a step's photographs cannot be shared out.
    """
    whole = config.loop.global_batch
    if whole % workers:
        raise ConfigError(
            f"loop.global_batch={whole} is not shared out among {workers} workers evenly: choose a"
            " multiple of every number of workers that the run may have"
        )
    return SampleOrder(
        rows_per_part=reader.rows_per_part,
        seed=config.seed,
        shuffle_parts=config.data.shuffle_parts,
        workers=workers,
        batch_size=whole // workers or config.loop.batch_size,
        together=whole > 0,
    )


def held_out_batches(config: JobConfig, rank: int, workers: int) -> tuple[list[PackedBatch], bool]:
    """This rank's part of what checkpoints are measured on, and whether that is a spare one."""
    if not config.held_out.photos:
        return [], False
    reader, order = _held_out_split(config)
    count = min(config.held_out.photos, order.total)
    spare = rank >= count
    singly = _singly(reader, order, config, count, first=0 if spare else rank, step=workers)
    size = config.loop.batch_size // config.loop.accumulate
    return [_joined(singly[start : start + size]) for start in range(0, len(singly), size)], spare


def sample_batch(reader: ShardReader, order: SampleOrder, config: JobConfig) -> PackedBatch:
    """The photographs of the sample pictures: the first that are held out, if any are."""
    count = SAMPLE_ROWS
    if config.held_out.photos:
        reader, order = _held_out_split(config)
        count = min(count, config.held_out.photos)
    return _joined(_singly(reader, order, config, min(count, order.total)))


def _held_out_split(config: JobConfig) -> tuple[ShardReader, SampleOrder]:
    reader = open_run_reader(config.data, split=HELD_OUT)
    order = SampleOrder(reader.rows_per_part, config.seed, config.data.shuffle_parts, 1, 1)
    return reader, order


def _singly(
    reader: ShardReader,
    order: SampleOrder,
    config: JobConfig,
    count: int,
    *,
    first: int = 0,
    step: int = 1,
) -> list[PackedBatch]:
    """Every ``step``-th of a split's first photographs, in a batch of its own, as they are."""
    data = replace(config.data, window_px=0, recolour_share=0.0)
    settings = settings_of(data, order.seed)
    corrupt = corrupt_rows(reader, data)
    batches = []
    for read in _chosen(order, range(first, count, step)):
        for decoded in reader.decode(read):
            corrupt.note(decoded.instead_of)
            batches.append(collate([decoded.key], [sample_of(decoded, settings)]))
    return batches


def _chosen(order: SampleOrder, places: range) -> Iterator[Read]:
    """The reads of the first epoch, with nothing but the rows at these places of its order."""
    alone = replace(order, workers=1, batch_size=1)
    first = 0
    for read in next(alone.reads(Position(), 0)):
        mine = [row for at, row in enumerate(read.rows, first) if at in places]
        first += len(read.rows)
        if mine:
            yield Read(read.epoch, np.array(mine, dtype=np.int64))
        if first >= places.stop:
            return


def _joined(batches: Sequence[PackedBatch]) -> PackedBatch:
    """One batch of several."""
    return PackedBatch(*map(torch.cat, zip(*(batch.parts() for batch in batches), strict=True)))

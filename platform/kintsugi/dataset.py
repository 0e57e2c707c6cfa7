"""Ray Data: shards -> decoded rows -> batches of one train worker, in a settled order.

Each worker streams its own share through its own pipeline: nothing has to be split
between workers at run time, so the order is the plan's and not that of arrival, and no
worker waits for another's data. Decoding runs in Ray Data's tasks on any node; crop,
flip and hole run in the collate function, which knows the epoch.
"""

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray.data
from ray.data.collate_fn import NumpyBatchCollateFn

from kintsugi.order import Position, Read, SampleOrder
from kintsugi.reading import DecodeRead, ShardReader
from kintsugi.samples import Batch, collate
from kintsugi.sections import DataSection

# Reads of one pipeline. Small data sets join many epochs into one, because starting a
# pipeline takes seconds; large ones start one per epoch.
READS_PER_PIPELINE = 512
# Logical CPUs of a data task.
TASK_CPUS = 0.5
# Batches prepared ahead of the step.
PREFETCH_BATCHES = 2


def stream_batches(
    reader: ShardReader,
    order: SampleOrder,
    config: DataSection,
    start: Position,
    rank: int,
    num_steps: int,
) -> Iterator[Batch]:
    """This worker's batches from ``start`` on, at least ``num_steps`` of them.

    Raises: StorageError (inside Ray's own error) when a shard is missing or altered.
    """
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    # A job's log is for the run's own lines; Ray Data keeps its own in Ray's log folder.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    pending: list[Read] = []
    steps = 0
    for epoch in order.reads(start, rank):
        pending += epoch
        steps += sum(len(read.rows) for read in epoch) // order.batch_size
        if len(pending) >= READS_PER_PIPELINE or steps >= num_steps:
            yield from _run(reader, order, config, pending)
            pending = []
            if steps >= num_steps:
                return


def _run(
    reader: ShardReader, order: SampleOrder, config: DataSection, reads: list[Read]
) -> Iterator[Batch]:
    rows = [{"epoch": read.epoch, "rows": read.rows.tolist()} for read in reads]
    pipeline = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        DecodeRead(reader),
        batch_size=1,
        num_cpus=TASK_CPUS,
        compute=ray.data.TaskPoolStrategy(size=min(config.tasks, len(rows))),
    )
    for parts in pipeline.iter_torch_batches(
        batch_size=order.batch_size,
        prefetch_batches=PREFETCH_BATCHES,
        collate_fn=_Collate(order.seed, config),
        device="cpu",
    ):
        yield Batch(*(parts[name] for name in ("keys", "image", "mask", "draw")))


class _Collate(NumpyBatchCollateFn):  # type: ignore[misc]
    def __init__(self, seed: int, config: DataSection) -> None:
        super().__init__()
        self.seed = seed
        self.config = config

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        pixels = [
            np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)
            for data, height, width in zip(
                batch["pixels"], batch["height"], batch["width"], strict=True
            )
        ]
        keys, epochs = batch["key"].tolist(), batch["epoch"].tolist()
        made = collate(pixels, keys, epochs, self.seed, self.config)
        return {"keys": made.keys, "image": made.image, "mask": made.mask, "draw": made.draw}

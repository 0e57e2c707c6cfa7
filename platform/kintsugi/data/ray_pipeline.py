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

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import Batch, Request, collate
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.sampler import Read
from kintsugi.data.shard_reader import TASK_CPUS, DecodeRead, ShardReader

# Reads of one pipeline. Small data sets join many epochs into one, because starting a
# pipeline takes seconds; large ones start one per epoch.
READS_PER_PIPELINE = 512
# Batches prepared ahead of the step.
PREFETCH_BATCHES = 2
# Photographs that a reading task hands on at one time. Ray Data's default is 128 MiB: the
# first batch would wait until hundreds are decoded, and each buffer would hold as many.
BLOCK_BYTES = 8 * 2**20


def stream_batches(request: Request, config: DataSection) -> Iterator[Batch]:
    """The batches that a worker asks for, made as ``config`` says.

    Raises: StorageError (inside Ray's own error) when a shard is missing or altered, or
        more photographs than ``config.max_corrupt_share`` do not decode.
    """
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    # A job's log is for the run's own lines; Ray Data keeps its own in Ray's log folder.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    reader, order = request.reader, request.order
    make_batch = _Collate(order.seed, config, request.corrupt)
    pending: list[Read] = []
    steps = 0
    for epoch in order.reads(request.start, request.rank):
        pending += epoch
        steps += sum(len(read.rows) for read in epoch) // order.batch_size
        if len(pending) >= READS_PER_PIPELINE or steps >= request.steps:
            yield from _run(reader, pending, make_batch, order.batch_size)
            pending = []
            if steps >= request.steps:
                return


def _run(
    reader: ShardReader, reads: list[Read], make_batch: "_Collate", batch_size: int
) -> Iterator[Batch]:
    rows = [{"epoch": read.epoch, "rows": read.rows.tolist()} for read in reads]
    pipeline = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        DecodeRead(reader),
        batch_size=1,
        compute=ray.data.TaskPoolStrategy(size=min(make_batch.config.tasks, len(rows))),
        **_room(make_batch.config),
    )
    for parts in pipeline.iter_torch_batches(
        batch_size=batch_size,
        prefetch_batches=PREFETCH_BATCHES,
        collate_fn=make_batch,
        device="cpu",
    ):
        yield Batch(*(parts[name] for name in ("keys", "image", "mask", "draw")))


def _room(config: DataSection) -> dict[str, Any]:
    """Where reading tasks run, and on whose CPUs."""
    if config.tasks_anywhere:
        return {"num_cpus": TASK_CPUS}
    # Their CPUs are part of what was set aside for this worker: asked for once more, they
    # might never come, as all of a small cluster's may be set aside for workers.
    here = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "label_selector": {"ray.io/node-id": here}}


class _Collate(NumpyBatchCollateFn):  # type: ignore[misc]
    def __init__(self, seed: int, config: DataSection, corrupt: CorruptRows) -> None:
        super().__init__()
        self.seed = seed
        self.config = config
        self.corrupt = corrupt

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for row in batch["instead_of"]:
            self.corrupt.note(str(row))
        pixels = [
            np.frombuffer(data, dtype=np.uint8).reshape(height, width, 3)
            for data, height, width in zip(
                batch["pixels"], batch["height"], batch["width"], strict=True
            )
        ]
        keys, epochs = batch["key"].tolist(), batch["epoch"].tolist()
        made = collate(pixels, keys, epochs, self.seed, self.config)
        return {"keys": made.keys, "image": made.image, "mask": made.mask, "draw": made.draw}

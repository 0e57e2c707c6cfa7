"""Ray Data: shards -> decoded rows -> batches of one train worker, in a settled order.

Each worker streams its own share through its own pipeline: nothing has to be split
between workers at run time, so the order is the plan's and not that of arrival, and no
worker waits for another's data. Decoding, crop, flip and hole run in Ray Data's tasks on any
node; what reaches the training process are bytes that it only has to join.
"""

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import ray.data
import torch
from numpy.typing import NDArray
from ray.data import ExecutionResources
from ray.data.collate_fn import NumpyBatchCollateFn

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import BatchRequest, PackedBatch, settings_of
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.sampler import Read
from kintsugi.data.samples import DecodeRead, as_row

# Reads of one pipeline. Small data sets join many epochs into one, because starting a
# pipeline takes seconds; large ones start one per epoch.
READS_PER_PIPELINE = 512
# Batches prepared ahead of the step.
PREFETCH_BATCHES = 2
# Photographs that a reading task hands on at one time. Ray Data's default is 128 MiB: the
# first batch would wait until hundreds are decoded, and each buffer would hold as many.
BLOCK_BYTES = 8 * 2**20
# Share of the object store, for all pipelines of a run together.
_STORE_SHARE = 0.4
_PARTS = ("keys", "image", "mask", "draw")


class TaskCost:
    """Processor seconds of the reading tasks, and the photographs they were for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.photos = 0

    def add(self, seconds: NDArray[np.float64]) -> None:
        """Count some photographs. From one thread at a time."""
        self.seconds += float(seconds.sum())
        self.photos += len(seconds)


def stream_batches(
    request: BatchRequest, config: DataSection, *, cost: TaskCost | None = None
) -> Iterator[PackedBatch]:
    """The batches that a worker asks for, made as ``config`` says.

    Args:
        request: Which.
        config: How photographs become samples, and by how many tasks.
        cost: Where what the tasks took is counted.

    Raises: StorageError (inside Ray's own error) when a shard is missing or altered, or
        more photographs than ``config.max_corrupt_share`` do not decode.
    """
    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    context.target_max_block_size = BLOCK_BYTES
    # A job's log is for the run's own lines; Ray Data keeps its own in Ray's log folder.
    logging.getLogger("ray.data").setLevel(logging.WARNING)
    context.execution_options.resource_limits = _share_of_store(request.order.workers)
    reader, order = request.reader, request.order
    decode = DecodeRead(reader.of_parts, settings_of(config, order.seed))
    # A GPU copies from pinned memory alone while it computes.
    make_batch = _Collate(request.corrupt, cost, pin=torch.cuda.is_available())
    every = itertools.chain.from_iterable(order.reads(request.start, request.rank))
    for reads in whole_batches(every, order.batch_size, request.steps):
        rows = [as_row(reader.locate(read)) for read in reads]
        yield from _run(decode, rows, config, make_batch, order.batch_size)


def whole_batches(reads: Iterator[Read], size: int, steps: int) -> Iterator[list[Read]]:
    """Reads in groups, for one pipeline each, of whole batches.

    Args:
        reads: Without end.
        size: Photographs of a batch; the last read of a group may be cut in two for it.
        steps: The least number of batches, in all groups together.
    """
    group: list[Read] = []
    count, left = 0, steps * size
    while left > 0:
        read = next(reads)
        group.append(read)
        count += len(read.rows)
        if count < min(size, left) or (len(group) < READS_PER_PIPELINE and count < left):
            continue
        rest: list[Read] = []
        over = count % size
        while over:
            last = group.pop()
            keep = max(len(last.rows) - over, 0)
            if keep:
                group.append(Read(last.epoch, last.rows[:keep]))
            rest.insert(0, Read(last.epoch, last.rows[keep:]))
            over -= len(last.rows) - keep
        yield group
        left -= count - count % size
        group, count = rest, count % size


def _run(
    decode: DecodeRead,
    rows: list[dict[str, Any]],
    config: DataSection,
    make_batch: "_Collate",
    batch_size: int,
) -> Iterator[PackedBatch]:
    pipeline = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
        decode,
        batch_size=1,
        compute=ray.data.TaskPoolStrategy(size=min(config.tasks, len(rows))),
        **_room(config),
    )
    for parts in pipeline.iter_torch_batches(
        batch_size=batch_size,
        prefetch_batches=PREFETCH_BATCHES,
        collate_fn=make_batch,
        device="cpu",
    ):
        yield PackedBatch(*(parts[name] for name in _PARTS))


def _share_of_store(workers: int) -> ExecutionResources:
    """The part of the cluster's object store that this worker's pipeline may fill.

    Each pipeline takes half of all of it by itself: a few of them, and what they do not know of,
    spill to disk.
    """
    store = ray.cluster_resources().get("object_store_memory", 0.0)
    return ExecutionResources(object_store_memory=_STORE_SHARE * store / workers)


def _room(config: DataSection) -> dict[str, Any]:
    """Where reading tasks run, and on whose CPUs."""
    if config.tasks_anywhere:
        return {"num_cpus": config.task_cpus}
    # Their CPUs are part of what was set aside for this worker: asked for once more, they
    # might never come, as all of a small cluster's may be set aside for workers.
    here = ray.get_runtime_context().get_node_id()
    return {"num_cpus": 0, "label_selector": {"ray.io/node-id": here}}


class _Collate(NumpyBatchCollateFn):  # type: ignore[misc]
    """Joined blocks to the parts of a `PackedBatch`."""

    def __init__(self, corrupt: CorruptRows, cost: TaskCost | None, *, pin: bool) -> None:
        super().__init__()
        self.corrupt = corrupt
        self.cost = cost
        self.pin = pin

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        for row in batch["instead_of"]:
            self.corrupt.note(str(row))
        if self.cost is not None:
            self.cost.add(batch["seconds"])
        image = batch["image"]
        masks = np.unpackbits(batch["mask"], axis=1).view(np.bool_).reshape(image.shape[:3])
        parts = (batch["key"], image, masks, batch["draw"])
        # Ray's arrays may be read-only memory of all processes.
        made = PackedBatch(*(torch.from_numpy(np.require(p, requirements="W")) for p in parts))
        return dict(zip(_PARTS, (made.pinned() if self.pin else made).parts(), strict=True))

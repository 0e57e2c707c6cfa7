"""Ray Data: shards -> decoded rows -> batches of one train worker, in a settled order.

Each worker streams its own share through its own pipeline: nothing has to be split
between workers at run time, so the order is the plan's and not that of arrival, and no
worker waits for another's data. Decoding, crop, flip and hole run in Ray Data's tasks on any
node, and Ray Data itself in a process of its own; the training process only joins bytes.
"""

import itertools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

import pyarrow as pa
import ray
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from kintsugi.config.sections import DataSection
from kintsugi.data.batches import BatchRequest, PackedBatch, settings_of
from kintsugi.data.feeding.ahead import Ahead
from kintsugi.data.feeding.feeder import Feeder, store_share
from kintsugi.data.feeding.joining import Joiner, TaskCost
from kintsugi.data.sampler import Read
from kintsugi.data.samples import DecodeRead, as_row

# Reads of one pipeline. Small data sets join many epochs into one, because starting a
# pipeline takes seconds; large ones start one per epoch.
READS_PER_PIPELINE = 512
# Batches prepared ahead of the step.
PREFETCH_BATCHES = 2
# Blocks that are asked for before the first of them is there.
_CALLS_AHEAD = 2


def stream_batches(
    request: BatchRequest,
    config: DataSection,
    *,
    cost: TaskCost | None = None,
    on_node: int | None = None,
) -> Iterator[PackedBatch]:
    """The batches that a worker asks for, made as ``config`` says.

    Args:
        request: Which.
        config: How photographs become samples, and by how many tasks.
        cost: Where what the tasks took is counted.
        on_node: The workers of this node, this one among them; None where all may be on it.

    Raises: StorageError (inside Ray's own error) when a shard is missing or altered, or
        more photographs than ``config.max_corrupt_share`` do not decode.
    """
    reader, order = request.reader, request.order
    decode = DecodeRead(reader.of_parts, settings_of(config, order.seed))
    here = ray.get_runtime_context().get_node_id()
    anywhere = config.tasks_anywhere
    sharers = order.workers if anywhere or on_node is None else on_node
    share = store_share(ray.nodes(), "" if anywhere else here, sharers)
    # It is on this node, where what it hands on is read; it ends with this process at the latest.
    feeder = (
        ray.remote(Feeder)
        .options(num_cpus=0, scheduling_strategy=NodeAffinitySchedulingStrategy(here, soft=False))
        .remote(decode, config.tasks, _room(config, here), share)
    )
    every = itertools.chain.from_iterable(order.reads(request.start, request.rank))
    pipelines = (
        [as_row(reader.locate(read)) for read in reads]
        for reads in whole_batches(every, order.batch_size, request.steps)
    )
    joiner = Joiner(order.batch_size, config.crop_px, request.corrupt, cost)
    made = itertools.chain.from_iterable(map(joiner.add, _blocks(feeder, pipelines)))
    batches = Ahead(made, PREFETCH_BATCHES)
    try:
        yield from batches
    finally:
        batches.close()
        ray.kill(feeder)


def _blocks(feeder: Any, pipelines: Iterable[list[dict[str, Any]]]) -> Iterator[pa.Table]:
    """The blocks of one pipeline after the other."""
    for rows in pipelines:
        begun = feeder.begin.remote(rows)
        calls = deque(feeder.blocks.remote() for _ in range(_CALLS_AHEAD))
        ray.get(begun)
        while references := ray.get(calls.popleft()):
            calls.append(feeder.blocks.remote())
            for reference in references:
                yield ray.get(reference)


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


def _room(config: DataSection, here: str) -> dict[str, Any]:
    """Where reading tasks run, and on whose CPUs."""
    if config.tasks_anywhere:
        return {"num_cpus": config.task_cpus}
    # Their CPUs are part of what was set aside for this worker: asked for once more, they
    # might never come, as all of a small cluster's may be set aside for workers.
    return {"num_cpus": 0, "label_selector": {"ray.io/node-id": here}}

"""The process that runs Ray Data for one train worker; no PyTorch.

Ray Data schedules its tasks in a thread of whichever process reads from it, and looks around
there many times a second. In the process that trains that thread would take the interpreter from
the step. Here it takes it from nobody: what trains asks for the next block, and sleeps until its
reference comes.
"""

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import ray
import ray.data
from ray.data import ExecutionResources

from kintsugi.data.samples import DecodeRead

# What a reading task hands on at one time. Ray Data's default is 128 MiB: the first batch would
# wait until hundreds are decoded, and each buffer would hold as many.
BLOCK_BYTES = 8 * 2**20
# Share of the object store, for all pipelines of a run together.
_STORE_SHARE = 0.4


def store_share(nodes: Iterable[Mapping[str, Any]], here: str, sharers: int) -> float:
    """Bytes of the object store for one pipeline.

    Each pipeline takes half of the store by itself: a few of them, and what they do not know of,
    spill to disk.

    Args:
        nodes: As `ray.nodes` lists them.
        here: The id of the one node that the pipeline's tasks are bound to; "" for all.
        sharers: The pipelines there.
    """
    stores = (
        node["Resources"].get("object_store_memory", 0.0)
        for node in nodes
        if node["Alive"] and here in ("", node["NodeID"])
    )
    return float(_STORE_SHARE * sum(stores) / sharers)


class Feeder:
    """An actor: one pipeline after the other, each a list of reads, in their order."""

    def __init__(self, decode: DecodeRead, tasks: int, room: dict[str, Any], share: float) -> None:
        """
        Args:
            decode: The work of a task.
            tasks: At one time.
            room: Where they run, and on whose CPUs: arguments of Ray's.
            share: Bytes of the object store that a pipeline may fill.
        """
        context = ray.data.DataContext.get_current()
        context.execution_options.preserve_order = True
        context.enable_progress_bars = False
        context.target_max_block_size = BLOCK_BYTES
        # A job's log is for the run's own lines; Ray Data keeps its own in Ray's log folder.
        logging.getLogger("ray.data").setLevel(logging.WARNING)
        limits = ExecutionResources(object_store_memory=share)
        context.execution_options.resource_limits = limits
        self._decode = decode
        self._tasks = tasks
        self._room = room
        self._bundles: Iterator[Any] = iter(())

    def begin(self, rows: list[dict[str, Any]]) -> None:
        """Start a pipeline over reads as `as_row` makes them; the one before has ended."""
        pipeline = ray.data.from_items(rows, override_num_blocks=len(rows)).map_batches(
            self._decode,
            batch_size=1,
            compute=ray.data.TaskPoolStrategy(size=min(self._tasks, len(rows))),
            **self._room,
        )
        self._bundles = iter(pipeline.iter_internal_ref_bundles())

    def blocks(self) -> list[ray.ObjectRef]:
        """The next blocks of the pipeline; none at its end."""
        for bundle in self._bundles:
            if bundle.block_refs:
                return list(bundle.block_refs)
        return []

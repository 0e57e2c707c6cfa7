"""Several ranks of a run as processes of this machine, for tests of what they do together."""

import datetime
import tempfile
from collections.abc import Callable
from typing import Any

import torch.distributed as dist
from torch import multiprocessing

from kintsugi.collectives import leave_group

# Imported once, by a process that the ranks are then forked from: PyTorch takes seconds each.
_IMPORTED = ["torch", "torch.distributed", "kintsugi.train.loop", "kintsugi.train.worker"]


def run_ranks(
    count: int, task: Callable[..., None], *arguments: Any, timeout_s: float = 1800.0
) -> None:
    """Run ``task(rank, *arguments)`` in a process for each rank, in one group.

    Args: ``timeout_s``: for how long a rank waits for another.

    Raises: what the first one that failed raised, as text.
    """
    multiprocessing.set_forkserver_preload(_IMPORTED)  # type: ignore[attr-defined]
    with tempfile.TemporaryDirectory() as folder:
        # They meet at a file: a port that is free now may be another program's a moment later.
        address = f"file://{folder}/meeting"
        multiprocessing.start_processes(  # type: ignore[attr-defined, no-untyped-call]
            _join,
            args=(count, address, timeout_s, task, arguments),
            nprocs=count,
            start_method="forkserver",
        )


def _join(
    rank: int,
    count: int,
    address: str,
    timeout_s: float,
    task: Callable[..., None],
    arguments: tuple[Any, ...],
) -> None:
    timeout = datetime.timedelta(seconds=timeout_s)
    dist.init_process_group(
        "gloo", init_method=address, rank=rank, world_size=count, timeout=timeout
    )
    try:
        task(rank, *arguments)
    finally:
        leave_group()

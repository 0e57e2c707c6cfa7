"""What ranks agree on, and how they part."""

import sys
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kintsugi.collectives import leave_group
from tests.kintsugi.ranks import run_ranks


def _group_threads() -> list[str]:
    names = [task.read_text().strip() for task in Path("/proc/self/task").glob("*/comm")]
    return [name for name in names if "gloo" in name]


def step_and_part(rank: int) -> None:
    network = DistributedDataParallel(nn.Linear(4, 4))
    network(torch.ones(2, 4)).sum().backward()
    del network
    assert _group_threads()
    leave_group()
    # One that lived on would let go of a tensor while the interpreter ends, and abort it.
    assert not _group_threads()
    assert not dist.is_initialized()
    leave_group()


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="threads are read from /proc")
def test_a_group_that_is_left_has_no_threads_that_outlive_it() -> None:
    run_ranks(2, step_and_part)

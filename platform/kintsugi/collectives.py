"""What all ranks of a run must agree on: the first rank's word; knows no training."""

from collections.abc import Callable

import torch
import torch.distributed as dist
from torch import nn

# Steps between two questions whether to stop, on a GPU, which each answer holds up.
GPU_STOP_STEPS = 10


def broadcast(value: float, device: torch.device) -> float:
    """The first rank's value, on all ranks; each must call it."""
    if not dist.is_initialized():
        return value
    shared = torch.tensor([value], dtype=torch.float64, device=device)
    dist.broadcast(shared, src=0)
    return shared.item()


def all_reduce_sum(values: list[float], device: torch.device) -> list[float]:
    """Each value summed over all ranks, on all of them; each must call it."""
    if not dist.is_initialized():
        return values
    shared = torch.tensor(values, dtype=torch.float64, device=device)
    dist.all_reduce(shared)
    sums: list[float] = shared.tolist()
    return sums


def all_gather(names: list[str]) -> list[str]:
    """The names of all ranks, on all of them; each must call it."""
    if not dist.is_initialized():
        return names
    parts: list[list[str]] = [[] for _ in range(dist.get_world_size())]
    dist.all_gather_object(parts, names)
    return [name for part in parts for name in part]


def broadcast_buffers(network: nn.Module) -> None:
    """Give a network's buffers, such as batch norm's, the first rank's values on all ranks.

    Between two forward passes of DDP each rank has its own; a checkpoint holds the first's.
    """
    if dist.is_initialized():
        for buffer in network.buffers():
            dist.broadcast(buffer, src=0)


class Stop:
    """Whether all ranks leave after this step: the first rank's answer, one question late.

    The answer travels while the next step computes, so that nobody waits for it.

    Args:
        ask: Asked on the first rank.
        rank: The rank of this process.
        device: On which it computes.
    """

    def __init__(self, ask: Callable[[], bool], *, rank: int, device: torch.device) -> None:
        self._ask = ask
        self._first = rank == 0
        self._every = GPU_STOP_STEPS if device.type == "cuda" else 1
        self._count = 0
        self._flag = torch.zeros(1, device=device)
        self._travelling: dist.Work | None = None

    def agreed(self) -> bool:
        """After every step, on every rank: the same answer on all."""
        if not dist.is_initialized():
            return self._ask()
        self._count += 1
        if self._count % self._every:
            return False
        stop = self._arrived()
        self._flag.fill_(self._first and self._ask())
        self._travelling = dist.broadcast(self._flag, src=0, async_op=True)
        return stop

    def _arrived(self) -> bool:
        if self._travelling is None:
            return False
        self._travelling.wait()
        return bool(self._flag.item())

    def close(self) -> None:
        """Let no answer travel on when the loop ends."""
        self._arrived()

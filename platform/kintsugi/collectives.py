"""What all ranks of a run must agree on: the first rank's word; knows no training."""

import gc
from collections.abc import Callable, Sequence
from pathlib import Path

import torch
import torch.distributed as dist

# DDP imports it, and its functions keep the group of that moment as a default for ever. Imported
# before there is a group, they keep none, and `leave_group` can end the group's threads.
import torch.distributed.nn.functional
from torch import nn

from kintsugi.errors import KintsugiError

# Steps between two questions, on a GPU, which each answer holds up.
GPU_FLAG_STEPS = 10
_BYTES_AT_ONCE = 64 * 2**20


def leave_group() -> None:
    """End this process's part in the group of ranks, and the threads of it; nothing without one.

    They let go of tensors, for which they need the interpreter: a process that ended before they
    did was aborted ("terminate called without an active exception") in one of fifty ends.
    """
    if dist.is_initialized():
        # What is left of DDP holds the group, and is freed with the interpreter held.
        gc.collect()
        dist.destroy_process_group()


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


def all_gather_rows(row: list[float], device: torch.device) -> list[list[float]]:
    """Every rank's numbers, as many on each, on all of them; each must call it."""
    if not dist.is_initialized():
        return [row]
    mine = torch.tensor(row, dtype=torch.float64, device=device)
    rows = [torch.empty_like(mine) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, mine)
    gathered: list[list[float]] = torch.stack(rows).tolist()
    return gathered


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


def fetch_once(fetch: Callable[[Path], None], folder: Path, device: torch.device) -> None:
    """Files in a folder of every rank's own: the first fetches them, the others get its bytes.

    Args:
        fetch: Fills the folder; called on the first rank alone.
        folder: Empty.
        device: Over which bytes travel; each must call it.

    Raises: KintsugiError on every rank, the first one's.
    """
    if not dist.is_initialized():
        fetch(folder)
        return
    found: list[list[tuple[str, int]] | KintsugiError] = [[]]
    if dist.get_rank() == 0:
        try:
            fetch(folder)
        except KintsugiError as error:
            # The others wait for bytes: they must hear that none will come.
            found = [error]
        else:
            files = sorted(file for file in folder.rglob("*") if file.is_file())
            found = [[(str(each.relative_to(folder)), each.stat().st_size) for each in files]]
    dist.broadcast_object_list(found, src=0, device=device)
    listing = found[0]
    if isinstance(listing, KintsugiError):
        raise listing
    for name, size in listing:
        _broadcast_file(folder / name, size, device)


def _broadcast_file(file: Path, size: int, device: torch.device) -> None:
    first = dist.get_rank() == 0
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("rb" if first else "wb") as stream:
        for start in range(0, size, _BYTES_AT_ONCE):
            count = min(_BYTES_AT_ONCE, size - start)
            if first:
                part = torch.frombuffer(bytearray(stream.read(count)), dtype=torch.uint8).to(device)
            else:
                part = torch.empty(count, dtype=torch.uint8, device=device)
            dist.broadcast(part, src=0)
            if not first:
                stream.write(part.cpu().numpy().tobytes())


class SharedFlags:
    """Flags that the first rank reads after each step and all ranks see, one step late.

    They travel while the next step computes, so that nobody waits for them.

    Args:
        asks: Asked on the first rank.
        rank: The rank of this process.
        device: On which it computes.
    """

    def __init__(
        self, asks: Sequence[Callable[[], bool]], *, rank: int, device: torch.device
    ) -> None:
        self._asks = asks
        self._first = rank == 0
        self._every = GPU_FLAG_STEPS if device.type == "cuda" else 1
        self._count = 0
        self._flags = torch.zeros(len(asks), device=device)
        self._travelling: dist.Work | None = None

    def agreed(self) -> list[bool]:
        """After every step, on every rank: the same answers on all."""
        if not dist.is_initialized():
            return [ask() for ask in self._asks]
        self._count += 1
        if self._count % self._every:
            return [False] * len(self._asks)
        answers = self._arrived()
        flags = [self._first and ask() for ask in self._asks]
        self._flags.copy_(torch.tensor(flags, dtype=torch.float32))
        self._travelling = dist.broadcast(self._flags, src=0, async_op=True)
        return answers

    def _arrived(self) -> list[bool]:
        if self._travelling is None:
            return [False] * len(self._asks)
        self._travelling.wait()
        return [flag > 0 for flag in self._flags.tolist()]

    def close(self) -> None:
        """Let no answer travel on when the loop ends."""
        self._arrived()

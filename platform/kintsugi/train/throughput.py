"""What a run's speed figures are made of: every rank's time for data, computing and exchange."""

import resource
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch._C._distributed_c10d import GradBucket
from torch.nn.parallel import DistributedDataParallel

from kintsugi.collectives import all_gather_rows
from kintsugi.runs.metrics_log import Metrics
from kintsugi.train.hangs import Place

# Readings over which the time left is estimated: one slow step or checkpoint must not move it.
_READINGS = 50


class Stopwatch:
    """Stretches of time on a device, from one mark to another; marking waits for nothing.

    On a GPU a mark is an event in the current stream: it is passed when all that was launched
    before has been computed. So a wait of this process during which the GPU still computes is
    none of the GPU's.
    """

    def __init__(self, device: torch.device) -> None:
        self._on_gpu = device.type == "cuda"
        self._pairs: list[tuple[torch.cuda.Event, torch.cuda.Event]] = []
        self._seconds = 0.0

    def mark(self) -> "float | torch.cuda.Event":
        """Now, for this device."""
        if not self._on_gpu:
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)  # type: ignore[no-untyped-call]
        event.record()
        return event

    def add(self, start: "float | torch.cuda.Event", end: "float | torch.cuda.Event") -> None:
        """Count the stretch between two marks."""
        if isinstance(start, float) and isinstance(end, float):
            self._seconds += end - start
        else:
            self._pairs.append((start, end))  # type: ignore[arg-type]

    def read(self) -> float:
        """Seconds counted since the last reading; what was marked must have been passed."""
        seconds, self._seconds = self._seconds, 0.0
        pairs, self._pairs = self._pairs, []
        milliseconds: float = sum(start.elapsed_time(end) for start, end in pairs)
        return seconds + milliseconds / 1000


class Exchange:
    """How long a rank's gradients, when all of them were there, waited for the others'.

    The rank that comes last waits least. Attached to a network by DDP's hook for exchanges,
    which averages as DDP does by itself.

    Attributes:
        watch: The seconds.
        place: Where this rank is, in which what ranks do together is counted; the meter's.
    """

    def __init__(self, device: torch.device) -> None:
        self.watch = Stopwatch(device)
        self.place = Place()

    def attach(self, network: nn.Module) -> None:
        """Watch a network that DDP wraps; before its first step."""
        if isinstance(network, DistributedDataParallel):
            # Forward, too, ranks may wait for one another: DDP shares buffers and buckets there.
            network.register_forward_pre_hook(self._begin)
            network.register_comm_hook(None, self._average)

    def _begin(self, network: nn.Module, inputs: object) -> None:
        self.place.joint += 1

    def _average(self, _: object, bucket: GradBucket) -> torch.futures.Future[Tensor]:
        launched = self.watch.mark()
        self.place.joint += 1
        sums = bucket.buffer().mul_(1 / dist.get_world_size())
        travelling = dist.all_reduce(sums, async_op=True).get_future()

        def arrived(done: torch.futures.Future[list[Tensor]]) -> Tensor:
            # Earlier buckets travel while what comes after them is computed.
            if bucket.is_last():
                self.watch.add(launched, self.watch.mark())
            return done.value()[0]

        return travelling.then(arrived)


@dataclass(frozen=True)
class _Reading:
    """Of one rank, per step: seconds for data, for exchange and in all; memory in MiB."""

    waited: float
    exchanged: float
    seconds: float
    memory_mib: float


class Meter:
    """Counts steps and the time that they took, on every rank.

    Args:
        images_per_step: The images per step of all workers together.
        device: Whose memory is watched.
        exchange: Of this rank's gradients; None where there are no others.
        place: Where this rank is, kept up to date; None: nobody asks.
        now: A clock in seconds.
    """

    def __init__(
        self,
        images_per_step: int,
        device: torch.device,
        exchange: Exchange | None = None,
        place: Place | None = None,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        self._images_per_step = images_per_step
        self._device = device
        self._exchange = exchange
        self._place = place or Place()
        if exchange is not None:
            exchange.place = self._place
        self._now = now
        self._idle = Stopwatch(device)
        self._recent: deque[tuple[int, float]] = deque(maxlen=_READINGS)
        self._reset()

    def _reset(self) -> None:
        self._steps = 0
        self._aside = 0.0
        self._since = self._now()

    @contextmanager
    def waiting(self) -> Iterator[None]:
        """Around the wait for a batch."""
        self._place.enter("waiting for data")
        start = self._idle.mark()
        yield
        self._idle.add(start, self._idle.mark())
        self._place.enter("computing")

    @contextmanager
    def aside(self, doing: str) -> Iterator[None]:
        """Around what is no part of a step: its time counts for the time left alone.

        Args: ``doing``: what, in words; all ranks go through it.
        """
        since = self._now()
        self._place.enter(doing)
        yield
        self._aside += self._now() - since
        self._place.arrive(self._place.step)

    def count(self, step: int) -> None:
        """A step is done, the run's ``step``-th."""
        self._steps += 1
        self._place.arrive(step)

    def read(self, steps_left: int) -> Metrics:
        """Figures since the last reading, of at least one step; each rank must call it.

        They are of all ranks: the mean share of the time that they waited for data, and the
        most memory. With more than one, `ranks/...` has for data, computing and exchange the
        seconds a step of the rank that took least and of that which took most, and which that was;
        and the same for memory, in MiB.

        Args: ``steps_left``: until the run's end, all that is done in between included.
        """
        whole = self._now() - self._since
        mine = self._reading(whole - self._aside)
        ranks = [_Reading(*row) for row in all_gather_rows(list(vars(mine).values()), self._device)]
        self._recent.append((self._steps, whole))
        pace = sum(seconds for _, seconds in self._recent) / sum(n for n, _ in self._recent)
        row: Metrics = {
            "step_seconds": mine.seconds,
            "images_per_second": self._images_per_step / mine.seconds,
            "wait_share": sum(rank.waited for rank in ranks) / len(ranks) / mine.seconds,
            "memory_mib": max(rank.memory_mib for rank in ranks),
            "seconds_left": steps_left * pace,
        }
        if len(ranks) > 1:
            # What a rank takes for itself: the others wait for it in the exchange.
            computing = [rank.seconds - rank.waited - rank.exchanged for rank in ranks]
            row |= _spread("compute", computing)
            row |= _spread("data", [rank.waited for rank in ranks])
            row |= _spread("exchange", [rank.exchanged for rank in ranks])
            row |= _spread("memory_mib", [rank.memory_mib for rank in ranks])
        self._reset()
        return row

    def _reading(self, seconds: float) -> _Reading:
        exchanged = self._exchange.watch.read() if self._exchange is not None else 0.0
        return _Reading(
            waited=self._idle.read() / self._steps,
            exchanged=exchanged / self._steps,
            seconds=seconds / self._steps,
            memory_mib=_peak_bytes(self._device) / 2**20,
        )


def _spread(name: str, values: list[float]) -> Metrics:
    most = max(values)
    return {
        f"ranks/{name}_least": min(values),
        f"ranks/{name}_most": most,
        f"ranks/{name}_most_rank": values.index(most),
    }


def _peak_bytes(device: torch.device) -> int:
    """The most memory this process has held: on the GPU where it computes there, else resident."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    # Linux counts in KiB, macOS in bytes.
    return peak if sys.platform == "darwin" else peak * 1024

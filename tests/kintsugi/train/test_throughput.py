"""How long a GPU idled follows from what its process waited; the slowest of two ranks is named."""

import time
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch._C._distributed_c10d import GradBucket
from torch.nn.utils import parameters_to_vector

from kintsugi.config.run_config import JobConfig
from kintsugi.data.sampler import SampleOrder
from kintsugi.monitor.terminal import format_line
from kintsugi.train import throughput
from kintsugi.train.loop import WorkerContext
from kintsugi.train.throughput import Exchange, Meter
from tests.kintsugi.ranks import run_ranks
from tests.kintsugi.train.test_loop import LinearStage, Rows, batches
from tests.kintsugi.training_runs import debug_config, run_loop

CPU = torch.device("cpu")


class Queue:
    """A process that launches work on a GPU; both have clocks, and no time passes by itself."""

    def __init__(self) -> None:
        self.now = 0.0
        self.done = 0.0
        self.idle = 0.0

    def launch(self, seconds: float) -> None:
        self.idle += max(0.0, self.now - self.done) if self.done else 0.0
        self.done = max(self.now, self.done) + seconds

    def event(self, *, enable_timing: bool) -> "Event":
        assert enable_timing
        return Event(self)


class Event:
    def __init__(self, queue: Queue) -> None:
        self._queue = queue

    def record(self) -> None:
        self._at = max(self._queue.now, self._queue.done)

    def elapsed_time(self, end: "Event") -> float:
        return 1000 * (end._at - self._at)


@pytest.mark.parametrize(("data", "computing"), [(0.6, 1.0), (0.99, 1.0), (1.5, 1.0), (0.0, 1.0)])
def test_a_wait_while_the_gpu_computes_is_no_wait(
    monkeypatch: pytest.MonkeyPatch, data: float, computing: float
) -> None:
    queue = Queue()
    monkeypatch.setattr(torch.cuda, "Event", queue.event)
    monkeypatch.setattr(throughput, "_peak_bytes", lambda device: 0)
    meter = Meter(1, torch.device("cuda"), now=lambda: queue.now)
    monkeypatch.setattr(meter, "_device", CPU)
    for _ in range(50):
        with meter.waiting():
            queue.now += data
        queue.now += 0.001
        queue.launch(computing)
        meter.count(1)
    # Looking at the losses waits for them.
    queue.now = queue.done
    row = meter.read(0)
    assert row["wait_share"] == pytest.approx(queue.idle / queue.now, abs=0.02)


def test_what_is_aside_counts_for_the_time_left_alone_and_one_slow_row_moves_it_little() -> None:
    now = [0.0]
    meter = Meter(8, CPU, now=lambda: now[0])
    for number in range(20):
        for _ in range(10):
            now[0] += 1.0
            meter.count(1)
        with meter.aside("saving"):
            now[0] += 10.0
        row = meter.read(1000)
        assert row["step_seconds"] == 1.0, number
        assert row["images_per_second"] == 8.0
        assert row["seconds_left"] == 2000.0
    now[0] += 100.0
    meter.count(1)
    assert 1900 < meter.read(1000)["seconds_left"] < 2600


def train_slowly(rank: int, config: JobConfig, folder: str) -> None:
    launched = Path(folder) / "launched"
    average = Exchange._average

    def noted(
        self: Exchange, state: object, bucket: GradBucket
    ) -> torch.futures.Future[torch.Tensor]:
        launched.touch()
        return average(self, state, bucket)

    if rank == 0:
        throughput.Exchange._average = noted  # type: ignore[method-assign]

    class SlowStage(LinearStage):
        def generate(self, *args: Any, **kwargs: Any) -> Any:
            output = super().generate(*args, **kwargs)
            if rank == 1:
                # After the other is where it waits for this one.
                while not launched.exists():
                    time.sleep(0.01)
                time.sleep(0.5)
                launched.unlink()
            return output

    order = SampleOrder((100,), seed=0, shuffle_parts=1, workers=2, batch_size=2)
    stage, rows = SlowStage(), Rows()
    context = WorkerContext(CPU, rank, 2)
    # 400 MB that only one of them holds.
    ballast = torch.ones(10**8 if rank == 0 else 1)
    run_loop(stage, batches(rank, 2), order, config, rows, context=context)
    if rank == 0:
        named = [row["ranks/compute_most_rank"] for row in rows.rows]
        lines = "\n".join(format_line(row, 3) for row in rows.rows)
        assert "rank 1 computes" in lines, lines
        for row in rows.rows:
            assert row["ranks/memory_mib_most_rank"] == 0
            most, least = row["ranks/memory_mib_most"], row["ranks/memory_mib_least"]
            assert most - least > ballast.nbytes / 2**20 / 2
            assert row["memory_mib"] == most
        save_file({"named": torch.tensor(named)}, f"{folder}/named")


@pytest.mark.slow
def test_of_two_ranks_the_slow_one_is_named_within_three_rows(tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=3, checkpoint_every=3)
    run_ranks(2, train_slowly, config, str(tmp_path))
    assert load_file(tmp_path / "named")["named"].tolist().count(1) >= 2


def average(rank: int) -> None:
    """The gradients of a network with several buckets, with the hook and without."""
    gradients = []
    for watched in (False, True):
        torch.manual_seed(0)
        layers = torch.nn.Sequential(*[torch.nn.Linear(300, 300) for _ in range(4)])
        network = torch.nn.parallel.DistributedDataParallel(
            layers, bucket_cap_mb=0.5, gradient_as_bucket_view=True
        )
        exchange = Exchange(CPU)
        if watched:
            exchange.attach(network)
        for _ in range(2):
            network.zero_grad()
            inputs = torch.randn(4, 300, generator=torch.Generator().manual_seed(rank))
            network(inputs).square().sum().backward()
        assert (exchange.watch.read() > 0) == watched
        gradients.append(parameters_to_vector(each.grad for each in layers.parameters()))
    assert torch.equal(*gradients)


@pytest.mark.slow
def test_watched_gradients_are_averaged_as_they_always_were() -> None:
    run_ranks(3, average)

"""The plain loop to compare with: PyTorch, DDP and the same step; no Ray and no reporting.

Started by `kintsugi.benchmarks.train.torchrun` on each process of a group; reads what to time
from a folder, and the first process writes there what it saw.
"""

import dataclasses
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
import torch.distributed as dist
from torch.utils.flop_counter import FlopCounterMode

from kintsugi.benchmarks.train.timing import (
    CheckpointCost,
    Clock,
    Stretch,
    Timing,
    give_back,
)
from kintsugi.collectives import leave_group
from kintsugi.data.batches import PackedBatch, local_batches
from kintsugi.data.sampler import Position
from kintsugi.runs.checkpoints import CheckpointStore, TrainState, save_checkpoint
from kintsugi.runs.warm_start import as_opened
from kintsugi.storage.storage import Storage
from kintsugi.train.run_photos import open_run_reader, order_of
from kintsugi.train.worker import first_step

TASK_NAME, RESULT_NAME = "task.json", "result.json"


def time_stretch(stretch: Stretch, device: torch.device) -> Timing:
    """Take the steps of one stretch in this process; others of its group do the same."""
    config = stretch.parsed()
    torch.set_num_threads(config.workers.threads)
    step = first_step(config, device)
    state = step.state
    clock = Clock(device, stretch.steps)
    batches = clock.watch(_batches(stretch))
    while state.step < clock.max_steps:
        step(next(batches).to(device))
        state.step += 1
    timing = clock.timing()
    if stretch.count_flops:
        timing = dataclasses.replace(timing, flops=count_flops(stretch, device))
    if stretch.checkpoints and _rank() == 0:
        cost = checkpoint_cost(state, CheckpointStore(Storage(stretch.checkpoints)))
        timing = dataclasses.replace(timing, checkpoint=cost)
    return timing


def _batches(stretch: Stretch) -> Iterator[PackedBatch]:
    if stretch.batches == "memory":
        return stretch.memory_batches(_rank())
    config = as_opened(stretch.parsed())
    reader = open_run_reader(config.data)
    workers = dist.get_world_size() if dist.is_initialized() else 1
    order = order_of(config, reader, workers)
    return local_batches(reader, order, config.data, Position(), _rank())


def count_flops(stretch: Stretch, device: torch.device) -> int:
    """Floating point operations of one step of one worker: products and convolutions, there
    and back, of all networks. A multiplication and an addition count as two."""
    config = stretch.parsed()
    # What is compiled is not seen.
    plain = dataclasses.replace(config.compute, compile=False)
    step = first_step(dataclasses.replace(config, compute=plain), device)
    batch = next(stretch.memory_batches(_rank())).to(device)
    with FlopCounterMode(display=False) as counter:
        step(batch)
    return int(counter.get_total_flops())


def checkpoint_cost(state: TrainState, store: CheckpointStore) -> CheckpointCost:
    """Write, publish and restore one checkpoint of ``state``, as a run does."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        times = [time.perf_counter()]
        save_checkpoint(folder, state)
        times.append(time.perf_counter())
        store.publish(folder, state.step)
        times.append(time.perf_counter())
        size = sum(file.stat().st_size for file in folder.iterdir())
    begun = time.perf_counter()
    store.restore(state, state.step)
    restored = time.perf_counter() - begun
    return CheckpointCost(size, times[1] - times[0], times[2] - times[1], restored)


def _rank() -> int:
    return dist.get_rank() if dist.is_initialized() else 0


def main(folder: Path) -> None:
    """What each process of the group runs."""
    stretches = [Stretch(**task) for task in json.loads((folder / TASK_NAME).read_text())]
    device = torch.device("cpu")
    if stretches[0].parsed().workers.use_gpu:
        device = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(device)
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo")
    timings = []
    for stretch in stretches:
        timings.append(dataclasses.asdict(time_stretch(stretch, device)))
        give_back(device)
    if _rank() == 0:
        (folder / RESULT_NAME).write_text(json.dumps(timings))
    leave_group()


if __name__ == "__main__":
    main(Path(sys.argv[1]))

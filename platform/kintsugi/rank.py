"""One rank of a run, from its batches to its checkpoints; knows no Ray.

`training.py` gives each rank Ray's batches and Ray's report; `train_locally` gives it
batches read in this process. Both go through `train_rank`, so they compute the same.
"""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch
import torch.distributed as dist

from kintsugi.config import JobConfig
from kintsugi.loop import Surroundings, initial_state, train
from kintsugi.order import Position, SampleOrder
from kintsugi.reading import ShardReader, open_reader
from kintsugi.runs import Run, open_encoder, open_run, pinned_stage1
from kintsugi.samples import Batch, local_batches
from kintsugi.stages import Stage, Stage1, Stage2
from kintsugi.tracking import Metrics, MetricsWriter, format_line

# Photographs in the sample pictures.
SAMPLE_ROWS = 4

# (reader, order, start, rank, steps) -> at least `steps` batches.
BatchStream = Callable[[ShardReader, SampleOrder, Position, int, int], Iterator[Batch]]
Publish = Callable[[Metrics, Path | None, int], None]


def build_stage(config: JobConfig) -> Stage:
    """The networks of an opened run at their first step."""
    encoder = open_encoder(config.encoder, config.seed)
    if config.stage == "stage1":
        return Stage1(config, encoder)
    predicting = config.translate.prediction_share > 0
    return Stage2(config, encoder, pinned_stage1(Run.of(config)) if predicting else None)


class RunReporter:
    """Writes what the loop reports into the run's folder; checkpoints go to ``publish``."""

    def __init__(self, run: Run, config: JobConfig, rank: int, step: int, publish: Publish) -> None:
        self.run = run
        self.max_steps = config.loop.max_steps
        self.publish = publish
        first = rank == 0
        self.metrics = MetricsWriter(run.storage.join("metrics"), step) if first else None

    def log(self, row: Metrics) -> None:
        if self.metrics is not None:
            self.metrics.add(row)
            print(format_line(row, self.max_steps), flush=True)

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        if self.metrics is not None:
            self.metrics.close_part()
        self.publish(row, folder, step)

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        self.run.storage.join("samples").write(f"step-{step:08d}.png", png)
        self.log(row)


def train_rank(
    config: JobConfig, rank: int, device: torch.device, batches: BatchStream, publish: Publish
) -> int:
    """Train one rank of a run from its newest whole checkpoint on. Returns the last step."""
    torch.set_num_threads(config.workers.threads)
    run = Run.of(config)
    reader = open_reader(config.data.shards, config.data.resize_px)
    order = SampleOrder(
        rows_per_part=reader.rows_per_part,
        seed=config.seed,
        shuffle_parts=config.data.shuffle_parts,
        workers=config.workers.count,
        batch_size=config.loop.batch_size,
    )
    stage = build_stage(config)
    stage.to(device)
    state = initial_state(stage, config)
    step = _agreed_step(run, rank, device)
    if step:
        run.checkpoints.restore(state, step)
    if rank == 0:
        print(f"resuming at step {step}" if step else "starting at step 0", flush=True)
    fixed = None
    if rank == 0 and config.loop.sample_every:
        shown = replace(order, batch_size=min(SAMPLE_ROWS, sum(order.rows_per_part)), workers=1)
        fixed = next(local_batches(reader, shown, config.data, Position()))
    train(
        stage,
        batches(reader, order, state.position, rank, config.loop.max_steps - step),
        config,
        state,
        Surroundings(rank, order, device, fixed),
        RunReporter(run, config, rank, step, publish),
    )
    return state.step


def _agreed_step(run: Run, rank: int, device: torch.device) -> int:
    """The step that all ranks resume at: the first rank's finding."""
    step = run.checkpoints.newest_whole() if rank == 0 else 0
    if not dist.is_initialized():
        return step
    shared = torch.tensor([step], device=device)
    dist.broadcast(shared, src=0)
    return int(shared.item())


def train_locally(config: JobConfig, device: torch.device | str = "cpu") -> Run:
    """Train a run in this process without Ray: the same losses as one Ray worker."""
    config = replace(config, workers=replace(config.workers, count=1))
    run = open_run(config)

    def publish(_: Metrics, folder: Path | None, step: int) -> None:
        if folder is not None:
            run.checkpoints.publish(folder, step)
            run.checkpoints.prune(config.loop.keep_checkpoints, step)

    def batches(
        reader: ShardReader, order: SampleOrder, start: Position, rank: int, _: int
    ) -> Iterator[Batch]:
        return local_batches(reader, order, config.data, start, rank)

    train_rank(config, 0, torch.device(device), batches, publish)
    return run

"""One rank of a run, from its batches to its checkpoints; knows no Ray.

`ray_trainer.py` gives each rank Ray's batches and Ray's report; `train_locally` gives it
batches read in this process. Both go through `train_worker`, so they compute the same.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path

import torch
import torch.distributed as dist

from kintsugi.collectives import all_gather
from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import PackedBatch, Request, corrupt_rows, local_batches
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.shard_manifest import Split
from kintsugi.data.shard_reader import ShardReader, open_reader
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.runs.lease import Lease, hold_lease
from kintsugi.runs.metrics_log import Metrics, MetricsWriter
from kintsugi.runs.run import Run, open_encoder
from kintsugi.runs.warm_start import check_run, load_start, open_run, pinned_stage1
from kintsugi.stages.base.registry import stage_spec
from kintsugi.stages.base.stage import Stage, StageSetup
from kintsugi.train.loop import WorkerContext, initial_state, never, train

# Photographs in the sample pictures.
SAMPLE_ROWS = 4

BatchStream = Callable[[Request], Iterator[PackedBatch]]
Publish = Callable[[Metrics, Path | None, int], None]


def build_stage(config: JobConfig) -> Stage:
    """The networks of an opened run at their first step."""
    setup = StageSetup(
        model=config.model,
        losses=config.losses,
        translate=config.translate,
        seed=config.seed,
        open_encoder=lambda: open_encoder(config.encoder, config.seed),
        open_stage1=lambda: pinned_stage1(Run.of(config)),
    )
    return stage_spec(config.stage).build(setup)


class RunReporter:
    """Writes what the loop reports into the run's folder; checkpoints go to ``publish``."""

    def __init__(
        self,
        run: Run,
        metrics: MetricsWriter | None,
        lease: Lease,
        corrupt: CorruptRows,
        publish: Publish,
    ) -> None:
        """
        Args:
            run: Where it writes.
            metrics: The metrics of the first rank; None on all others.
            lease: Asked before every checkpoint.
            corrupt: Shared by all ranks at every checkpoint.
            publish: Takes a checkpoint.
        """
        self.run = run
        self.metrics = metrics
        self.lease = lease
        self.corrupt = corrupt
        self.publish = publish

    def log(self, row: Metrics) -> None:
        if self.metrics is not None:
            self.metrics.add(row)

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        self.lease.check()
        self.corrupt.learn(all_gather(self.corrupt.found()))
        if self.metrics is not None:
            self.metrics.close_part()
        self.publish(row, folder, step)

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        if self.lease.is_lost():
            return
        self.run.storage.join("samples").write(f"step-{step:08d}.png", png)
        self.log(row)


def train_worker(
    config: JobConfig, context: WorkerContext, batches: BatchStream, publish: Publish
) -> int:
    """Train one rank of a run from its newest whole checkpoint on. Returns the last step."""
    torch.set_num_threads(config.workers.threads)
    choose_algorithms(context.device, deterministic=config.compute.deterministic)
    run = Run.of(config)
    reader = open_run_reader(config)
    order = SampleOrder(
        rows_per_part=reader.rows_per_part,
        seed=config.seed,
        shuffle_parts=config.data.shuffle_parts,
        workers=context.workers,
        batch_size=config.loop.batch_size,
    )
    rank, device = context.rank, context.device
    lease = Lease(run, context.owner, rank=rank, device=device)
    lease.check()
    step = _agreed_step(run, rank, device)
    stage = build_stage(config)
    if config.init_from and not step:
        load_start(run, stage.generator, stage.discriminator)
    stage.to(device)
    state = initial_state(stage, config)
    if step:
        run.checkpoints.restore(state, step)
    if rank == 0:
        print(f"resuming at step {step}" if step else "starting at step 0", flush=True)
    held_out, spare = _held_out(config, rank, context.workers)
    fixed = _fixed(reader, order, config) if rank == 0 and config.loop.sample_every else None
    corrupt, steps_left = corrupt_rows(reader, config.data), config.loop.max_steps - step
    metrics = None
    if rank == 0:
        metrics = MetricsWriter(run.storage.join("metrics"), step, is_lost=lease.is_lost)
    train(
        stage,
        batches(Request(reader, order, state.position, rank, steps_left, corrupt)),
        order,
        config,
        state,
        replace(context, fixed=fixed, held_out=held_out, spare=spare),
        RunReporter(run, metrics, lease, corrupt, publish),
    )
    return state.step


def choose_algorithms(device: torch.device, *, deterministic: bool) -> None:
    """What a GPU computes with: what is fastest for these sizes, or what repeats to the bit.

    On the processor nothing is to be chosen.
    """
    if device.type != "cuda":
        return
    # Every step has the same sizes: what was found to be fastest once stays so. It is found by
    # time, and so not every time the same.
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        # Read by cuBLAS when it is first used.
        os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    torch.use_deterministic_algorithms(deterministic)


def open_run_reader(config: JobConfig, *, split: Split = TRAIN) -> ShardReader:
    """The reader of a run's photographs. Raises: StorageError as `open_reader`."""
    data = config.data
    return open_reader(data.shards, data.resize_px, split=split, draft=data.jpeg_draft)


def _held_out(config: JobConfig, rank: int, workers: int) -> tuple[list[PackedBatch], bool]:
    """This rank's part of what checkpoints are measured on, and whether that is a spare one."""
    if not config.held_out.photos:
        return [], False
    reader, order = _held_out_split(config)
    count = min(config.held_out.photos, sum(reader.rows_per_part))
    spare = rank >= count
    singly = _singly(reader, order, config, count, first=0 if spare else rank, step=workers)
    size = config.loop.batch_size // config.loop.accumulate
    return [_joined(singly[start : start + size]) for start in range(0, len(singly), size)], spare


def _held_out_split(config: JobConfig) -> tuple[ShardReader, SampleOrder]:
    reader = open_run_reader(config, split=HELD_OUT)
    order = SampleOrder(reader.rows_per_part, config.seed, config.data.shuffle_parts, 1, 1)
    return reader, order


def _fixed(reader: ShardReader, order: SampleOrder, config: JobConfig) -> PackedBatch:
    """The photographs of the sample pictures: the first that are held out, if any are."""
    count = SAMPLE_ROWS
    if config.held_out.photos:
        reader, order = _held_out_split(config)
        count = min(count, config.held_out.photos)
    return _joined(_singly(reader, order, config, min(count, sum(reader.rows_per_part))))


def _singly(
    reader: ShardReader,
    order: SampleOrder,
    config: JobConfig,
    count: int,
    *,
    first: int = 0,
    step: int = 1,
) -> list[PackedBatch]:
    """Of the first photographs of a split every ``step``-th in a batch of its own, as they are."""
    alone = replace(order, workers=1, batch_size=1)
    data = replace(config.data, window_px=0, recolour_share=0.0)
    return list(islice(local_batches(reader, alone, data, Position()), first, count, step))


def _joined(batches: Sequence[PackedBatch]) -> PackedBatch:
    """One batch of several."""
    return PackedBatch(*map(torch.cat, zip(*(batch.parts() for batch in batches), strict=True)))


def _agreed_step(run: Run, rank: int, device: torch.device) -> int:
    """The step that all ranks resume at: the first rank's finding."""
    step = run.checkpoints.newest_whole() if rank == 0 else 0
    if not dist.is_initialized():
        return step
    shared = torch.tensor([step], device=device)
    dist.broadcast(shared, src=0)
    return int(shared.item())


def train_locally(
    config: JobConfig,
    device: torch.device | str = "cpu",
    *,
    should_stop: Callable[[], bool] = never,
) -> Run:
    """Train a run in this process without Ray: the same losses as one Ray worker."""
    config = replace(config, workers=replace(config.workers, count=1, min_count=0))
    check_run(config)

    def publish(_: Metrics, folder: Path | None, step: int) -> None:
        if folder is not None:
            run = Run.of(config)
            run.checkpoints.publish(folder, step)
            run.checkpoints.prune(config.loop.keep_checkpoints, step)

    def batches(request: Request) -> Iterator[PackedBatch]:
        reader, order = request.reader, request.order
        return local_batches(
            reader, order, config.data, request.start, request.rank, request.corrupt
        )

    with hold_lease(Run.of(config)) as owner:
        run = open_run(config)
        run.checkpoints.discard_after(run.checkpoints.newest_whole())
        context = WorkerContext(torch.device(device), should_stop=should_stop, owner=owner)
        train_worker(config, context, batches, publish)
    return run

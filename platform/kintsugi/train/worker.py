"""One rank of a run, from its batches to its checkpoints; knows no Ray.

`ray_trainer.py` gives each rank Ray's batches and Ray's report; `train_locally` gives it
batches read in this process. Both go through `train_worker`, so they compute the same.
"""

import os
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import torch

from kintsugi.collectives import fetch_once
from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import BatchRequest, PackedBatch, corrupt_rows, local_batches
from kintsugi.runs.checkpoints import TrainState, load_checkpoint, saved_step
from kintsugi.runs.lease import Lease, hold_lease
from kintsugi.runs.metrics_log import MetricsWriter
from kintsugi.runs.run import Run, open_encoder
from kintsugi.runs.warm_start import as_opened, check_run, load_start, open_run, pinned_stage1
from kintsugi.stages.base.registry import stage_spec
from kintsugi.stages.base.stage import Stage, StageSetup
from kintsugi.storage.scratch import scratch_folder
from kintsugi.train.hangs import hang_watch
from kintsugi.train.loop import WorkerContext, initial_state, never, train
from kintsugi.train.run_photos import held_out_batches, open_run_reader, order_of, sample_batch
from kintsugi.train.run_reporter import Announce, RunReporter
from kintsugi.train.step import TrainStep
from kintsugi.train.validation import Validation

BatchStream = Callable[[BatchRequest], Iterator[PackedBatch]]


def build_stage(config: JobConfig, device: torch.device | None = None) -> Stage:
    """The networks of an opened run at their first step.

    Args: ``device``: over which ranks share what one of them fetches; None: this is no rank.
    """
    setup = StageSetup(
        model=config.model,
        losses=config.losses,
        translate=config.translate,
        seed=config.seed,
        open_encoder=lambda: open_encoder(config.encoder, config.seed, device=device),
        open_stage1=lambda: pinned_stage1(Run.of(config), device),
    )
    return stage_spec(config.stage).build(setup)


def train_worker(
    config: JobConfig,
    context: WorkerContext,
    batches: BatchStream,
    announce: Announce,
    *,
    publish: Callable[[Path, int], None] | None = None,
) -> int:
    """Train one rank of a run from its newest whole checkpoint on.

    Args:
        config: The configuration of the run.
        context: Which rank, and where.
        batches: Gives its batches.
        announce: Called for every checkpoint, on every rank.
        publish: Takes a checkpoint's folder and step in the place of the run's own storage.

    Returns: the last step.
    """
    run = Run.of(config)
    with hang_watch(
        run.storage,
        context.place,
        rank=context.rank,
        workers=context.workers,
        limit_s=config.workers.timeout_s,
    ):
        return _train_rank(config, run, context, batches, announce, publish)


def _train_rank(
    config: JobConfig,
    run: Run,
    context: WorkerContext,
    batches: BatchStream,
    announce: Announce,
    publish: Callable[[Path, int], None] | None,
) -> int:
    torch.set_num_threads(config.workers.threads)
    choose_algorithms(context.device, deterministic=config.compute.deterministic)
    reader = open_run_reader(config.data)
    order = order_of(config, reader, context.workers)
    rank, device = context.rank, context.device
    lease = Lease(run, context.owner, rank=rank, device=device)
    lease.check()
    stage, state = _resumed(config, run, device)
    step = state.step
    if rank == 0:
        print(f"resuming at step {step}" if step else "starting at step 0", flush=True)
    held_out, spare = held_out_batches(config, rank, context.workers)
    fixed = sample_batch(reader, order, config) if rank == 0 and config.loop.sample_every else None
    validation = Validation(
        stage,
        state,
        device,
        config.compute.precision,
        settled_step=config.translate.settled_step,
        fixed=fixed,
        held_out=held_out,
        spare=spare,
    )
    corrupt, steps_left = corrupt_rows(reader, config.data), config.loop.max_steps - step

    def into_run(folder: Path, at: int) -> None:
        run.checkpoints.publish(folder, at)
        run.checkpoints.prune(config.loop.keep_checkpoints, at)

    metrics = None
    if rank == 0:
        metrics = MetricsWriter(run.storage.join("metrics"), step, is_lost=lease.is_lost)
    reporter = RunReporter(
        run,
        metrics,
        lease,
        corrupt,
        announce,
        publish or into_run,
        device=device,
        timeout_s=config.workers.timeout_s,
        place=context.place,
    )
    try:
        train(
            _step_of(config, stage, state, device, order.batch_size),
            batches(BatchRequest(reader, order, state.position, rank, steps_left, corrupt)),
            order,
            config.loop,
            config.held_out,
            validation,
            context,
            reporter,
        )
    finally:
        # However it ends: a checkpoint that was written arrives.
        reporter.uploads.join()
    return state.step


def _resumed(config: JobConfig, run: Run, device: torch.device) -> tuple[Stage, TrainState]:
    """A run's networks and state at its newest whole checkpoint, or as it begins."""
    with scratch_folder("a checkpoint") as temporary:
        folder = temporary / "newest"
        step = _fetch_newest(run, folder, device)
        stage = build_stage(config, device)
        if config.init_from and not step:
            load_start(run, stage.generator, stage.discriminator)
        stage.to(device)
        state = initial_state(stage, config.optimizer, config.compute)
        if step:
            load_checkpoint(folder, state)
            run.checkpoints.forget_lost_best(state)
    return stage, state


def first_step(config: JobConfig, device: torch.device) -> TrainStep:
    """The step of a run that has not begun: its networks as they are drawn, in this process."""
    stage = build_stage(config)
    stage.to(device)
    state = initial_state(stage, config.optimizer, config.compute)
    return _step_of(config, stage, state, device, config.loop.batch_size)


def _step_of(
    config: JobConfig, stage: Stage, state: TrainState, device: torch.device, photos: int
) -> TrainStep:
    """Args: ``photos``: this worker's of every step."""
    return TrainStep(
        stage,
        state,
        device,
        optimizer=config.optimizer,
        compute=config.compute,
        accumulate=config.loop.num_parts(photos),
    )


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


def _fetch_newest(run: Run, folder: Path, device: torch.device) -> int:
    """The newest whole checkpoint in a folder of every rank, fetched by the first alone.

    Returns: its step; 0 without any. What came after it will be written again.

    Raises: StorageError on all ranks when none is whole, or storage fails.
    """

    def fetch(empty: Path) -> None:
        run.checkpoints.discard_after(run.checkpoints.fetch_newest(empty))

    fetch_once(fetch, folder, device)
    return saved_step(folder)


def train_locally(
    config: JobConfig,
    device: torch.device | str = "cpu",
    *,
    should_stop: Callable[[], bool] = never,
    announce: Announce = lambda row, folder, step: None,
) -> Run:
    """Train a run in this process without Ray: the same losses as one Ray worker.

    Args: ``announce``: called for every checkpoint.
    """
    config = replace(config, workers=replace(config.workers, count=1, min_count=0))
    check_run(config)
    data = as_opened(config).data

    def batches(request: BatchRequest) -> Iterator[PackedBatch]:
        reader, order = request.reader, request.order
        return local_batches(reader, order, data, request.start, request.rank, request.corrupt)

    with hold_lease(Run.of(config)) as owner:
        run = open_run(config)
        context = WorkerContext(torch.device(device), should_stop=should_stop, owner=owner)
        train_worker(as_opened(config), context, batches, announce)
    return run

"""TorchTrainer around the loop: workers, failures and checkpoints of a run on a cluster."""

import gc
import logging
import math
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.config.sections import DataSection
from kintsugi.data.packing import Packing
from kintsugi.data.ray_pipeline import stream_batches
from kintsugi.data.sample_photos import open_photos
from kintsugi.data.shard_manifest import MANIFEST_NAME, read_manifest
from kintsugi.data.shard_writer import write_shards
from kintsugi.errors import ConfigError, Diverged, KintsugiError
from kintsugi.runs.checkpoints import checkpoint_name
from kintsugi.runs.lease import LeaseLost, hold_lease
from kintsugi.runs.metrics_log import Metrics, read_metrics
from kintsugi.runs.run import Run, Trained
from kintsugi.runs.warm_start import as_opened, check_run, open_run
from kintsugi.storage.storage import Storage
from kintsugi.train.cluster.preemption import a_node_is_reclaimed, asked_to_stop, stop_on_sigterm
from kintsugi.train.cluster.ray_callbacks import load_callbacks
from kintsugi.train.cluster.ray_errors import describe_failure
from kintsugi.train.cluster.ray_record import mend_record
from kintsugi.train.cluster.resources import check_resources, worker_resources
from kintsugi.train.loop import WorkerContext, is_finished, never
from kintsugi.train.worker import train_worker

logger = logging.getLogger(__name__)

# RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S of jobs/_bootstrap.py.
START_TIMEOUT_S = 20.0
# What Ray logs of every checkpoint and every pipeline, up to these levels: a job's log is for
# the run's own lines. Filters, as Ray Data sets all levels again. The first logger goes by the
# path of its file.
NOISE = {
    str(Path(ray.train.__file__).parent / "v2/_internal/execution/context.py"): logging.INFO,
    "ray.data._internal.progress": logging.WARNING,
}


def fit(config: JobConfig) -> Trained:
    """Train the run on the connected Ray cluster until it is finished, or SIGTERM arrives.

    A run that exists resumes from its newest whole checkpoint; one that is finished is
    returned as it is. SIGTERM makes it write a checkpoint and end.

    Raises:
        ConfigError: it cannot run here: too few resources, another configuration; or another
            submission trains it.
        StorageError: shards, encoder or stage 1 are missing or altered.
        LeaseLost: another submission took the run for lost and trains it.
        KintsugiError: it failed more often than ``workers.max_failures``; names the cause.
    """
    check_resources(
        config.workers, config.data, [node["Resources"] for node in ray.nodes() if node["Alive"]]
    )
    load_callbacks(config.workers.callbacks)
    ensure_shards(config.data)
    # What is refused leaves nothing behind.
    check_run(config)
    stopped = False
    with hold_lease(Run.of(config)) as owner:
        run = open_run(config)
        # Whether its tensors are whole the first rank finds out: it fetches them, once.
        first = last = run.checkpoints.newest()
        if not is_finished(config.loop, config.held_out, run.checkpoints.progress(first)):
            with stop_on_sigterm() as request:
                last = _train(config, run, {"stop": request.signal, "owner": owner})
            # For who reads the run by Ray's own means.
            mend_record(run.checkpoints, ray.__version__)
            stopped = request.made and not is_finished(
                config.loop, config.held_out, run.checkpoints.progress(last)
            )
    metrics = read_metrics(run.storage.join("metrics"))
    return Trained(run.storage.uri, first, last, stopped, metrics)


def ensure_shards(config: DataSection) -> None:
    """Pack ``photos`` into ``shards`` when that holds no shards yet and photographs are named.

    Raises:
        StorageError: There are neither.
        ConfigError: The shards that are there hold out another share than is asked for.
    """
    target, share = Storage(config.shards), config.held_out_share
    if target.exists(MANIFEST_NAME) or not config.photos:
        packed = read_manifest(target).held_out_share
        if share not in (0, packed):
            raise ConfigError(
                f"data.held_out_share={share:g}, but the shards at {target.uri} hold {packed:g}"
                f" out: pack them again with --held-out {share:g} --overwrite, or set it to 0,"
                " which takes them as they are"
            )
    else:
        with open_photos(config.photos) as photos:
            write_shards(photos, config.shards, packing=Packing(held_out_share=share))


def _train(config: JobConfig, run: Run, submission: dict[str, Any]) -> int:
    """Train until the run ends. Returns the last step.

    Args: ``submission``: what its ranks get with the configuration.
    """
    failures, before = 0, run.checkpoints.newest()
    while True:
        # Our manifests say what can be resumed. One of Ray's own that was cut short, or names what
        # was pruned, would block every later start.
        mend_record(run.checkpoints, ray.__version__)
        try:
            ended: int | KintsugiError = _trainer(config, run, submission).fit().return_value
            if isinstance(ended, KintsugiError):
                raise ended
            return ended
        except (ray.exceptions.RayActorError, ray.train.TrainingFailedError) as error:
            now = run.checkpoints.newest()
            progress, before = now > before, now
            # In a row, without a checkpoint in between: over a month every run is hit.
            failures = 1 if progress else failures + 1
            if not _may_go_on(error, failures, progress=progress, config=config):
                raise describe_failure(error, config.workers, run.checkpoints) from None
            logger.warning("the run failed after step %d: starting it again", now)


def _may_go_on(error: Exception, failures: int, *, progress: bool, config: JobConfig) -> bool:
    """Whether to start the ranks once more.

    Args:
        failures: Since the last checkpoint.
        progress: This attempt left a checkpoint.
    """
    if isinstance(error, ray.train.ControllerError):
        # It waited for nodes as long as it may.
        return False
    if isinstance(error, ray.train.TrainingFailedError):
        # Ray Train has replaced workers that died as often as it may.
        return progress
    # Nobody replaces its controller.
    return failures <= config.workers.max_failures


def _trainer(config: JobConfig, run: Run, submission: dict[str, Any]) -> TorchTrainer:
    filesystem, path = run.storage.arrow_filesystem()
    workers = config.workers
    return TorchTrainer(
        run_ray_worker,
        train_loop_config={"config": config.to_dict(), **submission},
        scaling_config=scaling_of(config),
        torch_config=TorchConfig(
            backend="nccl" if workers.use_gpu else "gloo", timeout_s=workers.timeout_s
        ),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=path,
            storage_filesystem=filesystem,
            callbacks=load_callbacks(workers.callbacks),
            logging_config=LoggingConfig(log_level="WARNING"),
            failure_config=FailureConfig(
                max_failures=workers.max_failures,
                # Nodes taken away with notice are no fault of the run's.
                max_preemption_failures=-1,
                # Each is a wait for resources that ended without them.
                controller_failure_limit=math.ceil(workers.wait_s / START_TIMEOUT_S),
            ),
            # The run prunes its checkpoints itself.
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=None),
        ),
    )


def scaling_of(config: JobConfig) -> ScalingConfig:
    """How many workers Ray Train starts, with what, and where."""
    workers = config.workers
    elastic = workers.min_count > 0
    return ScalingConfig(
        num_workers=(workers.min_count, workers.count) if elastic else workers.count,
        use_gpu=workers.use_gpu,
        resources_per_worker=worker_resources(config.workers, config.data),
        accelerator_type=workers.accelerator_type or None,
        placement_strategy=workers.placement,
    )


def _above(level: int) -> Callable[[logging.LogRecord], bool]:
    return lambda record: record.levelno > level


def run_ray_worker(settings: dict[str, Any]) -> int | KintsugiError:
    """What runs on every train worker.

    Returns: the last step; or an error that would come again with every attempt: whatever is
    raised Ray Train tries ``max_failures`` times more.
    """
    for name, level in NOISE.items():
        logging.getLogger(name).addFilter(_above(level))
    config = as_opened(parse_config(settings["config"], "the submitted configuration"))
    ray_context = ray.train.get_context()
    rank = ray_context.get_world_rank()
    context = WorkerContext(
        device=get_device() if config.workers.use_gpu else torch.device("cpu"),
        rank=rank,
        # An elastic run has not always as many as its configuration says.
        workers=ray_context.get_world_size(),
        should_stop=asked_to_stop(settings["stop"]) if rank == 0 else never,
        is_reclaimed=a_node_is_reclaimed if rank == 0 else never,
        owner=settings["owner"],
    )

    def announce(row: Metrics, folder: Path | None, step: int) -> None:
        def place(_: Checkpoint, name: str) -> Checkpoint:
            # Where the run's own thread brings it: Ray's record names it, and waits for nothing.
            storage = ray.train.get_context().get_storage()
            return Checkpoint(
                f"{storage.experiment_fs_path}/{name}", filesystem=storage.storage_filesystem
            )

        ray.train.report(
            dict(row),
            checkpoint=Checkpoint.from_directory(folder) if folder is not None else None,
            checkpoint_dir_name=checkpoint_name(step),
            checkpoint_upload_fn=place,
        )

    ended: int | KintsugiError
    try:
        here = ray_context.get_local_world_size()
        batches = partial(stream_batches, config=config.data, on_node=here)
        ended = train_worker(config, context, batches, announce)
    except (ConfigError, Diverged, LeaseLost) as error:
        ended = error
    # Ray ends the process group next. What is left of DDP must be gone by then: freed later,
    # it waits for a thread of gloo's that waits for the interpreter.
    gc.collect()
    return ended

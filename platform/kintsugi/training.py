"""TorchTrainer around the loop: workers, failures and checkpoints of a run on a cluster."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ray
import ray.train
import torch
from ray.train import Checkpoint, FailureConfig, LoggingConfig, RunConfig, ScalingConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from kintsugi.checkpoints import checkpoint_name
from kintsugi.config import JobConfig, parse_config
from kintsugi.dataset import TASK_CPUS, stream_batches
from kintsugi.errors import ConfigError, KintsugiError
from kintsugi.manifest import MANIFEST_NAME, read_manifest
from kintsugi.order import Position, SampleOrder
from kintsugi.photos import open_photos
from kintsugi.rank import train_rank
from kintsugi.reading import ShardReader
from kintsugi.runs import Run, open_run
from kintsugi.samples import Batch
from kintsugi.sections import DataSection
from kintsugi.shards import write_shards
from kintsugi.storage import Storage
from kintsugi.tracking import Metrics, read_metrics

# Ray's own record of checkpoints. Our manifests say what can be resumed, so a record of
# an earlier submission is only a way to fail: one cut short blocks every later start.
RAY_SNAPSHOT = "checkpoint_manager_snapshot.json"


@dataclass(frozen=True)
class Trained:
    """What a submission did.

    Attributes:
        run: URI of the run's folder.
        first_step: Where it started or resumed.
        last_step: Where it ended.
        metrics: All rows of the run, from its very first step.
    """

    run: str
    first_step: int
    last_step: int
    metrics: list[dict[str, Any]]


def fit(config: JobConfig) -> Trained:
    """Train the run on the connected Ray cluster until it is finished.

    A run that exists resumes from its newest whole checkpoint; one that is finished is
    returned as it is.

    Raises:
        ConfigError: it cannot run here: too few resources, another configuration.
        StorageError: shards, encoder or stage 1 are missing or altered.
        KintsugiError: it failed more often than ``workers.max_failures``; names the cause.
    """
    check_resources(config, ray.cluster_resources())
    ensure_shards(config.data)
    run = open_run(config)
    first = run.checkpoints.newest_whole()
    if first < config.loop.max_steps:
        run.checkpoints.prune(config.loop.keep_checkpoints, first)
        _train(config, run)
    metrics = read_metrics(run.storage.join("metrics"))
    return Trained(run.storage.uri, first, max(first, config.loop.max_steps), metrics)


def ensure_shards(config: DataSection) -> None:
    """Pack ``photos`` into ``shards`` when that holds no shards yet and photographs are named.

    Raises: StorageError when there are neither.
    """
    target = Storage(config.shards)
    if target.exists(MANIFEST_NAME) or not config.photos:
        read_manifest(target)
    else:
        with open_photos(config.photos) as photos:
            write_shards(photos, config.shards)


def check_resources(config: JobConfig, available: dict[str, float]) -> None:
    """Refuse what would hang. Raises: ConfigError with the arithmetic."""
    workers = config.workers
    cpus = available.get("CPU", 0.0)
    # Every worker reads through a pipeline of its own. One that finds no CPU gets no data,
    # and the others wait for its part of the step: all of them must fit at once.
    reading = config.data.tasks * TASK_CPUS
    needed = workers.count * (workers.cpus + reading)
    if needed > cpus:
        raise ConfigError(
            f"workers.count={workers.count} x (workers.cpus={workers.cpus:g} + data.tasks="
            f"{config.data.tasks} x {TASK_CPUS:g} for reading) = {needed:g} logical CPUs, but the"
            f" cluster has {cpus:g}: lower one of the three, or start the nodes with a larger"
            " --num-cpus (logical CPUs are free)"
        )
    if workers.use_gpu and available.get("GPU", 0.0) < workers.count:
        raise ConfigError(
            f"workers.use_gpu with workers.count={workers.count} needs as many GPUs, but the"
            f" cluster has {available.get('GPU', 0.0):g}: lower workers.count or set"
            " workers.use_gpu=false"
        )


def _train(config: JobConfig, run: Run) -> None:
    if run.checkpoints.storage.exists(RAY_SNAPSHOT):
        run.checkpoints.storage.delete(RAY_SNAPSHOT)
    filesystem, path = run.storage.arrow_filesystem()
    workers = config.workers
    trainer = TorchTrainer(
        train_worker,
        train_loop_config={"config": config.to_dict()},
        scaling_config=ScalingConfig(
            num_workers=workers.count,
            use_gpu=workers.use_gpu,
            resources_per_worker={"CPU": workers.cpus} | ({"GPU": 1} if workers.use_gpu else {}),
        ),
        torch_config=TorchConfig(backend="nccl" if workers.use_gpu else "gloo"),
        run_config=RunConfig(
            name="checkpoints",
            storage_path=path,
            storage_filesystem=filesystem,
            logging_config=LoggingConfig(log_level="WARNING"),
            failure_config=FailureConfig(max_failures=workers.max_failures),
            checkpoint_config=ray.train.CheckpointConfig(num_to_keep=config.loop.keep_checkpoints),
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        raise _root_cause(error) from error


def _root_cause(error: BaseException) -> BaseException:
    """The error of our own behind Ray's, so that the user reads one line about the cause."""
    failures = getattr(error, "worker_failures", {}) or {}
    for failure in failures.values():
        seen: BaseException | None = failure
        while seen is not None:
            if isinstance(seen, KintsugiError):
                return seen
            seen = seen.__cause__ or getattr(seen, "cause", None) or seen.__context__
    return error


def train_worker(settings: dict[str, Any]) -> int:
    """What runs on every train worker."""
    config = parse_config(settings["config"], "the submitted configuration")
    context = ray.train.get_context()
    device = get_device() if config.workers.use_gpu else torch.device("cpu")
    run = Run.of(config)

    def publish(row: Metrics, folder: Path | None, step: int) -> None:
        def upload(local: Checkpoint, name: str) -> Checkpoint:
            storage = ray.train.get_context().get_storage()
            run.checkpoints.publish(Path(local.path), step)
            return Checkpoint(
                f"{storage.experiment_fs_path}/{name}", filesystem=storage.storage_filesystem
            )

        ray.train.report(
            dict(row),
            checkpoint=Checkpoint.from_directory(folder) if folder is not None else None,
            checkpoint_dir_name=checkpoint_name(step),
            checkpoint_upload_fn=upload,
        )

    def batches(
        reader: ShardReader, order: SampleOrder, start: Position, rank: int, steps: int
    ) -> Iterator[Batch]:
        return stream_batches(reader, order, config.data, start, rank, steps)

    return train_rank(config, context.get_world_rank(), device, batches, publish)

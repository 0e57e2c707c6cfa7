"""The platform's side: the same steps under TorchTrainer, and whole runs through `fit`."""

import secrets
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from math import gcd
from pathlib import Path
from typing import Any

import ray
import ray.train
from ray.train import LoggingConfig, RunConfig
from ray.train.torch import TorchConfig, TorchTrainer, get_device

from kintsugi.benchmarks.train.timing import (
    WARM_UP_STEPS,
    Clock,
    Stretch,
    Timing,
    give_back,
    mean_step_seconds,
)
from kintsugi.config.sections import DataSection, WorkersSection
from kintsugi.data.batches import BatchRequest, PackedBatch
from kintsugi.errors import ConfigError
from kintsugi.runs.warm_start import as_opened, open_run
from kintsugi.train.cluster.ray_errors import describe_failure
from kintsugi.train.cluster.resources import check_resources
from kintsugi.train.loop import WorkerContext
from kintsugi.train.ray_trainer import ensure_shards, fit, scaling_of
from kintsugi.train.worker import train_worker


def prepare(data: DataSection, workers: Sequence[WorkersSection]) -> None:
    """Refuse what cannot be compared or would hang, and pack the shards that are not there yet.

    Args:
        data: What is read.
        workers: Each that will be started, one after the other.

    Raises: ConfigError, StorageError.
    """
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    if len(nodes) != 1:
        raise ConfigError(
            f"the cluster has {len(nodes)} nodes: both loops must run on one machine; unset"
            " RAY_ADDRESS to start Ray here"
        )
    for each in workers:
        check_resources(each, data, nodes)
    ensure_shards(data)


def time_in_memory(stretches: Sequence[Stretch]) -> list[Timing]:
    """Time the stretches one after the other in one TorchTrainer, with the platform's loop.

    Raises: KintsugiError naming the cause when a worker failed.
    """
    config = stretches[0].parsed()
    run = open_run(config)
    filesystem, path = run.storage.arrow_filesystem()
    trainer = TorchTrainer(
        _train_in_memory,
        train_loop_config={"stretches": [asdict(stretch) for stretch in stretches]},
        scaling_config=scaling_of(config),
        torch_config=TorchConfig(
            backend="nccl" if config.workers.use_gpu else "gloo", timeout_s=config.workers.timeout_s
        ),
        run_config=RunConfig(
            # Found again, it would be taken up where it ended.
            name=f"trainer-{secrets.token_hex(4)}",
            storage_path=path,
            storage_filesystem=filesystem,
            logging_config=LoggingConfig(log_level="WARNING"),
        ),
    )
    try:
        timings = trainer.fit().return_value
    except ray.train.TrainingFailedError as error:
        raise describe_failure(error, config.workers, run.checkpoints) from None
    return [Timing(**values) for values in timings]


def _train_in_memory(settings: dict[str, Any]) -> list[dict[str, Any]]:
    """What every worker runs."""
    ray_context = ray.train.get_context()
    context = WorkerContext(
        device=get_device(),
        rank=ray_context.get_world_rank(),
        workers=ray_context.get_world_size(),
    )
    timings = []
    for values in settings["stretches"]:
        stretch = Stretch(**values)
        timings.append(asdict(_time_stretch(stretch, context)))
    return timings


def _time_stretch(stretch: Stretch, context: WorkerContext) -> Timing:
    clock = Clock(context.device, stretch.steps)
    made = stretch.memory_batches(context.rank)

    def batches(_: BatchRequest) -> Iterator[PackedBatch]:
        return clock.watch(made)

    def publish(folder: Path, step: int) -> None:
        """Only the checkpoint after the last step comes here, when the time is taken."""

    config = as_opened(stretch.parsed())
    train_worker(config, context, batches, lambda row, folder, step: None, publish=publish)
    give_back(context.device)
    return clock.timing()


def time_run(stretch: Stretch) -> Timing:
    """Time steps of a whole run by its own rows of metrics: streamed data, checkpoints and all.

    Args: ``stretch``: of a run that does not exist yet.
    """
    config, steps = stretch.parsed(), stretch.steps
    # A row at both ends of what counts; the loop logs more often for it than it would.
    loop = replace(config.loop, log_every=gcd(WARM_UP_STEPS, steps))
    rows = fit(replace(config, loop=loop)).metrics
    return Timing(mean_step_seconds(rows, WARM_UP_STEPS, WARM_UP_STEPS + steps))

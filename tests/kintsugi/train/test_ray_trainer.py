"""Training on Ray: the losses of a run without it, DDP over two workers, and what is refused."""

import dataclasses
import gc
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import BatchRequest, PackedBatch, local_batches
from kintsugi.errors import ConfigError, Diverged, StorageError
from kintsugi.jobs._bootstrap import _SETTINGS
from kintsugi.runs.checkpoints import CheckpointStore
from kintsugi.runs.lease import OWNER_NAME, LeaseLost, Owner, hold_lease
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.runs.warm_start import as_opened, open_run
from kintsugi.storage.storage import Storage
from kintsugi.train.cluster.resources import worker_resources
from kintsugi.train.loop import WorkerContext
from kintsugi.train.worker import train_worker
from tests.faults.training_jobs import kill, processes
from tests.kintsugi.ranks import run_ranks
from tests.kintsugi.training_runs import debug_config, losses, pack_photos
from tests.local_ray import NUM_CPUS


def test_missing_shards_are_refused_with_the_command(tmp_path: Path) -> None:
    from kintsugi.train.ray_trainer import ensure_shards

    with pytest.raises(StorageError, match=r"pack them first: kintsugi shards"):
        ensure_shards(debug_config(tmp_path).data)


def train_rank(rank: int, config: JobConfig, owner: Owner) -> None:
    """One of two ranks without Ray."""

    def batches(request: BatchRequest) -> Iterator[PackedBatch]:
        reader, order = request.reader, request.order
        data = config.data
        return local_batches(reader, order, data, request.start, request.rank, request.corrupt)

    context = WorkerContext(torch.device("cpu"), rank, 2, owner=owner)
    train_worker(config, context, batches, lambda row, folder, step: None)


@pytest.mark.ray
def test_two_workers_survive_the_death_of_one_to_the_bit(local_ray: Any, tmp_path: Path) -> None:
    from kintsugi.train.ray_trainer import fit

    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=20, checkpoint_every=4)
    # They take all CPUs there are, as on a small cluster; their data comes all the same. Actors
    # behind the error of a test before hold one until that is collected.
    gc.collect()
    workers = dataclasses.replace(config.workers, count=2, cpus=3.5)
    config = dataclasses.replace(config, workers=workers)
    assert 2 * worker_resources(config.workers, config.data)["CPU"] == NUM_CPUS
    with hold_lease(Run.of(config)) as owner:
        whole = open_run(config)
        run_ranks(2, train_rank, as_opened(config), owner)
    harmed = dataclasses.replace(config, run="harmed")
    checkpoints = CheckpointStore(Storage(tmp_path / "runs" / "harmed" / "checkpoints"))
    killed: list[int] = []
    over = threading.Event()
    harm = threading.Thread(target=kill_a_worker_after, args=(checkpoints, 4, killed, over))
    harm.start()
    try:
        trained = fit(harmed)
    finally:
        over.set()
        harm.join()
    assert len(killed) == 1
    assert (trained.first_step, trained.last_step) == (0, 20)
    assert not trained.stopped
    expected = losses(read_metrics(whole.storage.join("metrics")))
    assert len(expected) == 20
    assert losses(trained.metrics) == expected
    assert len(checkpoints.steps()) == config.loop.keep_checkpoints
    again = fit(harmed)
    assert (again.first_step, again.last_step) == (20, 20)


@pytest.mark.ray
def test_what_would_fail_again_is_not_tried_again(local_ray: object, tmp_path: Path) -> None:
    from kintsugi.train.ray_trainer import fit

    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=100)
    too_fast = dataclasses.replace(config.optimizer, generator_lr=1e30)
    assert config.workers.max_failures > 0
    with pytest.raises(Diverged, match=r"at step \d+: the run diverged; start another"):
        fit(dataclasses.replace(config, run="too-fast", optimizer=too_fast))


@pytest.mark.ray
def test_a_run_has_one_submission_and_the_one_that_lost_it_ends(
    local_ray: object, tmp_path: Path
) -> None:
    from kintsugi.train.ray_trainer import fit

    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=400, checkpoint_every=1, log_every=5)
    run = Run.of(config)
    other = Owner(token="other", host="there", pid=1, place="", since="noon")
    with ThreadPoolExecutor(1) as pool:
        first = pool.submit(fit, config)
        wait_for(run.checkpoints, 1, first.done)
        with pytest.raises(ConfigError, match="is being trained by another submission"):
            fit(config)
        # As if that one had given no sign of life for long.
        run.storage.write(OWNER_NAME, json.dumps(dataclasses.asdict(other)).encode())
        with pytest.raises(LeaseLost, match="process 1 on there"):
            first.result()
    assert run.checkpoints.newest_whole() < 400


def wait_for(checkpoints: CheckpointStore, step: int, is_over: Callable[[], bool]) -> None:
    """For the run's progress, however slow the machine is: a run that is over makes none."""
    while step not in checkpoints.steps():
        assert not is_over(), f"the run ended without a checkpoint {step}"
        time.sleep(0.05)


def kill_a_worker_after(
    checkpoints: CheckpointStore, step: int, killed: list[int], over: threading.Event
) -> None:
    import ray._private.worker

    (raylet,) = ray._private.worker._global_node.all_processes["raylet"]
    wait_for(checkpoints, step, over.is_set)
    victim = processes("RayTrainWorker", raylet.process.pid)[-1]
    kill(victim)
    killed.append(victim)


def test_how_long_is_waited_for_nodes() -> None:
    from kintsugi.train.ray_trainer import START_TIMEOUT_S

    # CPUs for Ray's workers; the driver counts with it.
    assert float(_SETTINGS["RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S"]) == START_TIMEOUT_S


def test_scaling_is_what_the_configuration_says(tmp_path: Path) -> None:
    from kintsugi.train.ray_trainer import scaling_of

    config = debug_config(tmp_path)
    fixed = scaling_of(config)
    assert (fixed.num_workers, fixed.use_gpu, fixed.resources_per_worker) == (1, False, {"CPU": 1})
    workers = dataclasses.replace(
        config.workers,
        count=4,
        min_count=2,
        use_gpu=True,
        accelerator_type="A100",
        placement="SPREAD",
        resources={"memory": 1e9},
    )
    elastic = scaling_of(dataclasses.replace(config, workers=workers))
    assert elastic.num_workers == (2, 4)
    assert elastic.placement_strategy == "SPREAD"
    needs = elastic.total_resources
    assert (needs["CPU"], needs["GPU"], needs["memory"]) == (4, 4, 4e9)
    assert "accelerator_type:A100" in needs


def test_the_table_of_rays_names_has_names_of_ray_and_keys_of_here(tmp_path: Path) -> None:
    import ray.train
    import ray.train.torch

    from kintsugi.config.descriptions import describe_keys
    from kintsugi.config.run_config import JobConfig

    page = (Path(__file__).parents[3] / "docs" / "reference" / "ray.md").read_text()
    rows = re.findall(r"^\| `(\w+Config)\.(\w+)` \| (.*) \|$", page, re.MULTILINE)
    assert len(rows) == 16
    keys = describe_keys(JobConfig)
    described = " ".join(keys.values())
    for kind, parameter, here in rows:
        owner = ray.train.torch if kind == "TorchConfig" else ray.train
        fields = {field.name for field in dataclasses.fields(getattr(owner, kind))}
        assert parameter in fields, (kind, parameter)
        for key in re.findall(r"`(\w+\.\w+)`", here):
            assert key in keys, key
            if key.startswith("workers."):
                assert f"{kind}.{parameter}" in described, f"{key} does not name it"

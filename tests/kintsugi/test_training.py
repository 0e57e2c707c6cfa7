"""Training on Ray: the losses of a run without it, DDP over two workers, and what is refused."""

import dataclasses
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError, StorageError
from kintsugi.rank import train_locally
from kintsugi.storage import Storage
from kintsugi.tracking import read_metrics
from tests.kintsugi.training_runs import NUM_STEPS, debug_config, losses, pack_photos


@pytest.mark.parametrize("cpus", [5.5, 0.0])
def test_what_would_hang_is_refused_with_the_arithmetic(tmp_path: Path, cpus: float) -> None:
    from kintsugi.training import check_resources

    config = debug_config(tmp_path)
    config = dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, tasks=2),
        workers=dataclasses.replace(config.workers, count=4),
    )
    message = (
        r"workers\.count=4 x \(workers\.cpus=0\.5 \+ data\.tasks=2 x 0\.5 for reading\) = 6"
        rf" logical CPUs, but the cluster has {cpus:g}"
    )
    with pytest.raises(ConfigError, match=message):
        check_resources(config, {"CPU": cpus})
    check_resources(config, {"CPU": 6.0})


def test_missing_gpus_are_refused(tmp_path: Path) -> None:
    from kintsugi.training import check_resources

    config = debug_config(tmp_path)
    config = dataclasses.replace(config, workers=dataclasses.replace(config.workers, use_gpu=True))
    with pytest.raises(ConfigError, match=r"as many GPUs, but the cluster has 0"):
        check_resources(config, {"CPU": 8.0})


def test_missing_shards_are_refused_with_the_command(tmp_path: Path) -> None:
    from kintsugi.training import ensure_shards

    with pytest.raises(StorageError, match=r"pack them first: jobs/write_shards\.py"):
        ensure_shards(debug_config(tmp_path).data)


@pytest.mark.ray
def test_one_worker_over_s3_computes_what_the_loop_does_without_ray(
    local_ray: object, tmp_path: Path, s3_uri: str
) -> None:
    from kintsugi.training import fit

    pack_photos(tmp_path)
    config = debug_config(tmp_path)
    here = train_locally(config)
    data = dataclasses.replace(config.data, shards=f"{s3_uri}/shards")
    for name in Storage(tmp_path / "shards").list():
        Storage(data.shards).write(name, Storage(tmp_path / "shards").read(name))
    trained = fit(dataclasses.replace(config, data=data, storage=f"{s3_uri}/runs"))
    assert (trained.first_step, trained.last_step) == (0, NUM_STEPS)
    assert losses(trained.metrics) == losses(read_metrics(here.storage.join("metrics")))
    files = Storage(f"{s3_uri}/runs/debug-stage1/checkpoints").list()
    assert f"step-{NUM_STEPS:08d}/manifest.json" in files


@pytest.mark.ray
def test_two_workers_resume_to_the_bit(local_ray: object, tmp_path: Path) -> None:
    from kintsugi.training import fit

    pack_photos(tmp_path)
    config = debug_config(tmp_path, "stage1", sample_every=0)
    config = dataclasses.replace(config, workers=dataclasses.replace(config.workers, count=2))
    whole = fit(config)
    pieces = dataclasses.replace(config, run="in-pieces")
    one_step = dataclasses.replace(config.loop, max_steps=1)
    fit(dataclasses.replace(pieces, loop=one_step))
    resumed = fit(pieces)
    assert (resumed.first_step, resumed.last_step) == (1, NUM_STEPS)
    assert len(losses(whole.metrics)) == NUM_STEPS
    assert losses(resumed.metrics) == losses(whole.metrics)
    again = fit(pieces)
    assert (again.first_step, again.last_step) == (NUM_STEPS, NUM_STEPS)

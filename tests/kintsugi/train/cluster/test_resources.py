"""What would hang is refused with the arithmetic; starts no Ray."""

import dataclasses
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from kintsugi.config.run_config import JobConfig
from kintsugi.errors import ConfigError
from kintsugi.train.cluster.resources import (
    check_resources,
    check_trial_resources,
    worker_resources,
)
from tests.kintsugi.training_runs import debug_config


def with_workers(folder: Path, *, tasks: int = 2, anywhere: bool = False, **keys: Any) -> JobConfig:
    config = debug_config(folder)
    return dataclasses.replace(
        config,
        data=dataclasses.replace(config.data, tasks=tasks, tasks_anywhere=anywhere),
        workers=dataclasses.replace(config.workers, **keys),
    )


@pytest.mark.parametrize("cpus", [5.5, 0.0])
@pytest.mark.parametrize("anywhere", [False, True])
def test_too_few_cpus(tmp_path: Path, cpus: float, anywhere: bool) -> None:
    config = with_workers(tmp_path, count=4, anywhere=anywhere)
    message = (
        r"workers\.count=4 x \(workers\.cpus=0\.5 \+ data\.tasks=2 x data\.task_cpus=0\.5 for"
        r" reading\) = 6"
        rf" logical CPUs, but the cluster has {cpus:g}"
    )
    with pytest.raises(ConfigError, match=message):
        check(config, [{"CPU": cpus}])
    check(config, [{"CPU": 6.0}])


def check(config: JobConfig, nodes: Sequence[Mapping[str, float]]) -> None:
    check_resources(config.workers, config.data, nodes)


def resources(config: JobConfig) -> dict[str, float]:
    return worker_resources(config.workers, config.data)


def test_missing_gpus(tmp_path: Path) -> None:
    config = with_workers(tmp_path, use_gpu=True)
    with pytest.raises(ConfigError, match=r"as many GPUs, but the cluster has 0"):
        check(config, [{"CPU": 8.0}])


def test_enough_in_all_but_not_on_single_nodes(tmp_path: Path) -> None:
    # A worker takes 1.5 CPUs: there are 6, and each node has room for one.
    config = with_workers(tmp_path, count=4)
    nodes = [{"CPU": 2.0}] * 3
    with pytest.raises(ConfigError, match=r"of 1\.5 CPU each.* 3 nodes have room for 3"):
        check(config, nodes)
    check(with_workers(tmp_path, count=3), nodes)
    # Readers that need not be with their workers fill the gaps.
    check(with_workers(tmp_path, count=4, anywhere=True), nodes)


@pytest.mark.parametrize(
    ("placement", "cpus", "found"),
    [("STRICT_PACK", (1.5, 1.5), 1), ("STRICT_SPREAD", (9.0,), 1), ("SPREAD", (9.0,), 2)],
)
def test_placement_counts(
    tmp_path: Path, placement: str, cpus: tuple[float, ...], found: int
) -> None:
    config = with_workers(tmp_path, count=2, placement=placement)
    nodes = [{"CPU": amount} for amount in cpus]
    if found < 2:
        with pytest.raises(ConfigError, match=f"placed {placement}.* room for {found}"):
            check(config, nodes)
    else:
        check(config, nodes)


def test_what_else_a_worker_needs_counts(tmp_path: Path) -> None:
    config = with_workers(
        tmp_path, use_gpu=True, accelerator_type="A100", resources={"memory": 8e9}
    )
    node = {"CPU": 8.0, "GPU": 1.0, "memory": 16e9}
    with pytest.raises(ConfigError, match=r"1\.5 CPU, 1 GPU, 8e\+09 memory each on an A100"):
        check(config, [node | {"accelerator_type:T4": 1.0}])
    check(config, [node | {"accelerator_type:A100": 1.0}])
    with pytest.raises(ConfigError, match="room for 0"):
        check_resources(
            config.workers, config.data, [node | {"accelerator_type:A100": 1.0, "memory": 4e9}]
        )


def test_an_elastic_run_needs_its_fewest_workers(tmp_path: Path) -> None:
    config = with_workers(tmp_path, count=4, min_count=2)
    check(config, [{"CPU": 3.0}])
    with pytest.raises(ConfigError, match=r"workers\.min_count=2 x"):
        check(config, [{"CPU": 2.5}])
    config = with_workers(tmp_path, count=4, min_count=2, anywhere=True)
    with pytest.raises(ConfigError, match=r"set data\.tasks_anywhere=false"):
        check(config, [{"CPU": 8.0}])


def test_a_cluster_that_grows_is_waited_for(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    config = with_workers(tmp_path, count=4, autoscaling=True, wait_s=60)
    with caplog.at_level(logging.WARNING):
        check(config, [{"CPU": 2.0}])
    assert "= 6 logical CPUs, but the cluster has 2" in caplog.text
    assert "waiting up to 60 s" in caplog.text


def test_reading_is_set_aside_with_its_worker(tmp_path: Path) -> None:
    assert resources(with_workers(tmp_path)) == {"CPU": 1.5}
    assert resources(with_workers(tmp_path, anywhere=True)) == {"CPU": 0.5}
    config = with_workers(tmp_path, use_gpu=True, resources={"pool": 1.0})
    assert resources(config) == {"CPU": 1.5, "GPU": 1.0, "pool": 1.0}


def test_a_trial_that_no_node_has_room_for_is_refused(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    small = [{"CPU": 2.0}, {"CPU": 1.0}]
    # What would read next to a worker reads in the trial itself.
    many = with_workers(tmp_path, cpus=2.0, tasks=8).workers
    check_trial_resources(many, small)
    many = dataclasses.replace(many, cpus=4.0)
    message = (
        r"workers\.cpus=4 logical CPUs, but the largest of the cluster's 2 nodes has 2 CPUs and 0"
        r" GPUs: lower workers\.cpus, or start"
    )
    with pytest.raises(ConfigError, match=message):
        check_trial_resources(many, small)
    with caplog.at_level(logging.WARNING):
        check_trial_resources(dataclasses.replace(many, autoscaling=True), small)
    assert "a trial takes workers.cpus=4" in caplog.text
    on_gpu = with_workers(tmp_path, cpus=4.0, use_gpu=True).workers
    message = (
        r"workers\.cpus=4 logical CPUs and one GPU \(workers\.use_gpu=true\), but the largest of"
        r" the cluster's 2 nodes has 2 CPUs and 1 GPUs.* set workers\.use_gpu=false"
    )
    with pytest.raises(ConfigError, match=message):
        check_trial_resources(on_gpu, [{"CPU": 2.0, "GPU": 1.0}, {"CPU": 9.0}])
    check_trial_resources(on_gpu, [{"CPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}])

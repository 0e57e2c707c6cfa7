"""The RayJob against the configuration its entrypoint names; starts no Ray."""

import shlex
from pathlib import Path

import pytest

from jobs._bootstrap import job_parser
from kintsugi.config import JobConfig, load_config
from kintsugi.errors import ConfigError
from kintsugi.training import check_resources
from tests.k8s.manifests import ROOT, Manifest, capacity, cluster_of, rayjob

# Where the image has the repository (deploy/Dockerfile).
APP = Path("/app")


def in_repository(path: str) -> Path:
    return ROOT / Path(path).relative_to(APP)


def entrypoint() -> tuple[Path, JobConfig]:
    """The file that runs and the configuration it runs with."""
    interpreter, script, *flags = shlex.split(rayjob()["spec"]["entrypoint"])
    assert interpreter == "python"
    arguments = job_parser("", [], config="").parse_args(flags)
    config = in_repository(str(arguments.config))
    return in_repository(script), load_config(config, arguments.overrides)


def gpu_group() -> Manifest:
    (group,) = cluster_of(rayjob())["workerGroupSpecs"]
    found: Manifest = group
    return found


def test_runs_the_job_of_its_configuration() -> None:
    script, config = entrypoint()
    assert script.is_file()
    assert script.stem == f"train_{config.stage}"


def test_runs_and_shards_outlive_the_cluster() -> None:
    _, config = entrypoint()
    for uri in (config.storage, config.data.shards):
        assert uri.startswith("s3://"), uri


def test_each_pod_is_one_train_worker() -> None:
    _, config = entrypoint()
    group, pod = gpu_group(), capacity(gpu_group(), replicas=1)
    assert config.workers.use_gpu
    assert pod["GPU"] == 1
    assert pod["CPU"] >= config.workers.cpus
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] == config.workers.count


def test_pods_are_what_the_job_asks_for() -> None:
    """The check that the job itself makes at its start, with the pods that are there by then."""
    _, config = entrypoint()
    group = gpu_group()
    check_resources(config, capacity(group, replicas=group["replicas"]))
    with pytest.raises(ConfigError, match=r"workers\.count"):
        check_resources(config, capacity(group, replicas=group["replicas"] - 1))

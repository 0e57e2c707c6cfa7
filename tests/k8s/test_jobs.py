"""The RayJobs against the configurations and flags that their entrypoints name; starts no Ray."""

import functools
import itertools
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi.config.run_config import JobConfig, load_config
from kintsugi.jobs._command import find_config
from kintsugi.train.cluster.resources import check_resources, worker_resources
from tests.k8s.manifests import (
    ENVIRONMENTS,
    Manifest,
    capacity,
    cluster_of,
    environment,
    groups_of,
    named,
    of_kind,
)
from tests.k8s.ray_autoscaler import pods_to_start
from tests.k8s.test_pods import quantity

KINTSUGI = str(Path(sys.executable).parent / "kintsugi")
STAGES = ("initial_fill", "stage1", "stage2")
PIPELINE = "kintsugi-pipeline"
JOBS = (PIPELINE, "kintsugi-fill")

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)
each_stage = pytest.mark.parametrize("stage", STAGES)


def ray_job(environment_name: str, job: str = PIPELINE) -> Manifest:
    return named(environment(environment_name), "RayJob", job)


def words(environment_name: str, job: str) -> list[str]:
    """The words of the command of `kintsugi` that a job runs."""
    program, *found = shlex.split(ray_job(environment_name, job)["spec"]["entrypoint"])
    assert program == "kintsugi"
    return found


@functools.cache
def planned(environment_name: str) -> dict[str, list[str]]:
    """The commands of the pipeline by step, as it prints them itself."""
    command = [KINTSUGI, *words(environment_name, PIPELINE), "--dry-run"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    steps = (line.split(": ", 1) for line in done.stdout.splitlines())
    return {name: shlex.split(text) for name, text in steps}


def training(environment_name: str, stage: str) -> JobConfig:
    """The configuration with which the pipeline trains a stage."""
    said = list(itertools.pairwise(planned(environment_name)[stage]))
    flags = dict(said)
    # The port that the head declares and the PodMonitor names.
    head = cluster_of(ray_job(environment_name))["headGroupSpec"]["template"]["spec"]
    ports = {port["name"]: port["containerPort"] for port in head["containers"][0]["ports"]}
    assert flags["--metrics-port"] == str(ports["job-metrics"])
    assert flags["--metrics-host"] == "0.0.0.0"
    overrides = [value for flag, value in said if flag == "--set"]
    return load_config(find_config(flags["--config"]), overrides)


def known_flags(command: list[str]) -> str:
    done = subprocess.run([*command, "--help"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@each_environment
@pytest.mark.parametrize("job", JOBS)
def test_flags_are_known(name: str, job: str) -> None:
    """Every flag of an entrypoint is one that the command's own --help names."""
    command, *flags = words(name, job)
    known = known_flags([KINTSUGI, command])
    for flag in flags:
        if flag.startswith("-"):
            assert f"{flag} " in known, flag


@each_environment
def test_every_job_of_the_pipeline_knows_its_flags(name: str) -> None:
    for step, (python, script, *flags) in planned(name).items():
        known = known_flags([python, script])
        for flag in flags:
            if flag.startswith("--"):
                assert f"{flag} " in known, (step, flag)


def test_production_runs_the_recommended_pipeline_whole() -> None:
    steps = planned("production")
    assert list(steps) == [
        *("shards", "encoder", "initial_fill", "stage1", "stage2"),
        *("candidate", "evaluation"),
    ]
    for stage in STAGES:
        assert f"recommended-{stage.replace('_', '-')}" in steps[stage]
    assert steps["evaluation"][steps["evaluation"].index("--methods") + 1] == "ours,telea"
    flags = words("production", PIPELINE)
    assert flags[flags.index("--output") + 1] == "s3://example-kintsugi-releases/recommended"


@each_environment
def test_what_is_made_outlives_the_cluster(name: str) -> None:
    """In buckets, or on the volume that every pod has."""
    for stage in STAGES:
        config = training(name, stage)
        for uri in (config.storage, config.data.shards):
            assert uri.startswith("s3://" if name == "production" else "/data/"), uri


@each_environment
@each_stage
def test_pods_are_what_the_job_asks_for(name: str, stage: str) -> None:
    """The check that the job itself makes at its start, with all pods there may be."""
    config = training(name, stage)
    groups = groups_of(ray_job(name)).values()
    pods = [capacity(group) for group in groups for _ in range(group["maxReplicas"])]
    check_resources(config.workers, config.data, pods)
    # Pods come with the work: fewer are no error, but waited for.
    assert config.workers.autoscaling


@each_stage
def test_each_gpu_pod_in_production_is_one_worker(stage: str) -> None:
    config = training("production", stage)
    groups = groups_of(ray_job("production"))
    assert config.workers.use_gpu
    assert capacity(groups["gpu"])["GPU"] == 1
    assert groups["gpu"]["maxReplicas"] == config.workers.count > 1
    # It goes on while a pod is replaced.
    assert 0 < config.workers.min_count < config.workers.count
    job = ray_job("production")
    workers = [worker_resources(config.workers, config.data)] * config.workers.count
    assert pods_to_start(job, workers) == {"gpu": config.workers.count}
    # One worker more has no room, however idle the CPUs are.
    assert pods_to_start(job, [*workers, workers[0]]) is None


@each_environment
def test_reading_and_packing_bring_no_gpu(name: str) -> None:
    job = ray_job(name)
    started = pods_to_start(job, [{"CPU": 1.0}] * 4)
    assert started is not None
    assert set(started) <= {"cpu"}


@each_environment
@pytest.mark.parametrize("job", JOBS)
def test_nothing_waits_or_runs_for_ever_and_what_idles_goes(name: str, job: str) -> None:
    spec = ray_job(name, job)["spec"]
    assert spec["backoffLimit"] >= 1
    assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
    assert spec["shutdownAfterJobFinishes"] is True
    cluster = cluster_of(ray_job(name, job))
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for group in cluster["workerGroupSpecs"]:
        # Unset it is 2147483647; and a job starts when `replicas` pods are ready.
        assert group["minReplicas"] == group["replicas"] <= group["maxReplicas"] <= 8
        gpus = "gpu" in group["groupName"]
        assert group["idleTimeoutSeconds"] <= (600 if gpus else 60)
        if gpus:
            assert group["minReplicas"] == 0


def test_the_queue_has_room_for_every_job() -> None:
    documents = environment("production")
    (queue,) = of_kind(documents, "ClusterQueue")
    (local,) = of_kind(documents, "LocalQueue")
    (resources,) = (group["flavors"][0] for group in queue["spec"]["resourceGroups"])
    quota = {entry["name"]: quantity(entry["nominalQuota"]) for entry in resources["resources"]}
    assert queue["spec"]["preemption"] == {"withinClusterQueue": "LowerPriority"}
    for job in of_kind(documents, "RayJob"):
        labels = job["metadata"]["labels"]
        assert labels["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
        # Kueue takes a cluster that scales only so.
        assert job["metadata"]["annotations"]["kueue.x-k8s.io/elastic-job"] == "true"
        for resource, most in quota.items():
            assert most_of(job, resource) <= most, (job["metadata"]["name"], resource)


def most_of(job: Manifest, resource: str) -> float:
    """What a job requests at most: head, submitter, autoscaler, all pods of all groups."""

    def of(pod: Manifest) -> float:
        return sum(
            quantity(container["resources"]["requests"].get(resource, 0))
            for container in pod["spec"]["containers"]
        )

    cluster = cluster_of(job)
    total: float = (
        of(cluster["headGroupSpec"]["template"])
        + of(job["spec"]["submitterPodTemplate"])
        + quantity(cluster["autoscalerOptions"]["resources"]["requests"].get(resource, 0))
        + sum(g["maxReplicas"] * of(g["template"]) for g in cluster["workerGroupSpecs"])
    )
    return total

"""The jobs against the configurations and flags that their entrypoints name; starts no Ray."""

import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from kintsugi.config.run_config import JobConfig, load_config
from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import job_parser
from kintsugi.train.resources import check_resources, worker_resources
from tests.k8s.manifests import (
    ENVIRONMENTS,
    ROOT,
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

# Where the image has the repository (deploy/Dockerfile).
APP = Path("/app")
STAGES = ("stage1", "stage2")
RAY_JOBS = ("write-shards", "train-stage1", "train-stage2", "evaluate")

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)
each_environment_and_base = pytest.mark.parametrize("name", [*ENVIRONMENTS, "base"])
each_stage = pytest.mark.parametrize("stage", STAGES)


def in_repository(path: str) -> Path:
    return ROOT / Path(path).relative_to(APP)


def ray_job(environment_name: str, job: str) -> Manifest:
    return named(environment(environment_name), "RayJob", job)


def command(environment_name: str, job: str) -> tuple[Path, list[str]]:
    """The file that runs, and its flags with the repository's paths."""
    interpreter, script, *flags = shlex.split(ray_job(environment_name, job)["spec"]["entrypoint"])
    assert interpreter == "python"
    here = [str(in_repository(flag)) if flag.startswith("/app/") else flag for flag in flags]
    return in_repository(script), here


def training(environment_name: str, stage: str) -> JobConfig:
    script, flags = command(environment_name, f"train-{stage}")
    assert script.name == f"train_{stage}.py"
    parser = job_parser("", [], config="")
    parser.add_argument("--metrics-port", type=int)
    parser.add_argument("--metrics-host")
    arguments = parser.parse_args(flags)
    # The port that the head declares and the PodMonitor names.
    container = cluster_of(ray_job(environment_name, f"train-{stage}"))["headGroupSpec"]
    (pod,) = container["template"]["spec"]["containers"]
    ports = {port["name"]: port["containerPort"] for port in pod["ports"]}
    assert arguments.metrics_port == ports["job-metrics"]
    assert arguments.metrics_host == "0.0.0.0"
    return load_config(Path(arguments.config), arguments.overrides)


@each_environment
def test_jobs_are_those_of_the_readme(name: str) -> None:
    found = {job["metadata"]["name"] for job in of_kind(environment(name), "RayJob", "Job")}
    assert found == {*RAY_JOBS, "publish"}


@each_environment_and_base
@pytest.mark.parametrize("job", RAY_JOBS)
def test_flags_are_known(name: str, job: str) -> None:
    """Every flag of an entrypoint is one that the job's own --help names."""
    script, flags = command(name, job)
    known = subprocess.run(
        [sys.executable, str(script), "--help"], capture_output=True, text=True, timeout=60
    ).stdout
    for flag in flags:
        if flag.startswith("--"):
            assert f"{flag} " in known, flag


@each_environment_and_base
def test_publish_flags_are_known(name: str) -> None:
    job = named(environment(name), "Job", "publish")
    (container,) = job["spec"]["template"]["spec"]["containers"]
    interpreter, script, *flags = container["args"]
    assert interpreter == "python"
    known = subprocess.run(
        [sys.executable, str(in_repository(script)), "--help"],
        capture_output=True,
        text=True,
        timeout=60,
    ).stdout
    for flag in flags:
        assert f"{flag.partition('=')[0]} " in known, flag


@each_environment
@each_stage
def test_runs_and_shards_outlive_the_cluster(name: str, stage: str) -> None:
    config = training(name, stage)
    for uri in (config.storage, config.data.shards):
        assert uri.startswith("s3://"), uri


@each_environment
def test_each_step_reads_what_the_step_before_wrote(name: str) -> None:
    stage1, stage2 = (training(name, stage) for stage in STAGES)
    assert stage1.data.shards == stage2.data.shards
    assert f"{stage1.storage}/{stage1.run}" == stage2.translate.stage1
    _, flags = command(name, "write-shards")
    output = flags[flags.index("--output") + 1] if "--output" in flags else ""
    assert output in (stage1.data.shards, "")
    (container,) = named(environment(name), "Job", "publish")["spec"]["template"]["spec"][
        "containers"
    ]
    args = dict(a[2:].split("=", 1) for a in container["args"] if a.startswith("--"))
    assert args.get("stage1", stage2.translate.stage1) == f"{stage1.storage}/{stage1.run}"
    assert args.get("stage2", f"{stage2.storage}/{stage2.run}") == f"{stage2.storage}/{stage2.run}"


@each_environment
@each_stage
def test_pods_are_what_the_job_asks_for(name: str, stage: str) -> None:
    """The check that the job itself makes at its start, with the pods that are there by then."""
    config = training(name, stage)
    (group,) = groups_of(ray_job(name, f"train-{stage}")).values()
    pods = [capacity(group)] * group["replicas"]
    check_resources(config, pods)
    least = config.workers.min_count or config.workers.count
    with pytest.raises(ConfigError, match=r"workers\."):
        check_resources(config, pods[: least - 1])


@each_stage
def test_each_pod_in_production_is_one_worker(stage: str) -> None:
    config = training("production", stage)
    group = groups_of(ray_job("production", f"train-{stage}"))["gpu"]
    assert config.workers.use_gpu
    assert capacity(group)["GPU"] == 1
    assert group["minReplicas"] == group["replicas"] == group["maxReplicas"] == config.workers.count
    assert config.workers.count > 1
    # It goes on while a pod is replaced.
    assert 0 < config.workers.min_count < config.workers.count


@each_environment
@each_stage
def test_ray_itself_finds_room_for_the_workers(name: str, stage: str) -> None:
    """Ray's KubeRay autoscaler, asked with the manifest: so many pods, and never more workers."""
    config = training(name, stage)
    job = ray_job(name, f"train-{stage}")
    ((group_name, group),) = groups_of(job).items()
    workers = [worker_resources(config)] * config.workers.count
    assert pods_to_start(job, workers) == {group_name: group["replicas"]}
    # One GPU each: one worker more has no room, however idle the CPUs are.
    if config.workers.use_gpu:
        assert pods_to_start(job, [*workers, workers[0]]) is None


@each_environment
@pytest.mark.parametrize("job", RAY_JOBS)
def test_nothing_waits_or_runs_for_ever(name: str, job: str) -> None:
    spec = ray_job(name, job)["spec"]
    assert spec["backoffLimit"] >= 1
    assert 0 < spec["preRunningDeadlineSeconds"] < spec["activeDeadlineSeconds"]
    assert spec["shutdownAfterJobFinishes"] is True
    for group in groups_of(ray_job(name, job)).values():
        # Unset it is 2147483647; and a job starts when `replicas` pods are ready.
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"] <= 8


@each_environment
def test_those_that_scale_end_what_idles(name: str) -> None:
    for job in ("write-shards", "evaluate"):
        cluster = cluster_of(ray_job(name, job))
        assert cluster["enableInTreeAutoscaling"] is True
        assert cluster["autoscalerOptions"]["version"] == "v2"
        assert all(group["idleTimeoutSeconds"] <= 60 for group in cluster["workerGroupSpecs"])


def test_the_queue_has_room_for_every_job() -> None:
    documents = environment("production")
    (queue,) = of_kind(documents, "ClusterQueue")
    (local,) = of_kind(documents, "LocalQueue")
    (resources,) = (group["flavors"][0] for group in queue["spec"]["resourceGroups"])
    quota = {entry["name"]: quantity(entry["nominalQuota"]) for entry in resources["resources"]}
    for job in of_kind(documents, "RayJob"):
        labels = job["metadata"]["labels"]
        assert labels["kueue.x-k8s.io/queue-name"] == local["metadata"]["name"]
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
    autoscaler = cluster.get("autoscalerOptions", {"resources": {"requests": {}}})
    total: float = (
        of(cluster["headGroupSpec"]["template"])
        + of(job["spec"]["submitterPodTemplate"])
        + quantity(autoscaler["resources"]["requests"].get(resource, 0))
        + sum(g["maxReplicas"] * of(g["template"]) for g in cluster["workerGroupSpecs"])
    )
    return total

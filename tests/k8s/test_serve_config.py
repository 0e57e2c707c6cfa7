"""serveConfigV2 of the RayService against deploy/serve.yaml and the RayService's own pods."""

from collections.abc import Iterator
from typing import Any

import yaml

from tests.k8s.manifests import ROOT, capacity, cluster_of, rayservice, read

_NODES = "applications.kintsugi.deployments"
# Path -> (laptop, Kubernetes). Nothing else may differ; a change to one file fails here until
# the other follows.
DIFFERENCES = {
    # Reached from other pods, behind whatever stands in front of the Service.
    "http_options.host": ("127.0.0.1", "0.0.0.0"),
    # The Service leads to the workers; the head is left out of it.
    "proxy_location": ("HeadOnly", "EveryNode"),
    "applications.kintsugi.args.release": ("demo/release", "s3://releases/paper"),
    # On the laptop CPUs are logical; in a pod with a CPU limit each thread has one.
    f"{_NODES}.Image2Feature.ray_actor_options.num_cpus": (0.5, 2),
    f"{_NODES}.PatchSwap.ray_actor_options.num_cpus": (0.5, 2),
    f"{_NODES}.Feature2Image.ray_actor_options.num_cpus": (0.5, 2),
}
# How long Serve's proxy drains at least (RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S).
PROXY_DRAINING_SECONDS = 30


def serve_config() -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(rayservice()["spec"]["serveConfigV2"])
    return config


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Path and value of every setting; members of lists go by their name."""
    if isinstance(value, list) and all(isinstance(item, dict) and "name" in item for item in value):
        # In their order, which counts.
        yield f"{path}.names", [item["name"] for item in value]
        value = {item["name"]: item for item in value}
    if isinstance(value, dict) and value:
        for name, inner in value.items():
            yield from leaves(inner, f"{path}.{name}")
    else:
        yield path.removeprefix("."), value


def test_says_the_same_as_the_laptop() -> None:
    laptop = dict(leaves(read(ROOT / "deploy" / "serve.yaml")))
    kubernetes = dict(leaves(serve_config()))
    differing = {
        path: (laptop.get(path), kubernetes.get(path))
        for path in laptop.keys() | kubernetes.keys()
        if laptop.get(path) != kubernetes.get(path)
    }
    assert differing == DIFFERENCES


def test_each_thread_has_a_cpu() -> None:
    (application,) = serve_config()["applications"]
    for node in application["deployments"]:
        if node["name"] in ("Image2Feature", "PatchSwap", "Feature2Image"):
            assert node["ray_actor_options"]["num_cpus"] == application["args"]["threads"]


def fits(replicas: list[float], pods: list[float]) -> bool:
    """Whether replicas of so many CPUs each go on pods of so many: the largest first."""
    left = sorted(pods, reverse=True)
    for cpus in sorted(replicas, reverse=True):
        room = next((i for i, free in enumerate(left) if free >= cpus), None)
        if room is None:
            return False
        left[room] -= cpus
    return True


def test_replicas_fit_the_pods() -> None:
    (group,) = cluster_of(rayservice())["workerGroupSpecs"]
    (application,) = serve_config()["applications"]
    pod = capacity(group, replicas=1)["CPU"]
    for bound in ("min", "max"):
        replicas = [
            node["ray_actor_options"]["num_cpus"]
            for node in application["deployments"]
            for _ in range(node["autoscaling_config"][f"{bound}_replicas"])
        ]
        assert fits(replicas, [pod] * group[f"{bound}Replicas"]), bound


def test_nothing_is_cut_off_early() -> None:
    """The application answers before Serve, and pods outlive the requests they hold."""
    spec, config = rayservice()["spec"], serve_config()
    (group,) = cluster_of(rayservice())["workerGroupSpecs"]
    (application,) = config["applications"]
    cut_off = config["http_options"]["request_timeout_s"]
    longest = max(node["graceful_shutdown_timeout_s"] for node in application["deployments"])
    grace = group["template"]["spec"]["terminationGracePeriodSeconds"]
    assert application["args"]["deadline_seconds"] < cut_off
    assert spec["rayClusterDeletionDelaySeconds"] > cut_off
    assert grace > longest + PROXY_DRAINING_SECONDS

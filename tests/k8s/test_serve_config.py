"""serveConfigV2 of every environment against deploy/serve.yaml and the RayService's own pods."""

from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from kintsugi.deploy.settings import AppArgs
from tests.k8s.manifests import (
    ENVIRONMENTS,
    ROOT,
    Manifest,
    capacity,
    cluster_of,
    environment,
    groups_of,
    named,
    pods_of,
    read,
)
from tests.k8s.ray_autoscaler import pods_to_start

COMPUTING = ("Image2Feature", "PatchSwap", "Feature2Image")
NODES = "applications.kintsugi.deployments"
# Path -> (laptop, Kubernetes). Nothing else may differ; a change to one file fails here until
# the other follows.
DIFFERENCES = {
    # Reached from other pods, behind whatever stands in front of the Service.
    "http_options.host": ("127.0.0.1", "0.0.0.0"),
    # The Service leads to the workers; the head is left out of it.
    "proxy_location": ("HeadOnly", "EveryNode"),
    "applications.kintsugi.args.release": ("models/pretrained/small", "s3://releases/paper"),
    # Of the Secret; the laptop's service is reached from the laptop alone.
    "applications.kintsugi.args.api_keys": (None, "/etc/kintsugi/api-keys/keys"),
    # On the laptop CPUs are logical; in a pod with a CPU limit each thread has one.
    **{f"{NODES}.{node}.ray_actor_options.num_cpus": (0.5, 2) for node in COMPUTING},
    # Two cores answer what three clients ask; where nodes are added more may wait for them.
    "applications.kintsugi.args.max_in_progress": (3, None),
    # With more replicas than one the Refiner does not know how many share a node's threads.
    "applications.kintsugi.args.share_threads": (True, None),
    f"{NODES}.Refiner.max_ongoing_requests": (32, 4),
    f"{NODES}.Refiner.autoscaling_config.max_replicas": (1, 2),
}
PRODUCTION_DIFFERENCES = DIFFERENCES | {
    "applications.kintsugi.args.release": (
        "models/pretrained/small",
        "s3://example-kintsugi-releases/paper",
    ),
    "applications.kintsugi.args.device": (None, "cuda"),
    "applications.kintsugi.args.precision": (None, "bfloat16"),
    # One of each of the three on a GPU.
    f"{NODES}.Image2Feature.ray_actor_options.num_gpus": (None, 0.25),
    f"{NODES}.PatchSwap.ray_actor_options.num_gpus": (None, 0.5),
    f"{NODES}.Feature2Image.ray_actor_options.num_gpus": (None, 0.25),
    **{f"{NODES}.{node}.autoscaling_config.max_replicas": (2, 4) for node in COMPUTING},
    # One may be lost.
    **{
        f"{NODES}.{node}.autoscaling_config.{bound}_replicas": (laptop, here)
        for node, most in (("Ingress", 2), ("Refiner", 1))
        for bound, laptop, here in (("min", 1, 2), ("max", most, 8))
    },
}
# How long Serve's proxy drains at least (RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S).
PROXY_DRAINING_SECONDS = 30

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def rayservice(name: str) -> Manifest:
    return named(environment(name), "RayService", "kintsugi")


def serve_config(name: str) -> dict[str, Any]:
    config: dict[str, Any] = yaml.safe_load(rayservice(name)["spec"]["serveConfigV2"])
    return config


def deployments(name: str) -> list[dict[str, Any]]:
    (application,) = serve_config(name)["applications"]
    found: list[dict[str, Any]] = application["deployments"]
    return found


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


@pytest.mark.parametrize(
    ("name", "expected"), [("local", DIFFERENCES), ("production", PRODUCTION_DIFFERENCES)]
)
def test_says_the_same_as_the_laptop(name: str, expected: dict[str, Any]) -> None:
    laptop = dict(leaves(read(ROOT / "deploy" / "serve.yaml")))
    kubernetes = dict(leaves(serve_config(name)))
    differing = {
        path: (laptop.get(path), kubernetes.get(path))
        for path in laptop.keys() | kubernetes.keys()
        if laptop.get(path) != kubernetes.get(path)
    }
    assert differing == expected


@each_environment
def test_args_are_settings_of_the_application(name: str) -> None:
    (application,) = serve_config(name)["applications"]
    assert application["import_path"] == "kintsugi.deploy.app:build_app"
    AppArgs.model_validate(application["args"])


@each_environment
def test_each_thread_has_a_cpu(name: str) -> None:
    (application,) = serve_config(name)["applications"]
    for node in application["deployments"]:
        if node["name"] in COMPUTING:
            assert node["ray_actor_options"]["num_cpus"] == application["args"]["threads"]


@each_environment
def test_each_node_scales_by_itself(name: str) -> None:
    for node in deployments(name):
        scaling = node["autoscaling_config"]
        assert 1 <= scaling["min_replicas"] < scaling["max_replicas"], node["name"]
        # Else a replica is never busy enough for a second one.
        assert scaling["target_ongoing_requests"] < node["max_ongoing_requests"], node["name"]
        assert scaling["downscale_delay_s"] > scaling["upscale_delay_s"], node["name"]


def replicas(name: str, bound: str) -> list[dict[str, float]]:
    """What every replica asks Ray for, as many as there are at least or at most."""
    resources = {"num_cpus": "CPU", "num_gpus": "GPU"}
    return [
        {resources[key]: amount for key, amount in node["ray_actor_options"].items()}
        for node in deployments(name)
        for _ in range(node["autoscaling_config"][f"{bound}_replicas"])
    ]


def test_nodes_that_need_no_gpu_have_none() -> None:
    found = {
        node["name"]
        for node in deployments("production")
        if "num_gpus" in node["ray_actor_options"]
    }
    assert found == set(COMPUTING)


@each_environment
@pytest.mark.parametrize("bound", ["min", "max"])
def test_ray_itself_finds_room_for_the_replicas(name: str, bound: str) -> None:
    """Ray's KubeRay autoscaler with the manifest: all at once, on the pods there may be."""
    started = pods_to_start(rayservice(name), replicas(name, bound))
    assert started is not None
    for group_name, group in groups_of(rayservice(name)).items():
        assert started.get(group_name, 0) <= group[f"{bound}Replicas"], group_name


def test_load_on_gpu_nodes_brings_gpu_pods_only() -> None:
    more = [need for need in replicas("production", "max") if "GPU" in need]
    assert pods_to_start(rayservice("production"), more) == {"gpu": 4}


@each_environment
def test_idle_pods_go(name: str) -> None:
    cluster = cluster_of(rayservice(name))
    assert cluster["enableInTreeAutoscaling"] is True
    assert cluster["autoscalerOptions"]["version"] == "v2"
    for group_name, group in groups_of(rayservice(name)).items():
        assert group["minReplicas"] <= group["replicas"] <= group["maxReplicas"], group_name
        limit = 120 if capacity(group)["GPU"] else 300
        assert group["idleTimeoutSeconds"] <= limit, group_name


@each_environment
def test_nothing_is_cut_off_early(name: str) -> None:
    """The application answers before Serve, and pods outlive the requests they hold."""
    spec, config = rayservice(name)["spec"], serve_config(name)
    (application,) = config["applications"]
    cut_off = config["http_options"]["request_timeout_s"]
    longest = max(node["graceful_shutdown_timeout_s"] for node in application["deployments"])
    assert application["args"]["deadline_seconds"] < cut_off
    assert spec["rayClusterDeletionDelaySeconds"] > cut_off
    for _, pod in list(pods_of(rayservice(name)))[1:]:
        (container,) = pod["spec"]["containers"]
        variables = {variable["name"]: variable.get("value") for variable in container["env"]}
        drain = float(variables["RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"])
        assert (
            longest + PROXY_DRAINING_SECONDS < drain < pod["spec"]["terminationGracePeriodSeconds"]
        )


def test_an_upgrade_in_production_goes_step_by_step() -> None:
    strategy = rayservice("production")["spec"]["upgradeStrategy"]
    assert strategy["type"] == "NewClusterWithIncrementalUpgrade"
    options = strategy["clusterUpgradeOptions"]
    assert options["stepSizePercent"] <= options["maxSurgePercent"] < 100
    # Through the operator's Gateway, which alone knows both clusters.
    configs = [d for d in environment("production") if d["kind"] == "ConfigMap"]
    (upstream,) = (c["data"]["upstream.conf"] for c in configs if "upstream.conf" in c["data"])
    assert f"kintsugi-gateway-{options['gatewayClassName']}.kintsugi.svc" in upstream

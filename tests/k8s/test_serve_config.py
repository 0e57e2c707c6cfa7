"""serveConfigV2 of every environment against deploy/serve.yaml and the RayService's own pods."""

import math
from collections.abc import Iterator
from typing import Any

import pytest
import yaml
from ray._raylet import IMPLICIT_RESOURCE_PREFIX

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
    of_kind,
    pods_of,
    read,
)
from tests.k8s.ray_autoscaler import Bundle, pods_to_start

COMPUTING = ("Image2Feature", "PatchSwap", "Feature2Image")
NODES = "applications.kintsugi.deployments"
# Path -> (laptop, Kubernetes). Nothing else may differ; a change to one file fails here until
# the other follows.
DIFFERENCES = {
    # Reached from other pods, behind whatever stands in front of the Service.
    "http_options.host": ("127.0.0.1", "0.0.0.0"),
    # The Service leads to the workers; the head is left out of it.
    "proxy_location": ("HeadOnly", "EveryNode"),
    # Of the Secret; the laptop's service is reached from the laptop alone.
    "applications.kintsugi.args.api_keys": (None, "/etc/kintsugi/api-keys/keys"),
    # On the volume.
    "applications.kintsugi.args.jobs": (None, "/data/jobs"),
    # On the laptop CPUs are logical; in a pod with a CPU limit each thread has one.
    **{f"{NODES}.{node}.ray_actor_options.num_cpus": (0.5, 2) for node in COMPUTING},
    # Two cores answer what three clients ask; where nodes are added more may wait for them.
    "applications.kintsugi.args.max_in_progress": (3, None),
    # Behind a proxy, with keys: any name will do.
    "applications.kintsugi.args.hosts": (["localhost", "127.0.0.1", "::1"], None),
    # With more replicas than one the Refiner does not know how many share a node's threads.
    "applications.kintsugi.args.share_threads": (True, None),
    f"{NODES}.Refiner.max_ongoing_requests": (32, 4),
    f"{NODES}.Refiner.autoscaling_config.max_replicas": (1, 2),
    # Turns are shared out in each replica of the Ingress: on the laptop one does it for all.
    f"{NODES}.Ingress.autoscaling_config.max_replicas": (1, 2),
}
GROUPS = "ray_actor_options.label_selector.kintsugi-group"
PRODUCTION_DIFFERENCES = DIFFERENCES | {
    "applications.kintsugi.args.jobs": (None, "s3://example-kintsugi-jobs/jobs"),
    "applications.kintsugi.args.device": (None, "cuda"),
    "applications.kintsugi.args.precision": (None, "bfloat16"),
    # One of each of the three on a GPU of a core pod.
    f"{NODES}.Image2Feature.ray_actor_options.num_gpus": (None, 0.25),
    f"{NODES}.PatchSwap.ray_actor_options.num_gpus": (None, 0.5),
    f"{NODES}.Feature2Image.ray_actor_options.num_gpus": (None, 0.25),
    **{f"{NODES}.{node}.{GROUPS}": (None, f"in(core,{node.lower()})") for node in COMPUTING},
    **{f"{NODES}.{node}.{GROUPS}": (None, "in(front)") for node in ("Ingress", "Refiner")},
    **{
        f"{NODES}.{node}.max_replicas_per_node": (None, 1)
        for node in ("Ingress", "Refiner", *COMPUTING)
    },
    # A roll needs no pod that the groups have not.
    **{f"{NODES}.{node}.max_surge_percent": (100, 0) for node in COMPUTING},
    **{f"{NODES}.{node}.max_surge_percent": (100, 25) for node in ("Ingress", "Refiner")},
    # One may be lost.
    **{
        f"{NODES}.{node}.autoscaling_config.{bound}_replicas": (laptop, here)
        for node, most, least_and_most in (
            ("Ingress", 1, (2, 8)),
            ("Refiner", 1, (2, 8)),
            *((node, 2, (2, 4)) for node in COMPUTING),
        )
        for bound, laptop, here in zip(("min", "max"), (1, most), least_and_most, strict=True)
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


def bundle(node: Manifest) -> Bundle:
    """What a replica asks Ray for."""
    options = node["ray_actor_options"]
    resources = {"CPU": options["num_cpus"], "GPU": options.get("num_gpus", 0)}
    if per_node := node.get("max_replicas_per_node"):
        # As Serve does it.
        resources[f"{IMPLICIT_RESOURCE_PREFIX}kintsugi:{node['name']}"] = 1 / per_node
    needed = {name: amount for name, amount in resources.items() if amount}
    return Bundle(needed, options.get("label_selector", {}))


def replicas(name: str, bound: str, only: str = "") -> list[Bundle]:
    """All replicas, or those of one node, as many as there are at least, at most, or in a roll."""
    found = []
    for node in deployments(name):
        scaling = node["autoscaling_config"]
        count = scaling["min_replicas" if bound == "min" else "max_replicas"]
        if bound == "roll":
            count += math.ceil(count * node["max_surge_percent"] / 100)
        if only in ("", node["name"]):
            found += [bundle(node)] * count
    return found


def test_nodes_that_need_no_gpu_have_none_and_run_on_no_gpu_pod() -> None:
    groups = groups_of(rayservice("production"))
    for node in deployments("production"):
        gpus = node["name"] in COMPUTING
        assert ("num_gpus" in node["ray_actor_options"]) == gpus
        selector = node["ray_actor_options"]["label_selector"]["kintsugi-group"]
        for group in selector.removeprefix("in(").removesuffix(")").split(","):
            assert groups[group]["labels"] == {"kintsugi-group": group}
            assert (capacity(groups[group])["GPU"] > 0) == gpus, (node["name"], group)


@each_environment
@pytest.mark.parametrize("bound", ["min", "max", "roll"])
def test_ray_itself_finds_room_for_the_replicas(name: str, bound: str) -> None:
    """Ray's KubeRay autoscaler with the manifest: all at once, on the pods there may be.

    A roll at the most replicas, too: what it starts before it stops others fits.
    """
    started = pods_to_start(rayservice(name), replicas(name, bound))
    assert started is not None
    for group_name, group in groups_of(rayservice(name)).items():
        most = group["minReplicas" if bound == "min" else "maxReplicas"]
        assert started.get(group_name, 0) <= most, group_name


def test_a_roll_that_doubled_the_replicas_would_find_no_room() -> None:
    """What stood here before: max_surge_percent 100 with the groups at their most."""
    assert pods_to_start(rayservice("production"), replicas("production", "max") * 2) is None


@pytest.mark.parametrize("node", COMPUTING)
def test_load_on_a_node_brings_pods_of_its_group_only(node: str) -> None:
    least = replicas("production", "min")
    most = replicas("production", "max", only=node)
    started = pods_to_start(rayservice("production"), least + most[2:])
    assert started == {"front": 2, "core": 2, node.lower(): 2}


def test_any_pod_of_production_may_be_lost() -> None:
    for node in deployments("production"):
        assert node["autoscaling_config"]["min_replicas"] == 2
        assert node["max_replicas_per_node"] == 1
    groups = groups_of(rayservice("production"))
    assert (groups["core"]["minReplicas"], groups["front"]["minReplicas"]) == (2, 2)


@each_environment
def test_jobs_are_on(name: str) -> None:
    """Where every replica of the Ingress reaches them: a bucket, or the volume of all pods."""
    (application,) = serve_config(name)["applications"]
    place = application["args"]["jobs"]
    if place.startswith("s3://"):
        return
    for _, pod in list(pods_of(rayservice(name)))[1:]:
        (container,) = pod["spec"]["containers"]
        assert "/data" in {mount["mountPath"] for mount in container["volumeMounts"]}
    assert place.startswith("/data/")


def test_local_serves_the_release_that_is_in_the_image() -> None:
    (application,) = serve_config("local")["applications"]
    release = ROOT / application["args"]["release"]
    assert (release / "config.json").is_file()
    # Which the image has: deploy/Dockerfile copies models/ whole, and git has the weights.
    assert application["args"]["release"].startswith("models/")
    assert of_kind(environment("local"), "StatefulSet") == []


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
    configs = of_kind(environment("production"), "ConfigMap")
    (upstream,) = (c["data"]["upstream.conf"] for c in configs if "upstream.conf" in c["data"])
    assert f"kintsugi-gateway-{options['gatewayClassName']}.kintsugi.svc" in upstream

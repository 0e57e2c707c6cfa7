"""Every pod of every environment: Pod Security, resources, probes, images, credentials, nodes."""

import re

import pytest
import yaml

from tests.k8s.chart import joined, values
from tests.k8s.manifests import (
    ENVIRONMENTS,
    EVERYTHING,
    Manifest,
    cluster_of,
    containers,
    environment,
    named,
    of_kind,
    pods,
    pods_of,
    render,
    service,
)

SUFFIXES = {"m": 1e-3, "Mi": 2**20, "Gi": 2**30, "": 1}

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def quantity(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", str(text))
    assert match is not None, text
    return float(match[1]) * SUFFIXES[match[2]]


def test_namespace_enforces_restricted() -> None:
    namespace = named(service("local"), "Namespace", "kintsugi")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"


@each_environment
def test_pods_meet_restricted(name: str) -> None:
    for pod_name, pod in pods(environment(name)):
        context = pod["spec"]["securityContext"]
        assert context["runAsNonRoot"] is True, pod_name
        assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] > 0, pod_name
        assert context["seccompProfile"] == {"type": "RuntimeDefault"}, pod_name
        assert not {"hostNetwork", "hostPID", "hostIPC", "initContainers"} & pod["spec"].keys()
        for volume in pod["spec"].get("volumes", []):
            assert "hostPath" not in volume, pod_name
            if "emptyDir" in volume:
                assert volume["emptyDir"]["sizeLimit"], pod_name


@each_environment
def test_containers_meet_restricted_and_cannot_write_to_their_root(name: str) -> None:
    for container_name, container in containers(environment(name)):
        assert container["securityContext"] == {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        }, container_name
        assert container["imagePullPolicy"] == "IfNotPresent", container_name


@each_environment
def test_ours_may_write_where_programs_do(name: str) -> None:
    for container_name, container in containers(environment(name)):
        writable = {mount["mountPath"] for mount in container["volumeMounts"]}
        if container.get("image", "").partition("@")[0].partition(":")[0].endswith("kintsugi"):
            assert {"/tmp", "/home/kintsugi"} <= writable, container_name


@each_environment
def test_containers_say_what_they_need(name: str) -> None:
    for container_name, container in containers(environment(name)):
        requests, limits = container["resources"]["requests"], container["resources"]["limits"]
        assert requests.keys() == limits.keys() >= {"cpu", "memory"}, container_name
        # What is over the request is what the kernel kills for.
        assert requests["memory"] == limits["memory"], container_name
        for resource, amount in requests.items():
            assert quantity(amount) <= quantity(limits[resource]), (container_name, resource)


@each_environment
def test_disks_have_room_for_the_volumes_on_them(name: str) -> None:
    for pod_name, pod in pods(environment(name)):
        limits = [c["resources"]["limits"]["ephemeral-storage"] for c in pod["spec"]["containers"]]
        volumes = [
            quantity(volume["emptyDir"]["sizeLimit"])
            for volume in pod["spec"].get("volumes", [])
            if "emptyDir" in volume
        ]
        assert sum(volumes) <= sum(map(quantity, limits)), pod_name


@each_environment
def test_what_is_no_rays_has_probes(name: str) -> None:
    """Ray's containers get theirs from the operator."""
    for document in of_kind(environment(name), "Deployment", "StatefulSet"):
        for _, pod in pods_of(document):
            for container in pod["spec"]["containers"]:
                assert {"readinessProbe", "livenessProbe"} <= container.keys(), container["name"]


@each_environment
def test_images_are_pinned(name: str) -> None:
    for container_name, container in containers(environment(name)):
        if "image" not in container:
            # The autoscaler's is that of the head.
            assert "autoscaler" in container_name
            continue
        assert re.search(r":\d+\.\d+(\.\d+)?[a-z0-9.-]*$|@sha256:[0-9a-f]{64}$", container["image"])


def test_production_runs_our_code_by_digest() -> None:
    for container_name, container in containers(environment("production")):
        image = container.get("image", "")
        if "kintsugi" in image:
            assert "@sha256:" in image, container_name


@each_environment
def test_only_autoscalers_reach_the_kubernetes_api(name: str) -> None:
    documents = environment(name)
    for account in of_kind(documents, "ServiceAccount"):
        assert account["automountServiceAccountToken"] is False
    asking = {
        name for name, pod in pods(documents) if pod["spec"].get("automountServiceAccountToken")
    }
    scaling = {
        f"{document['kind']} {document['metadata']['name']} head"
        for document in of_kind(documents, "RayService", "RayJob")
        if cluster_of(document).get("enableInTreeAutoscaling")
    }
    assert asking == scaling != set()


def bucket_secrets(pod: Manifest) -> list[str]:
    sources = [
        source for container in pod["spec"]["containers"] for source in container.get("envFrom", [])
    ]
    return [source["secretRef"]["name"] for source in sources]


def users_of_storage(documents: tuple[Manifest, ...]) -> set[str]:
    """The pods that read releases or work on runs, by what they run."""
    return {
        name
        for name, _ in pods(documents)
        if name.startswith(("RayService", "RayJob"))
        and not name.endswith((" submitter", "RayService kintsugi head"))
    }


def test_pods_that_read_buckets_get_the_secret_and_no_others() -> None:
    said = joined(values("local"), EVERYTHING, {"storage": {"secret": "buckets"}})
    documents = render(said)
    with_keys = {name for name, pod in pods(documents) if bucket_secrets(pod) == ["buckets"]}
    assert with_keys == users_of_storage(documents)
    assert {name for name, pod in pods(documents) if bucket_secrets(pod)} == with_keys


def test_local_keeps_its_work_on_one_volume() -> None:
    documents = environment("local")
    (claim,) = of_kind(documents, "PersistentVolumeClaim")
    mounted = set()
    for name, pod in pods(documents):
        volumes = {v["name"]: v for v in pod["spec"].get("volumes", [])}
        if "data" in volumes:
            assert (
                volumes["data"]["persistentVolumeClaim"]["claimName"] == claim["metadata"]["name"]
            )
            (container,) = pod["spec"]["containers"]
            (mount,) = [m for m in container["volumeMounts"] if m["name"] == "data"]
            assert mount["mountPath"] == "/data"
            mounted.add(name)
    assert mounted == users_of_storage(documents)


def test_production_has_roles_instead_of_keys_and_no_shared_volume() -> None:
    documents = environment("production")
    assert not [name for name, pod in pods(documents) if bucket_secrets(pod)]
    assert [d["metadata"]["name"] for d in of_kind(documents, "PersistentVolumeClaim")] == [
        "kintsugi-redis"
    ]
    role = {"eks.amazonaws.com/role-arn": "arn:aws:iam::000000000000:role/kintsugi"}
    said = joined(values("production"), {"identity": {"serving": role, "training": role}})
    with_role = {
        account["metadata"]["name"]
        for account in of_kind(render(said), "ServiceAccount")
        if role.items() <= account["metadata"].get("annotations", {}).items()
    }
    assert with_role == {"kintsugi-serving", "kintsugi-training", "kintsugi-training-head"}


def test_aks_labels_the_pods_that_ask_for_a_token() -> None:
    documents = render(joined(values("production"), EVERYTHING, {"profiles": ["aks"]}))
    labelled = {
        name
        for name, pod in pods(documents)
        if pod["metadata"]["labels"].get("azure.workload.identity/use") == "true"
    }
    assert labelled >= users_of_storage(documents)
    assert not [name for name in labelled if "edge" in name or "redis" in name]


@each_environment
def test_heads_and_long_trainings_keep_their_nodes(name: str) -> None:
    """No node is emptied under them to save money; elastic workers go when they are asked to."""
    for pod_name, pod in pods(environment(name)):
        annotations = pod["metadata"].get("annotations", {})
        kept = annotations.get("karpenter.sh/do-not-disrupt") == "true"
        assert kept == (
            annotations.get("cluster-autoscaler.kubernetes.io/safe-to-evict") == "false"
        )
        assert kept == pod_name.endswith((" head", "kintsugi-pipeline gpu")), pod_name


def test_spare_workers_have_nodes_and_a_priority_of_their_own() -> None:
    spot = {"pipeline": {"workers": {"gpu": {"spot": 2}}}, "profiles": ["gke"]}
    documents = render(joined(values("production"), EVERYTHING, spot))
    job = named(documents, "RayJob", "kintsugi-pipeline")
    groups = {g["groupName"]: g for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    assert (groups["gpu"]["maxReplicas"], groups["gpu-spot"]["maxReplicas"]) == (2, 2)
    # Those that stay are taken first.
    assert groups["gpu"]["priority"] > groups["gpu-spot"]["priority"]
    pod = groups["gpu-spot"]["template"]["spec"]
    assert pod["priorityClassName"] == "kintsugi-spare"
    assert pod["nodeSelector"] == {"cloud.google.com/gke-spot": "true"}
    assert {t["key"] for t in pod["tolerations"]} == {"nvidia.com/gpu", "cloud.google.com/gke-spot"}
    assert "nodeSelector" not in groups["gpu"]["template"]["spec"]


def test_more_spare_workers_than_a_training_can_miss_are_refused() -> None:
    from helm_python.errors import HelmError

    said = joined(values("production"), EVERYTHING, {"pipeline": {"workers": {"gpu": {"spot": 3}}}})
    with pytest.raises(HelmError, match="spot=3 of count=4 leaves fewer than least=2"):
        render(said)


def test_gpu_pods_go_where_the_site_says() -> None:
    kind = {"gpu": {"nodeSelector": {"nvidia.com/gpu.product": "NVIDIA-L4"}}}
    for pod_name, pod in pods(render(joined(values("production"), EVERYTHING, kind))):
        gpus = any("nvidia.com/gpu" in c["resources"]["limits"] for c in pod["spec"]["containers"])
        selected = pod["spec"].get("nodeSelector") == kind["gpu"]["nodeSelector"]
        assert selected == (gpus or "DaemonSet" in pod_name), pod_name
        tolerated = any(t["key"] == "nvidia.com/gpu" for t in pod["spec"].get("tolerations", []))
        assert tolerated == selected, pod_name


@each_environment
def test_every_group_has_a_budget(name: str) -> None:
    documents = environment(name)
    budgets = [d["spec"] for d in of_kind(documents, "PodDisruptionBudget")]

    def of(labels: dict[str, str]) -> list[tuple[int | None, int | None]]:
        return [
            (budget.get("minAvailable"), budget.get("maxUnavailable"))
            for budget in budgets
            if budget["selector"]["matchLabels"].items() <= labels.items()
        ]

    service = named(documents, "RayService", "kintsugi")
    for group in cluster_of(service)["workerGroupSpecs"]:
        labels = group["template"]["metadata"]["labels"]
        labels = labels | {"ray.io/node-type": "worker", "ray.io/group": group["groupName"]}
        # One budget each: two that hold one pod forbid its eviction altogether. None that wants a
        # pod of a group that may have none: it would never be met (KubePdbNotEnoughHealthyPods).
        found = of(labels)
        assert len(found) == bool(group["minReplicas"]), group["groupName"]
        for keep, gone in found:
            assert gone is None
            assert keep is not None
            assert 1 <= keep <= group["minReplicas"], group["groupName"]
    for document in of_kind(documents, "RayService", "RayJob"):
        head = cluster_of(document)["headGroupSpec"]["template"]["metadata"]["labels"]
        # None is evicted, and where no job runs none is missed.
        assert of(head | {"ray.io/node-type": "head"}) == [(None, 0)]


@pytest.mark.parametrize(
    ("said", "kept"), [({"keep": 3}, 2), ({"keep": 1}, 1), ({"min": 0}, 0), ({"keep": 0}, 0)]
)
def test_a_budget_never_wants_more_than_the_least(said: Manifest, kept: int) -> None:
    group = {"min": 2, "max": 4, "keep": 1} | said
    documents = render(joined(values("local"), {"serving": {"groups": {"cpu": group}}}))
    found = [
        budget["spec"]["minAvailable"]
        for budget in of_kind(documents, "PodDisruptionBudget")
        if budget["metadata"]["name"] == "kintsugi-serving-cpu"
    ]
    assert found == [kept] * bool(kept)


@each_environment
def test_the_ingress_finds_its_api_keys(name: str) -> None:
    service = named(environment(name), "RayService", "kintsugi")
    (application,) = yaml.safe_load(service["spec"]["serveConfigV2"])["applications"]
    # The Secret has one file, by the name of its key.
    folder, _, file = application["args"]["api_keys"].rpartition("/")
    assert file == "keys"
    for pod_name, pod in pods_of(service):
        mounts = {mount["name"]: mount for mount in pod["spec"]["containers"][0]["volumeMounts"]}
        if not pod_name.endswith(" head"):
            assert mounts["api-keys"]["readOnly"] is True, pod_name
            assert mounts["api-keys"]["mountPath"] == folder, pod_name


@each_environment
def test_ray_asks_for_a_token(name: str) -> None:
    for document in of_kind(environment(name), "RayService", "RayJob"):
        assert cluster_of(document)["authOptions"] == {"mode": "token"}

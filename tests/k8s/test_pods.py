"""Every pod of every overlay: Pod Security `restricted`, resources, probes, images, credentials."""

import re

import pytest
import yaml

from tests.k8s.manifests import (
    ENVIRONMENTS,
    Manifest,
    cluster_of,
    containers,
    environment,
    named,
    of_kind,
    pods,
    pods_of,
    render,
)

SUFFIXES = {"m": 1e-3, "Mi": 2**20, "Gi": 2**30, "": 1}

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def quantity(text: str) -> float:
    match = re.fullmatch(r"([\d.]+)(m|Mi|Gi|)", str(text))
    assert match is not None, text
    return float(match[1]) * SUFFIXES[match[2]]


def test_namespace_enforces_restricted() -> None:
    namespace = named(render("base"), "Namespace", "kintsugi")
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


def test_local_pods_that_read_buckets_get_keys_and_no_others() -> None:
    with_keys = {name for name, pod in pods(environment("local")) if bucket_secrets(pod)}
    without = {name for name, _ in pods(environment("local"))} - with_keys
    assert without == {
        "RayService kintsugi head",
        "Deployment kintsugi-edge",
        # It takes two keys by name.
        "StatefulSet object-store",
        *(
            f"RayJob {job} submitter"
            for job in ("evaluate", "train-stage1", "train-stage2", "write-shards")
        ),
    }


def test_production_has_roles_instead_of_keys() -> None:
    documents = environment("production")
    assert not [name for name, pod in pods(documents) if bucket_secrets(pod)]
    with_role = {
        account["metadata"]["name"]
        for account in of_kind(documents, "ServiceAccount")
        if "eks.amazonaws.com/role-arn" in account["metadata"].get("annotations", {})
    }
    assert with_role == {"kintsugi-serving", "kintsugi-training", "kintsugi-training-head"}


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

"""The manifests as the tests read them: rendered, pods, containers; knows no rules."""

import functools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from tests.k8s.chart import joined, render_texts, values

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
# Files of k8s/values.
ENVIRONMENTS = ("local", "production")
RAY_KINDS = ("RayService", "RayJob")

Manifest = dict[str, Any]


# What only some have and all are checked with: the pipeline, and a job of each kind.
WITH_NAMESPACE: Manifest = {"namespace": {"create": True}}
EVERYTHING: Manifest = WITH_NAMESPACE | {
    "pipeline": {"enabled": True},
    "jobs": {
        "fill": {"command": "fill /data/in /data/masks -o /data/out"},
    },
}


@functools.cache
def environment(name: str) -> tuple[Manifest, ...]:
    """All that k8s/values/NAME.yaml gives, the pipeline and a job included."""
    return render(joined(values(name), EVERYTHING))


def service(name: str) -> tuple[Manifest, ...]:
    """What one apply of k8s/values/NAME.yaml gives, without Helm."""
    return render(joined(values(name), WITH_NAMESPACE))


def render(
    said: Manifest, name: str = "kintsugi", namespace: str = "kintsugi"
) -> tuple[Manifest, ...]:
    """The chart with these values, document by document."""
    return tuple(
        document
        for text in render_texts(said, name, namespace)
        for document in yaml.load_all(text, yaml.CSafeLoader)
        if document is not None
    )


def of_kind(documents: tuple[Manifest, ...], *kinds: str) -> list[Manifest]:
    return [document for document in documents if document["kind"] in kinds]


def named(documents: tuple[Manifest, ...], kind: str, name: str) -> Manifest:
    (found,) = [d for d in of_kind(documents, kind) if d["metadata"]["name"] == name]
    return found


def read(path: Path) -> Any:
    """A file with one YAML document."""
    return yaml.safe_load(path.read_text())


def cluster_of(manifest: Manifest) -> Manifest:
    """The RayCluster inside a RayService or a RayJob."""
    spec = manifest["spec"]
    cluster: Manifest = spec.get("rayClusterConfig") or spec["rayClusterSpec"]
    return cluster


def groups_of(manifest: Manifest) -> dict[str, Manifest]:
    """The worker groups by their name."""
    return {group["groupName"]: group for group in cluster_of(manifest)["workerGroupSpecs"]}


def pods_of(manifest: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Every pod template of a document, with a name to show."""
    name = f"{manifest['kind']} {manifest['metadata']['name']}"
    if manifest["kind"] in RAY_KINDS:
        cluster = cluster_of(manifest)
        yield f"{name} head", cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield f"{name} {group['groupName']}", group["template"]
        if manifest["kind"] == "RayJob":
            # Left out, the operator's own would run without a securityContext.
            yield f"{name} submitter", manifest["spec"]["submitterPodTemplate"]
    elif manifest["kind"] in ("Deployment", "StatefulSet", "DaemonSet"):
        yield name, manifest["spec"]["template"]


def pods(documents: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    for document in documents:
        yield from pods_of(document)


def containers(documents: tuple[Manifest, ...]) -> Iterator[tuple[str, Manifest]]:
    """Every container of those pods, and the autoscaler that the operator adds to a head."""
    for name, pod in pods(documents):
        for container in pod["spec"]["containers"]:
            yield f"{name}: {container['name']}", container
    for document in of_kind(documents, *RAY_KINDS):
        cluster = cluster_of(document)
        if cluster.get("enableInTreeAutoscaling"):
            name = f"{document['kind']} {document['metadata']['name']}"
            yield f"{name} head: autoscaler", cluster["autoscalerOptions"]


def capacity(group: Manifest) -> dict[str, float]:
    """The CPUs and GPUs that Ray counts on one pod of a group: its limits, or what is said."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    said = group["rayStartParams"].get("num-cpus")
    cpus = float(limits["cpu"]) if said is None else float(said)
    return {"CPU": cpus, "GPU": float(limits.get("nvidia.com/gpu", 0))}

"""The manifests of k8s/base as the tests read them: documents, pod templates, containers."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
BASE = ROOT / "k8s" / "base"

Manifest = dict[str, Any]


def manifest_files() -> list[Path]:
    """Every file of k8s/base but the kustomization."""
    return sorted(path for path in BASE.iterdir() if path.name != "kustomization.yaml")


def read(path: Path) -> Manifest:
    """A file with one YAML document."""
    document: Manifest = yaml.safe_load(path.read_text())
    return document


def rayservice() -> Manifest:
    return read(BASE / "rayservice.yaml")


def rayjob() -> Manifest:
    return read(BASE / "rayjob-train-stage1.yaml")


def cluster_of(manifest: Manifest) -> Manifest:
    """The RayCluster inside a RayService or a RayJob."""
    spec = manifest["spec"]
    cluster: Manifest = spec.get("rayClusterConfig") or spec["rayClusterSpec"]
    return cluster


def pods() -> Iterator[tuple[str, Manifest]]:
    """Every pod template with a name to show: the head, the worker groups, the submitter."""
    for manifest in (rayservice(), rayjob()):
        kind, cluster = manifest["kind"], cluster_of(manifest)
        yield f"{kind} head", cluster["headGroupSpec"]["template"]
        for group in cluster["workerGroupSpecs"]:
            yield f"{kind} {group['groupName']}", group["template"]
        if kind == "RayJob":
            # Left out, the operator's own would run without a securityContext.
            yield f"{kind} submitter", manifest["spec"]["submitterPodTemplate"]


def containers() -> Iterator[tuple[str, Manifest]]:
    """Every container of those pods, and the autoscaler that the operator adds."""
    for name, pod in pods():
        for container in pod["spec"]["containers"]:
            yield f"{name}: {container['name']}", container
    for manifest in (rayservice(), rayjob()):
        cluster = cluster_of(manifest)
        if cluster.get("enableInTreeAutoscaling"):
            yield f"{manifest['kind']} head: autoscaler", cluster["autoscalerOptions"]


def capacity(group: Manifest, *, replicas: int) -> dict[str, float]:
    """The CPUs and GPUs that Ray counts on so many pods of a worker group: their limits."""
    limits = group["template"]["spec"]["containers"][0]["resources"]["limits"]
    found = {"CPU": limits["cpu"], "GPU": limits.get("nvidia.com/gpu", 0)}
    return {name: replicas * float(amount) for name, amount in found.items()}

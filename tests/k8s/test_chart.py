"""The chart as a whole: strict schemas, operator rules, references, names, one place for values."""

import re
from pathlib import Path

import pytest
import yaml

from tests.k8s.chart import CHART, PROFILES, VALUES, joined, lint, notes, render_texts, values
from tests.k8s.manifests import (
    ENVIRONMENTS,
    EVERYTHING,
    K8S,
    ROOT,
    Manifest,
    containers,
    environment,
    named,
    of_kind,
    pods,
    render,
    service,
)
from tests.k8s.strict_checker import check_manifests, secrets_yaml
from tests.k8s.values_schema import FILE, text

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
    ("globalDefault:", "globalDefaults:"),
    ("averageUtilization:", "averageUtilisation:"),
)
CLUSTER_SCOPED = (
    *("Namespace", "ClusterQueue", "ResourceFlavor"),
    *("PriorityClass", "WorkloadPriorityClass"),
)

each_environment = pytest.mark.parametrize("name", ENVIRONMENTS)


def rendered_files(name: str, folder: Path) -> list[Path]:
    (folder / "secrets.yaml").write_text(secrets_yaml())
    texts = render_texts(joined(values(name), EVERYTHING))
    (folder / f"{name}.yaml").write_text("\n---\n".join(t.strip() for t in texts if t.strip()))
    return [folder / "secrets.yaml", folder / f"{name}.yaml"]


@each_environment
def test_helm_lints_it(name: str) -> None:
    assert lint(joined(values(name), EVERYTHING)) == []


def test_the_schema_of_the_values_is_that_of_the_values() -> None:
    assert FILE.read_text() == text(), "run: python -m tests.k8s.values_schema"


@pytest.mark.parametrize(
    ("said", "named_as"),
    [
        ({"serving": {"nodes": {"PatchSwap": {"maximum": 3}}}}, "maximum"),
        ({"serving": {"groups": {"cpu": {"replicas": 3}}}}, "replicas"),
        ({"image": {"digest": "latest"}}, "digest"),
        ({"profiles": ["openshift"]}, "profiles"),
        ({"storage": {"volume": {"accessMode": "ReadWrite"}}}, "accessMode"),
        ({"buckets": {}}, "buckets"),
        ({"jobs": {"fill": {"command": "-c true"}}}, "command"),
    ],
)
def test_a_value_that_is_none_is_refused_by_its_name(said: Manifest, named_as: str) -> None:
    from helm_python.errors import HelmError

    with pytest.raises(HelmError, match=named_as):
        render(said)


def test_a_name_that_would_be_cut_off_is_refused() -> None:
    from helm_python.errors import HelmError

    with pytest.raises(HelmError, match="has 25 characters, of 24 at most"):
        render(values("local"), "a" * 25)
    said = joined(values("local"), EVERYTHING, {"jobs": {"b" * 22: {"command": "fill x"}}})
    assert max(len(d["metadata"]["name"]) for d in of_kind(render(said, "a" * 24), "RayJob")) == 47


@each_environment
def test_schemas_and_operator_rules_find_nothing(name: str, tmp_path: Path) -> None:
    assert check_manifests(*rendered_files(name, tmp_path)) == []


@pytest.mark.parametrize("profile", PROFILES)
def test_they_find_nothing_in_any_profile(profile: str, tmp_path: Path) -> None:
    said = joined(values("production"), EVERYTHING, {"profiles": [profile]})
    found = tmp_path / "rendered.yaml"
    # Cilium's kind has no schema here: tests/k8s/network.py reads all of its fields.
    documents = [d for d in render(said) if d["kind"] != "CiliumNetworkPolicy"]
    found.write_text(yaml.safe_dump_all(documents) + "---\n" + secrets_yaml())
    assert check_manifests(found) == []


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
    files = rendered_files("production", tmp_path)
    files[0].write_text(files[0].read_text().replace("name: kintsugi-api-keys\n", "name: keys\n"))
    text = files[1].read_text()
    files[1].write_text(
        text.replace('  name: "kintsugi-training-head"\n  namespace', "  name: h\n  namespace")
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
        assert labels["app.kubernetes.io/instance"] == "kintsugi", metadata["name"]
        assert "app.kubernetes.io/component" in labels, metadata["name"]


@each_environment
def test_what_others_need_is_applied_before_them(name: str) -> None:
    """Argo CD's waves: no order by hand."""

    def wave(document: Manifest) -> int:
        annotations = document["metadata"].get("annotations", {})
        return int(annotations.get("argocd.argoproj.io/sync-wave", 0))

    waves = {kind: {wave(d) for d in of_kind(environment(name), kind)} for kind in CLUSTER_SCOPED}
    assert waves["Namespace"] == waves["PriorityClass"] == {-2}
    documents = environment(name)
    for kind in ("ServiceAccount", "NetworkPolicy", "PodDisruptionBudget", "PersistentVolumeClaim"):
        assert {wave(d) for d in of_kind(documents, kind)} <= {-1}, kind
    assert {wave(d) for d in of_kind(documents, "RayService", "RayJob")} == {1}


@each_environment
def test_no_secret_value_is_in_a_manifest(name: str) -> None:
    documents = environment(name)
    assert not of_kind(documents, "Secret")
    text = yaml.safe_dump_all(documents)
    for word in ("BEGIN", "AKIA", "aws_secret_access_key"):
        assert word not in text


def test_local_needs_no_definitions_but_the_operators_and_no_bucket() -> None:
    documents = environment("local")
    kinds = {document["kind"] for document in documents}
    assert not kinds & {"Gateway", "HTTPRoute", "PodMonitor", "PrometheusRule", "ClusterQueue"}
    text = yaml.safe_dump_all(documents)
    assert "s3://" not in text
    assert set(re.findall(r"secret(?:Name|KeyRef|Ref)\S*: *\{?(?:name: )?(\S+)", text)) == {
        "kintsugi-api-keys"
    }


@each_environment
def test_the_service_alone_is_no_training(name: str) -> None:
    assert of_kind(service(name), "RayJob") == []
    assert len(of_kind(environment(name), "RayJob")) == 2


# One values file with another of everything that is a site's.
OTHER = {
    "image": {"repository": "r.example.org/k", "digest": f"sha256:{'a' * 64}"},
    "storage": {
        place: f"s3://b-{place}" for place in ("photos", "shards", "runs", "releases", "jobs")
    },
    "edge": {"gateway": {"host": "fill.example.org"}},
}


def test_one_file_changes_image_buckets_host_and_namespace_everywhere() -> None:
    said = joined(values("production"), EVERYTHING, OTHER)
    documents = render(said, "fill", "place")
    text = yaml.safe_dump_all(documents)
    for old in ("registry.example.com", "kintsugi.example.com", "example-kintsugi", "0" * 64):
        assert old not in text, old
    ours = {
        container["image"]
        for name, container in containers(documents)
        if not any(
            word in container.get("image", "autoscaler")
            for word in ("nginx", "redis", "autoscaler")
        )
    }
    assert ours == {f"r.example.org/k@sha256:{'a' * 64}"}
    assert len(of_kind(documents, "Gateway", "HTTPRoute")) == 2
    assert {d["metadata"]["namespace"] for d in documents if d["kind"] not in CLUSTER_SCOPED} == {
        "place"
    }
    # Nothing is left of the first namespace or the first name, but for labels and Secrets that
    # the values name.
    for line in text.splitlines():
        if re.search(
            r"\bkintsugi\.svc|namespace: kintsugi|namespace=\\*\"kintsugi|-n kintsugi\b", line
        ):
            pytest.fail(line)
    assert text.count("fill.example.org") == 2
    for bucket in ("photos", "shards", "runs", "releases", "jobs"):
        assert f"s3://b-{bucket}" in text, bucket


def identities(documents: tuple[Manifest, ...]) -> set[tuple[str, str, str]]:
    return {
        (d["kind"], d["metadata"].get("namespace", ""), d["metadata"]["name"]) for d in documents
    }


@pytest.mark.parametrize(
    ("first", "second"),
    [
        (("kintsugi", "kintsugi"), ("kintsugi", "staging")),
        (("kintsugi", "kintsugi"), ("staging", "kintsugi")),
        (("a", "b"), ("b", "a")),
    ],
    ids=["two namespaces", "one namespace", "crossed"],
)
def test_two_instances_share_no_name(first: tuple[str, str], second: tuple[str, str]) -> None:
    said = joined(values("production"), EVERYTHING)
    if first[1] == second[1]:
        # Neither of the two owns the namespace.
        said = joined(said, {"namespace": {"create": False}})
    one, other = (render(said, *each) for each in (first, second))
    assert identities(one) & identities(other) == set()
    scoped = [identities(d for d in each if d["kind"] in CLUSTER_SCOPED) for each in (one, other)]  # type: ignore[arg-type]
    names = [{(kind, name) for kind, _, name in each} for each in scoped]
    assert len(names[0]) >= 7
    assert names[0] & names[1] == set()
    # And what they select is their own.
    for each, (name, _) in zip((one, other), (first, second), strict=True):
        for document in of_kind(each, "PodDisruptionBudget", "PodMonitor", "Service", "Deployment"):
            selector = document["spec"]["selector"]
            labels = selector.get("matchLabels", selector)
            assert labels["app.kubernetes.io/instance"] == name, document["metadata"]["name"]


@each_environment
def test_priorities_that_pods_name_exist(name: str) -> None:
    documents = environment(name)
    there = {d["metadata"]["name"]: d["value"] for d in of_kind(documents, "PriorityClass")}
    for pod_name, pod in pods(documents):
        assert pod["spec"]["priorityClassName"] in there, pod_name
    assert there["kintsugi-serving"] > there["kintsugi-training"] > there["kintsugi-spare"]
    for job in of_kind(documents, "RayJob"):
        if wanted := job["metadata"]["labels"].get("kueue.x-k8s.io/priority-class"):
            named(documents, "WorkloadPriorityClass", wanted)


def yaml_files() -> list[Path]:
    return sorted(path for path in K8S.rglob("*.yaml") if "templates" not in path.parts)


@pytest.mark.parametrize("path", yaml_files(), ids=lambda path: str(path.relative_to(ROOT)))
def test_a_file_says_what_it_is(path: Path) -> None:
    assert path.read_text().startswith("# ")


def test_every_environment_has_a_values_file_and_no_other_is_there() -> None:
    assert {path.stem for path in VALUES.glob("*.yaml")} == set(ENVIRONMENTS)


def test_every_file_of_the_chart_is_used() -> None:
    templates = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())
    for path in (CHART / "files").iterdir():
        assert path.exists(), f"{path} leads nowhere"
        generic = path.suffix == ".json" and 'printf "files/%s.json"' in templates
        assert generic or f"files/{path.name}" in templates, path


def test_every_value_is_read() -> None:
    """A value that no template names is one that does nothing."""
    templates = "\n".join(path.read_text() for path in (CHART / "templates").iterdir())

    def leaf_names(found: Manifest) -> set[str]:
        names = set()
        for key, value in found.items():
            names.add(key)
            # Their keys are names of the site's own.
            if isinstance(value, dict) and key not in ("args", "groups", "nodes", "labels"):
                names |= leaf_names(value)
        return names

    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    unread = {name for name in leaf_names(defaults) if not re.search(rf"\.{name}\b", templates)}
    assert unread == set()


@pytest.mark.parametrize(
    ("release", "in_place", "said"),
    [("a", "", False), ("a", "a", False), ("a", "s3://b", True)],
)
def test_the_notes_say_which_of_two_releases_answers(
    release: str, in_place: str, said: bool
) -> None:
    serving = {"release": release, "releaseInPlace": in_place}
    text = notes(joined(values("local"), {"serving": serving}))
    assert ("serving.releaseInPlace=s3://b answers" in text) == said
    assert ("--set serving.releaseInPlace=" in text) == said

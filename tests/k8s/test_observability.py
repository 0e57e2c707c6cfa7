"""Dashboards and alert rules: they use metrics that exist, and say what to do."""

import functools
import json
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from kintsugi.deploy.observability.metrics import OF_HTTP, OF_NODES
from kintsugi.monitor.exporters import _GAUGES, _NAMED_GAUGES
from tests.k8s.chart import joined, values
from tests.k8s.manifests import (
    ROOT,
    cluster_of,
    environment,
    named,
    of_kind,
    read,
    render,
    service,
)

FOLDER = ROOT / "deploy" / "observability"
DASHBOARDS = sorted((FOLDER / "grafana").glob("*.json"))
# Labels of the operator, 1.7.
OPERATOR = {
    "kuberay_service_condition_ready",
    "kuberay_service_condition_upgrade_in_progress",
    "kuberay_job_deployment_status",
    "kuberay_service_info",
}


def rule_groups() -> list[dict[str, Any]]:
    groups: list[dict[str, Any]] = read(FOLDER / "prometheusrule.yaml")["spec"]["groups"]
    return groups


def rules() -> list[dict[str, Any]]:
    return [rule for group in rule_groups() for rule in group["rules"]]


def panels(path: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(path.read_text())["panels"]
    return found


def expressions() -> list[str]:
    of_panels = [
        target["expr"]
        for path in DASHBOARDS
        for panel in panels(path)
        for target in panel["targets"]
    ]
    return of_panels + [rule["expr"] for rule in rules()]


def metrics_used() -> set[str]:
    """Names without what Prometheus adds to counters and histograms."""
    text = "\n".join(re.sub(r"\{[^}]*\}", "", expression) for expression in expressions())
    names = set(re.findall(r"\b(?:ray|kintsugi|kuberay|autoscaler)_[a-z0-9_]+", text))
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in names}


@functools.cache
def metrics_of_serving() -> set[str]:
    """The metrics that deploy/ makes, as Ray exports them."""
    return {f"ray_{metric.name}" for metric in (*OF_HTTP, *OF_NODES)}


@functools.cache
def metrics_of_ray() -> set[str]:
    """Those that Ray's own dashboards use, or Serve's code makes."""
    import ray

    folder = Path(ray.__file__).parent
    dashboards = folder / "dashboard" / "modules" / "metrics" / "dashboards"
    text = "\n".join(path.read_text() for path in dashboards.glob("*.py"))
    found = set(re.findall(r"\bray_[a-z0-9_]+", text))
    serve = "\n".join(path.read_text() for path in (folder / "serve" / "_private").rglob("*.py"))
    found |= {f"ray_{name}" for name in re.findall(r'"(serve_[a-z0-9_]+)"', serve)}
    return {re.sub(r"_(total|bucket|sum|count)$", "", name) for name in found}


def metrics_of_training() -> set[str]:
    named_gauges = [*_GAUGES.values(), *_NAMED_GAUGES.values()]
    return {f"kintsugi_train_{name}" for name, _ in named_gauges}


def test_every_metric_exists() -> None:
    existing = metrics_of_serving() | metrics_of_ray() | metrics_of_training() | OPERATOR
    assert metrics_used() - existing == set()


def test_all_of_ours_is_shown() -> None:
    assert metrics_of_serving() | metrics_of_training() <= metrics_used()


@pytest.mark.parametrize("path", DASHBOARDS, ids=lambda path: path.stem)
def test_dashboards_can_be_imported(path: Path) -> None:
    dashboard = json.loads(path.read_text())
    assert dashboard["uid"] == f"kintsugi-{path.stem}"
    places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in panels(path)]
    assert len(set(places)) == len(places)
    assert len({panel["id"] for panel in panels(path)}) == len(places)
    for panel in panels(path):
        # The data source is chosen when it is imported.
        assert panel["datasource"]["uid"] == "${datasource}", panel["title"]
        assert panel["targets"], panel["title"]


def test_each_dashboard_is_a_config_map_that_grafana_finds() -> None:
    maps = of_kind(service("production"), "ConfigMap")
    found = {
        file: config["metadata"]
        for config in maps
        for file in config["data"]
        if file.endswith(".json")
    }
    assert set(found) == {path.name for path in DASHBOARDS}
    for metadata in found.values():
        assert metadata["labels"]["grafana_dashboard"] == "1"


def test_alerts_say_how_bad_it_is_and_what_to_do() -> None:
    names = [rule["alert"] for rule in rules()]
    assert len(set(names)) == len(names)
    for rule in rules():
        assert rule["labels"]["severity"] in ("warning", "critical"), rule["alert"]
        assert {"summary", "description"} <= rule["annotations"].keys(), rule["alert"]


def promtool(*arguments: str) -> str:
    """Run Prometheus' own tool. Returns what it printed; a missing program is a failure."""
    program = shutil.which("promtool")
    assert program is not None, "no program `promtool`: install Debian's package prometheus"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, timeout=280)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


@pytest.mark.parametrize("namespace", ["kintsugi", "staging"])
def test_prometheus_takes_the_rules(namespace: str, tmp_path: Path) -> None:
    documents = render(values("production"), "fill", namespace)
    (rule,) = of_kind(documents, "PrometheusRule")
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(rule["spec"]))
    assert f"{len(rules())} rules found" in promtool("check", "rules", str(file))
    text = file.read_text()
    # Nothing is said of another instance.
    assert set(re.findall(r'namespace="([^"]+)"', text)) == {namespace}
    assert set(re.findall(r"kubectl -n (\S+)", text)) == {namespace}


def test_each_incident_raises_its_alerts_and_no_others(tmp_path: Path) -> None:
    """Prometheus' own unit tests of the rules, as the chart renders them."""
    (rule,) = of_kind(service("production"), "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    given = read(Path(__file__).parent / "alerts.yaml")
    tests = []
    for name, incident in given["incidents"].items():
        series = given["healthy"] | incident["series"]
        tests.append(
            {
                "name": name,
                "interval": "1m",
                "input_series": [
                    {"series": each, "values": values} for each, values in series.items() if values
                ],
                "promql_expr_test": [
                    {
                        "expr": 'group by (alertname) (ALERTS{alertstate="firing"})',
                        "eval_time": incident.get("at", "4h"),
                        "exp_samples": [
                            {"labels": f'{{alertname="{alert}"}}', "value": 1}
                            for alert in incident["alerts"]
                        ],
                    }
                ],
            }
        )
    file = tmp_path / "tests.yaml"
    # Every rule is evaluated so often from the beginning: each minute takes a minute of processor.
    given_file = {"rule_files": ["rules.yaml"], "evaluation_interval": "3m", "tests": tests}
    file.write_text(yaml.safe_dump(given_file))
    assert "SUCCESS" in promtool("test", "rules", str(file))
    raised = {alert for incident in given["incidents"].values() for alert in incident["alerts"]}
    assert raised == {each["alert"] for each in rules()}


def test_without_a_service_nothing_waits_for_a_sign_of_one(tmp_path: Path) -> None:
    """A cluster that trains alone, between two jobs: no series at all, and no alert."""
    documents = render(joined(values("production"), {"serving": {"enabled": False}}))
    (rule,) = of_kind(documents, "PrometheusRule")
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(rule["spec"]))
    left = {each["alert"] for group in rule["spec"]["groups"] for each in group["rules"]}
    assert {"KintsugiJobFailed", "KintsugiTrainingStalled", "KintsugiTargetDown"} <= left
    test = {
        "interval": "1m",
        "input_series": [{"series": "up", "values": "1x60"}],
        "promql_expr_test": [
            {"expr": 'ALERTS{alertstate="firing"}', "eval_time": "1h", "exp_samples": []}
        ],
    }
    file = tmp_path / "tests.yaml"
    given = {"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}
    file.write_text(yaml.safe_dump(given))
    assert "SUCCESS" in promtool("test", "rules", str(file))


def test_what_the_operator_of_prometheus_selects_carries_its_label() -> None:
    """kube-prometheus-stack takes what has the name of its release, and finds nothing else."""
    label = {"monitoring": {"labels": {"release": "mine"}}}
    documents = render(joined(values("production"), label))
    found = of_kind(documents, "PodMonitor", "PrometheusRule")
    assert len(found) >= 3
    for document in found:
        assert document["metadata"]["labels"]["release"] == "mine", document["metadata"]["name"]


def test_monitors_select_the_pods_that_there_are() -> None:
    documents = service("production")
    pods = named(documents, "RayService", "kintsugi")["spec"]["rayClusterConfig"]
    templates = {"head": [pods["headGroupSpec"]["template"]]}
    templates["worker"] = [group["template"] for group in pods["workerGroupSpecs"]]
    for role, each in templates.items():
        monitor = named(documents, "PodMonitor", f"kintsugi-{role}s")
        wanted = monitor["spec"]["selector"]["matchLabels"]
        for template in each:
            # The operator adds the kind of node.
            assert (
                wanted.items()
                <= (template["metadata"]["labels"] | {"ray.io/node-type": role}).items()
            )


def test_the_edges_metrics_are_found_where_it_gives_any() -> None:
    """Its port is nginx.conf's affair; the container, a policy and a monitor follow."""
    documents = service("production")
    listens = "listen 8081;" in (ROOT / "deploy" / "edge" / "nginx.conf").read_text()
    deployment = named(documents, "Deployment", "kintsugi-edge")
    (nginx,) = deployment["spec"]["template"]["spec"]["containers"]
    assert (8081 in [port["containerPort"] for port in nginx["ports"]]) == listens
    monitors = {d["metadata"]["name"] for d in of_kind(documents, "PodMonitor")}
    assert ("kintsugi-edge" in monitors) == listens
    policy = named(documents, "NetworkPolicy", "kintsugi-edge")["spec"]["ingress"]
    # Those of Prometheus alone.
    of_metrics = [rule for rule in policy if rule["ports"] == [{"port": 8081}]]
    assert [list(rule) for rule in of_metrics] == ([["from", "ports"]] if listens else [])


def test_prometheus_finds_every_port_that_a_head_declares() -> None:
    documents = service("production")
    rayservice = named(documents, "RayService", "kintsugi")
    head = rayservice["spec"]["rayClusterConfig"]["headGroupSpec"]["template"]["spec"]
    declared = {port["name"] for port in head["containers"][0]["ports"]}
    monitor = named(documents, "PodMonitor", "kintsugi-heads")
    scraped = {endpoint["port"] for endpoint in monitor["spec"]["podMetricsEndpoints"]}
    # `metrics` is the operator's, `job-metrics` a training job's.
    assert {name for name in declared if name.endswith("metrics")} == scraped - {
        "metrics",
        "job-metrics",
    }


def test_a_head_declares_a_port_for_metrics_only_where_its_job_serves_any() -> None:
    """Prometheus scrapes what is declared; where nothing answers is a fault to it."""
    jobs = of_kind(environment("production"), "RayJob")
    assert {job["metadata"]["name"] for job in jobs} > {"kintsugi-pipeline"}
    for job in jobs:
        head = cluster_of(job)["headGroupSpec"]["template"]["spec"]["containers"][0]
        declared = "job-metrics" in {port["name"] for port in head["ports"]}
        assert declared == ("--metrics-port" in job["spec"]["entrypoint"]), job["metadata"]["name"]

"""What the operator refuses of a RayService, and Ray Serve of its `serveConfigV2`."""

import re
from typing import Any

import yaml

from tests.k8s.checker.clusters import check_cluster, check_managed_by
from tests.k8s.checker.report import Report
from tests.k8s.checker.runtime_env import check_runtime_env_keys
from tests.k8s.checker.schemas import Strict, explain
from tests.k8s.checker.values import Document, Path, dicts, dig, quantity
from tests.k8s.checker.yaml_reader import load_documents


def check_service(found: Report, doc: Document) -> None:
    spec, path, ann = dig(doc, "spec"), ("spec",), dig(doc, "metadata", "annotations")
    cs = dig(spec, "rayClusterConfig")
    check_cluster(found, cs, (*path, "rayClusterConfig"), ann, "RayService")
    check_managed_by(found, spec.get("managedBy"), path)
    if dig(cs, "headGroupSpec", "headService", "metadata", "name"):
        found.error(
            (*path, "rayClusterConfig", "headGroupSpec", "headService", "metadata", "name"),
            "must not be set in a RayService",
        )
    for k in ("serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"):
        if k in spec:
            found.warning((*path, k), "deprecated and unused")
    check_upgrade(found, spec, path, cs)
    t = dig(ann, "ray.io/initializing-timeout")
    if t and not re.match(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+\Z|[1-9]\d*\Z", str(t)):
        found.error(
            ("metadata", "annotations", "ray.io/initializing-timeout"),
            f"neither a Go duration nor seconds: {t!r}",
        )
    check_serve_config(found, spec.get("serveConfigV2"), (*path, "serveConfigV2"), cs)


def check_upgrade(found: Report, spec: Document, path: Path, cs: Document) -> None:
    up = dig(spec, "upgradeStrategy")
    kind = up.get("type")
    if kind not in (None, "NewCluster", "NewClusterWithIncrementalUpgrade", "None"):
        found.error((*path, "upgradeStrategy", "type"), f"unknown type {kind!r}")
    o, op = up.get("clusterUpgradeOptions"), (*path, "upgradeStrategy", "clusterUpgradeOptions")
    if kind == "NewClusterWithIncrementalUpgrade":
        if not found.gates["RayServiceIncrementalUpgrade"]:
            found.error(
                (*path, "upgradeStrategy", "type"),
                "needs the gate RayServiceIncrementalUpgrade",
            )
        if cs.get("enableInTreeAutoscaling") is not True:
            found.error(
                (*path, "rayClusterConfig", "enableInTreeAutoscaling"),
                "must be true for NewClusterWithIncrementalUpgrade",
            )
        if not isinstance(o, dict):
            found.error(op, "required for NewClusterWithIncrementalUpgrade")
        else:
            surge, step, sec = (
                o.get("maxSurgePercent", 100),
                o.get("stepSizePercent"),
                o.get("intervalSeconds"),
            )
            for k, v in (("maxSurgePercent", surge), ("stepSizePercent", step)):
                if isinstance(v, int) and not 0 <= v <= 100:
                    found.error((*op, k), "must be in 0..100")
            if isinstance(surge, int) and isinstance(step, int) and step > surge:
                found.error((*op, "stepSizePercent"), "over maxSurgePercent")
            if isinstance(sec, int) and sec <= 0:
                found.error((*op, "intervalSeconds"), "must be positive")
            if not o.get("gatewayClassName"):
                found.error((*op, "gatewayClassName"), "is empty")
    elif o is not None:
        found.warning(op, f"has no effect with type {kind}")


def check_serve_config(found: Report, text: Any, path: Path, cs: Document) -> None:
    if not isinstance(text, str) or not text.strip():
        return found.warning(path, "is empty: nothing is deployed")
    try:
        docs = load_documents(text)
    except yaml.YAMLError as e:
        return found.error(path, "not YAML: {}".format(str(e).replace("\n", " ")[:120]))
    if len(docs) != 1 or not isinstance(docs[0][1], dict):
        return found.error(path, "not one YAML mapping")
    _, conf, _, problems = docs[0]
    for p, _, msg in problems:
        found.error(path + p, msg)
    schema = found.schemas.get("serve_config")
    if schema:
        for refused in Strict(schema).iter_errors(conf):
            for p, msg in explain(refused):
                found.error(path + p, msg)
    routes: dict[Any, int] = {}
    names = set()
    for i, a in dicts(conf.get("applications")):
        ap = (*path, "applications", i)
        if a.get("name", "default") in names:
            found.error((*ap, "name"), "duplicate application {!r}".format(a.get("name")))
        names.add(a.get("name", "default"))
        rp = a.get("route_prefix", "/")
        if rp is not None and rp in routes:
            found.error((*ap, "route_prefix"), f"{rp!r} is also that of applications[{routes[rp]}]")
        routes[rp] = i
        if isinstance(a.get("runtime_env"), dict):
            check_runtime_env_keys(found, a["runtime_env"], (*ap, "runtime_env"))
        check_deployments(found, a, ap, cs)


def check_deployments(found: Report, a: Document, ap: Path, cs: Document) -> None:
    """Args: ``a``, ``ap``: an application and its path; ``cs``: the cluster that it runs on."""
    deps = set()
    for j, dep in dicts(a.get("deployments")):
        jp = (*ap, "deployments", j)
        if dep.get("name") in deps:
            found.error((*jp, "name"), "duplicate deployment {!r}".format(dep.get("name")))
        deps.add(dep.get("name"))
        asc = dep.get("autoscaling_config")
        if isinstance(asc, dict):
            lo, hi = asc.get("min_replicas", 1), asc.get("max_replicas", 1)
            if isinstance(lo, int) and isinstance(hi, int) and lo > hi:
                found.error(
                    (*jp, "autoscaling_config", "min_replicas"),
                    f"{lo} is over max_replicas {hi}",
                )
            if isinstance(dep.get("num_replicas"), int):
                found.error((*jp, "num_replicas"), "a number excludes autoscaling_config")
            t, m = asc.get("target_ongoing_requests", 2), dep.get("max_ongoing_requests", 5)
            if isinstance(t, (int, float)) and isinstance(m, int) and t > m:
                found.warning(
                    (*jp, "max_ongoing_requests"),
                    f"{m} is under target_ongoing_requests {t}: replicas cannot scale up",
                )
        need = dig(dep, "ray_actor_options", "num_gpus")
        if isinstance(need, (int, float)) and need > 0 and cs:
            most = max(
                [
                    quantity(v) or 0
                    for _, g in [*dicts(cs.get("workerGroupSpecs")), (0, dig(cs, "headGroupSpec"))]
                    for k, v in dig(
                        g, "template", "spec", "containers", 0, "resources", "limits"
                    ).items()
                    if k.endswith("/gpu")
                ]
                or [0]
            )
            if need > most:
                found.error(
                    (*jp, "ray_actor_options", "num_gpus"),
                    f"needs {need} GPUs, no pod of this RayService has more than {most:g}",
                )

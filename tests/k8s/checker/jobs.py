"""What the operator's validation.go and the CRDs' CEL refuse of a RayJob."""

import itertools
from typing import Any

from tests.k8s.checker.clusters import check_cluster, check_managed_by
from tests.k8s.checker.pods import check_pod
from tests.k8s.checker.report import Report
from tests.k8s.checker.runtime_env import check_runtime_env
from tests.k8s.checker.values import Document, Path, dicts, dig


def check_job(found: Report, spec: Document, path: Path, ann: Document) -> None:
    mode, sel, cs = (
        spec.get("submissionMode", "K8sJobMode"),
        spec.get("clusterSelector"),
        spec.get("rayClusterSpec"),
    )
    shut, ttl, ds = (
        spec.get("shutdownAfterJobFinishes") is True,
        spec.get("ttlSecondsAfterFinished", 0),
        spec.get("deletionStrategy"),
    )
    if mode not in ("K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"):
        found.error((*path, "submissionMode"), f"unknown mode {mode!r}")
    if spec.get("suspend") and not shut:
        found.error((*path, "suspend"), "needs shutdownAfterJobFinishes: true")
    if spec.get("suspend") and sel:
        found.error((*path, "suspend"), "not with clusterSelector")
    if isinstance(ttl, int) and (ttl < 0 or (ttl > 0 and not shut)):
        found.error(
            (*path, "ttlSecondsAfterFinished"),
            "must not be negative" if ttl < 0 else "needs shutdownAfterJobFinishes: true",
        )
    for k in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
        if isinstance(spec.get(k), int) and spec[k] <= 0:
            found.error((*path, k), "must be positive")
    back = spec.get("backoffLimit", 0)
    if isinstance(back, int):
        if back < 0:
            found.error((*path, "backoffLimit"), "must not be negative")
        if back > 0 and (sel or mode == "InteractiveMode"):
            found.error(
                (*path, "backoffLimit"),
                "not with %s" % ("clusterSelector" if sel else "InteractiveMode"),
            )
    if not cs and not sel:
        found.error(path, "one of rayClusterSpec and clusterSelector is needed")
    if sel and not dig(sel, "ray.io/cluster"):
        found.error((*path, "clusterSelector"), "needs the key ray.io/cluster")
    if mode == "SidecarMode":
        for k in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
            if spec.get(k) is not None:
                found.error((*path, k), "not with SidecarMode")
        if dig(cs, "headGroupSpec", "template", "spec", "restartPolicy") not in ({}, "", "Never"):
            found.error(
                (*path, "rayClusterSpec", "headGroupSpec", "template", "spec", "restartPolicy"),
                "must be Never or unset with SidecarMode",
            )
    own = dig(spec, "submitterPodTemplate", "spec", "containers", 0)
    if (
        mode != "InteractiveMode"
        and not str(spec.get("entrypoint") or "").strip()
        and not (own.get("command") or own.get("args"))
    ):
        found.error((*path, "entrypoint"), "is empty")
    check_managed_by(found, spec.get("managedBy"), path)
    if isinstance(ds, dict):
        check_deletion(found, spec, path, ds)
    check_runtime_env(found, spec.get("runtimeEnvYAML"), (*path, "runtimeEnvYAML"))
    if isinstance(spec.get("submitterPodTemplate"), dict):
        check_pod(found, spec["submitterPodTemplate"], (*path, "submitterPodTemplate"), ray=True)
        rp = dig(spec, "submitterPodTemplate", "spec", "restartPolicy")
        if rp not in ("OnFailure", "Never"):
            found.error(
                (*path, "submitterPodTemplate", "spec", "restartPolicy"),
                "must be OnFailure or Never (it becomes a batch/v1 Job)",
            )
    if isinstance(cs, dict):
        check_cluster(found, cs, (*path, "rayClusterSpec"), ann, "RayJob")


def check_deletion(found: Report, spec: Document, path: Path, ds: Document) -> None:
    """Args: ``ds``: the job's deletionStrategy."""
    sel, cs = spec.get("clusterSelector"), spec.get("rayClusterSpec")
    shut = spec.get("shutdownAfterJobFinishes") is True
    dp, rules, legacy = (
        (*path, "deletionStrategy"),
        dicts(ds.get("deletionRules")),
        [k for k in ("onSuccess", "onFailure") if ds.get(k) is not None],
    )
    if not found.gates["RayJobDeletionPolicy"]:
        found.error(dp, "needs the gate RayJobDeletionPolicy")
    if legacy and rules:
        found.error(dp, "onSuccess/onFailure and deletionRules exclude each other")
    if not rules and len(legacy) != 2:
        found.error(dp, "needs deletionRules, or both onSuccess and onFailure")
    if legacy:
        found.warning(dp, "onSuccess/onFailure are deprecated; use deletionRules")
    if rules and shut:
        found.error((*path, "shutdownAfterJobFinishes"), "excludes deletionStrategy.deletionRules")
    auto = dig(cs, "enableInTreeAutoscaling") is True
    ttls: dict[tuple[str, Any], dict[Any, tuple[Any, Path]]] = {}
    for i, r in rules:
        rp, cond, pol = (*dp, "deletionRules", i), dig(r, "condition"), r.get("policy")
        on = [k for k in ("jobStatus", "jobDeploymentStatus") if cond.get(k)]
        if len(on) != 1:
            found.error(
                (*rp, "condition"),
                "exactly one of jobStatus and jobDeploymentStatus is needed",
            )
            continue
        if sel and pol in ("DeleteCluster", "DeleteWorkers"):
            found.error((*rp, "policy"), f"{pol} is not possible with clusterSelector")
        if auto and pol == "DeleteWorkers":
            found.error((*rp, "policy"), "DeleteWorkers is not possible with the autoscaler")
        key = (on[0], cond[on[0]])
        if pol in ttls.setdefault(key, {}):
            found.error(rp, f"duplicate rule for {pol} {cond[on[0]]}")
        ttls[key][pol] = (cond.get("ttlSeconds", 0), rp)
    for by in ttls.values():
        order = [by[p] for p in ("DeleteWorkers", "DeleteCluster", "DeleteSelf") if p in by]
        for a, b in itertools.pairwise(order):
            if b[0] < a[0]:
                found.error(
                    b[1] + ("condition", "ttlSeconds"),
                    f"{b[0]} is earlier than the {a[0]} of a smaller deletion",
                )

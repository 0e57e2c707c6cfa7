"""What the operator's validation.go and the CRDs' CEL refuse of a RayCluster."""

import re
from dataclasses import dataclass
from typing import Any

from tests.k8s.checker.pods import check_labels, check_pod
from tests.k8s.checker.report import Report
from tests.k8s.checker.values import Document, Path, dicts, dig, version_of

_AUTOSCALER_V2 = "RAY_enable_autoscaler_v2"


def env_of(template: Any, name: str) -> Document | None:
    """A variable of the first container."""
    return next(
        (
            e
            for _, e in dicts(dig(template, "spec", "containers", 0, "env"))
            if e.get("name") == name
        ),
        None,
    )


@dataclass(frozen=True)
class Cluster:
    """The specification of a RayCluster, of its own or in another kind.

    Attributes:
        found: Where findings go.
        spec: The specification.
        path: Where it stands in its document.
        annotations: Of the document.
        owner: The document's kind.
    """

    found: Report
    spec: Document
    path: Path
    annotations: Document
    owner: str

    @property
    def head(self) -> Document:
        return dig(self.spec, "headGroupSpec")

    @property
    def workers(self) -> list[tuple[int, Document]]:
        return dicts(self.spec.get("workerGroupSpecs"))

    @property
    def version(self) -> tuple[int, ...] | None:
        """Ray's."""
        return version_of(self.spec.get("rayVersion"))

    @property
    def autoscales(self) -> bool:
        return self.spec.get("enableInTreeAutoscaling") is True

    @property
    def autoscaler(self) -> Document:
        return dig(self.spec, "autoscalerOptions")

    @property
    def says_v2(self) -> bool:
        """The operator reads this alone; Ray itself has v2 as its default since 2.47."""
        return self.autoscaler.get("version") == "v2"

    @property
    def sets_v2(self) -> bool:
        """Whether the head's environment has the autoscaler v2."""
        variable = self.head_env(_AUTOSCALER_V2)
        return variable is not None and str(variable.get("value")) in ("1", "true")

    def head_env(self, name: str) -> Document | None:
        return env_of(self.head.get("template"), name)


def check_cluster(
    found: Report, spec: Document, path: Path, ann: Document, owner: str = "RayCluster"
) -> None:
    c = Cluster(found, spec, path, ann, owner)
    check_groups(c)
    for i, w in c.workers:
        check_worker_group(c, i, w)
    check_fault_tolerance(c)
    check_autoscaler(c)
    check_authentication(c)
    for field, gate in (
        ("networkPolicy", "RayClusterNetworkPolicy"),
        ("tlsOptions", "RayClusterMTLS"),
        ("historyServerOptions", "RayClusterHistoryServer"),
    ):
        if spec.get(field) is not None and not found.gates[gate]:
            found.error((*path, field), f"needs the operator's feature gate {gate}")
    check_network_policy(c)
    if dig(spec, "upgradeStrategy", "type") and owner != "RayCluster":
        found.error(
            (*path, "upgradeStrategy"), f"only in a RayCluster of its own, not in a {owner}"
        )
    mb = spec.get("managedBy")
    check_managed_by(found, mb, path)


def check_groups(c: Cluster) -> None:
    found, path, spec, rv = c.found, c.path, c.spec, c.version
    groups: list[tuple[Path, Document]] = [((*path, "headGroupSpec"), c.head)]
    groups += [((*path, "workerGroupSpecs", i), w) for i, w in c.workers]
    for gp, g in groups:
        params, res = dig(g, "rayStartParams"), dig(g, "resources")
        if res and any(params.get(k) for k in ("num-cpus", "num-gpus", "memory", "resources")):
            found.error(
                (*gp, "resources"), "resources are also set in rayStartParams; use only one"
            )
        if "labels" in params:
            found.error(
                (*gp, "rayStartParams", "labels"), "not supported; use the group's labels field"
            )
        check_labels(found, g.get("labels"), (*gp, "labels"))
        if isinstance(g.get("template"), dict):
            check_pod(found, g["template"], (*gp, "template"), ray=True)
        rp = dig(g, "template", "spec", "restartPolicy")
        if c.autoscales and c.says_v2 and rp not in ({}, "", "Never"):
            found.error(
                (*gp, "template", "spec", "restartPolicy"),
                "must be Never or unset with autoscaler v2",
            )
        img = dig(g, "template", "spec", "containers", 0, "image")
        tag = (
            version_of(img.rsplit(":", 1)[1])
            if isinstance(img, str) and ":" in img and re.search(r"(^|/)ray(-ml|-llm)?:", img)
            else None
        )
        if tag and rv and tag != rv:
            found.warning(
                (*gp, "template", "spec", "containers", 0, "image"),
                "image is Ray {}, rayVersion is {}".format(
                    ".".join(map(str, tag)), spec.get("rayVersion")
                ),
            )


def check_worker_group(c: Cluster, i: int, w: Document) -> None:
    found, path, rv, auto = c.found, c.path, c.version, c.autoscales
    v2on = c.says_v2 or c.sets_v2
    seen = {other.get("groupName") for j, other in c.workers if j < i}
    wp, lo, hi = (
        (*path, "workerGroupSpecs", i),
        w.get("minReplicas", 0),
        w.get("maxReplicas", 2**31 - 1),
    )
    if w.get("groupName") in seen:
        found.error((*wp, "groupName"), "duplicate group {!r}".format(w.get("groupName")))
    seen.add(w.get("groupName"))
    ints = [x for x in (lo, hi, w.get("replicas", lo)) if isinstance(x, int)]
    if any(x < 0 for x in ints):
        found.error(wp, "negative number of replicas")
    if isinstance(lo, int) and isinstance(hi, int):
        if lo > hi:
            found.error((*wp, "minReplicas"), f"{lo} is over maxReplicas {hi}")
        elif isinstance(w.get("replicas"), int) and not lo <= w["replicas"] <= hi:
            found.warning(
                (*wp, "replicas"),
                f"{w['replicas']} is outside minReplicas..maxReplicas ({lo}..{hi})",
            )
    if auto and "maxReplicas" not in w:
        found.warning(wp, "no maxReplicas: the autoscaler may go to 2147483647")
    if "idleTimeoutSeconds" in w:
        if isinstance(w["idleTimeoutSeconds"], int) and w["idleTimeoutSeconds"] < 0:
            found.error((*wp, "idleTimeoutSeconds"), "must not be negative")
        if not v2on:
            found.error((*wp, "idleTimeoutSeconds"), "needs autoscalerOptions.version: v2")
    if w.get("priority"):
        if not rv or rv < (2, 56, 0):
            found.error((*wp, "priority"), "needs rayVersion 2.56.0 or later")
        if not v2on:
            found.error((*wp, "priority"), "needs autoscalerOptions.version: v2")
    if w.get("suspend") and (auto or not found.gates["RayJobDeletionPolicy"]):
        found.error(
            (*wp, "suspend"),
            "not with the autoscaler" if auto else "needs the gate RayJobDeletionPolicy",
        )
    if dig(w, "scaleStrategy", "workersToDelete"):
        found.warning(
            (*wp, "scaleStrategy", "workersToDelete"),
            "the autoscaler's own field; leave it out of manifests",
        )


def check_fault_tolerance(c: Cluster) -> None:
    found, path, spec, ann, head = c.found, c.path, c.spec, c.annotations, c.head
    ft = spec.get("gcsFaultToleranceOptions")
    if ft is not None:
        if dig(ann, "ray.io/ft-enabled"):
            found.error(
                ("metadata", "annotations", "ray.io/ft-enabled"),
                "conflicts with gcsFaultToleranceOptions",
            )
        if dig(ann, "ray.io/external-storage-namespace"):
            found.error(
                ("metadata", "annotations", "ray.io/external-storage-namespace"),
                "use gcsFaultToleranceOptions.externalStorageNamespace",
            )
        if dig(head, "rayStartParams", "redis-password"):
            found.error(
                (*path, "headGroupSpec", "rayStartParams", "redis-password"),
                "use gcsFaultToleranceOptions.redisPassword",
            )
        for n in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS"):
            if c.head_env(n):
                found.error(
                    (*path, "headGroupSpec", "template", "spec", "containers", 0, "env"),
                    f"{n}: use gcsFaultToleranceOptions",
                )
        fp, rocks = (*path, "gcsFaultToleranceOptions"), ft.get("backend") == "rocksdb"
        if rocks:
            if not found.gates["GCSFaultToleranceEmbeddedStorage"]:
                found.error(
                    (*fp, "backend"), "rocksdb needs the gate GCSFaultToleranceEmbeddedStorage"
                )
            for k in (
                "redisAddress",
                "redisUsername",
                "redisPassword",
                "externalStorageNamespace",
            ):
                if ft.get(k):
                    found.error((*fp, k), "not with backend rocksdb")
            st = dig(ft, "storage")
            if st.get("claimName") and any(
                st.get(k) for k in ("size", "storageClassName", "accessModes")
            ):
                found.error(
                    (*fp, "storage", "claimName"),
                    "excludes size, storageClassName and accessModes",
                )
        elif ft.get("storage") is not None:
            found.error((*fp, "storage"), "only with backend rocksdb")
        for k in ("redisPassword", "redisUsername"):
            if dig(ft, k).get("value"):
                found.warning(
                    (*fp, k, "value"),
                    "a plain credential in a manifest; use valueFrom.secretKeyRef",
                )
    elif c.head_env("RAY_REDIS_ADDRESS") and str(dig(ann, "ray.io/ft-enabled")).lower() != "true":
        found.error(
            (*path, "headGroupSpec", "template", "spec", "containers", 0, "env"),
            "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions",
        )
    if c.head_env("REDIS_USERNAME") or dig(head, "rayStartParams", "redis-username"):
        found.error(
            (*path, "headGroupSpec"),
            "set the redis username in gcsFaultToleranceOptions.redisUsername",
        )


def check_autoscaler(c: Cluster) -> None:
    found, path, opts, auto = c.found, c.path, c.autoscaler, c.autoscales
    if c.sets_v2 and not auto:
        found.error(
            (*path, "enableInTreeAutoscaling"),
            "RAY_enable_autoscaler_v2 is set but the autoscaler is off",
        )
    if auto and opts.get("version") and c.head_env(_AUTOSCALER_V2):
        found.error(
            (*path, "autoscalerOptions", "version"),
            "also set by RAY_enable_autoscaler_v2 in the head pod",
        )
    if isinstance(opts.get("idleTimeoutSeconds"), int) and opts["idleTimeoutSeconds"] < 0:
        found.error((*path, "autoscalerOptions", "idleTimeoutSeconds"), "must not be negative")
    if any(e.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD" for _, e in dicts(opts.get("env"))):
        found.error(
            (*path, "autoscalerOptions", "env"),
            "KUBERAY_GEN_AUTOSCALER_START_CMD is the operator's own",
        )
    if opts and not auto:
        found.warning(
            (*path, "autoscalerOptions"), "has no effect: enableInTreeAutoscaling is not true"
        )


def check_authentication(c: Cluster) -> None:
    found, path, spec, rv, owner = c.found, c.path, c.spec, c.version, c.owner
    auth, ap = dig(spec, "authOptions"), (*path, "authOptions")
    if auth.get("mode") == "token":
        if not rv or rv < (2, 52, 0):
            found.error((*ap, "mode"), "token needs rayVersion 2.52.0 or later")
        if auth.get("enableK8sTokenAuth"):
            if rv and rv < (2, 55, 0):
                found.error((*ap, "enableK8sTokenAuth"), "needs rayVersion 2.55.0 or later")
            if auth.get("secretName"):
                found.error((*ap, "secretName"), "not with enableK8sTokenAuth")
    elif auth.get("enableK8sTokenAuth"):
        found.error((*ap, "enableK8sTokenAuth"), "needs mode: token")
    if auth.get("enableK8sTokenAuth") and owner in ("RayJob", "RayService"):
        found.error((*ap, "enableK8sTokenAuth"), f"not supported in a {owner}")


def check_network_policy(c: Cluster) -> None:
    found, path, spec = c.found, c.path, c.spec
    seen = {w.get("groupName") for _, w in c.workers}
    np = spec.get("networkPolicy")
    if isinstance(np, dict):
        mode = np.get("mode", "DenyAll")
        parts = [(("head",), dig(np, "head")), (("worker",), dig(np, "worker"))] + [
            (("workerGroups", i), g) for i, g in dicts(np.get("workerGroups"))
        ]
        for p, rules in parts:
            bad = {"DenyAllEgress": "ingressRules", "DenyAllIngress": "egressRules"}.get(mode)
            if bad and rules.get(bad):
                found.error((*path, "networkPolicy", *p, bad), f"has no meaning in mode {mode}")
            if mode != "DenyAllIngress" and not rules.get("egressRules") and p[0] != "workerGroups":
                found.warning(
                    (*path, "networkPolicy", *p),
                    f"mode {mode} without a DNS egress rule: the cluster cannot start",
                )
            if p[0] == "workerGroups" and rules.get("groupName") not in seen:
                found.error((*path, "networkPolicy", *p, "groupName"), "no such worker group")


def check_managed_by(found: Report, mb: Any, path: Path) -> None:
    if mb is not None and mb not in ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"):
        found.error(
            (*path, "managedBy"),
            "must be ray.io/kuberay-operator or kueue.x-k8s.io/multikueue",
        )

"""Rules of pods that no schema states: of a Ray kind only its operator applies them."""

from typing import Any

from tests.k8s.checker.report import Report
from tests.k8s.checker.schemas import explain
from tests.k8s.checker.values import (
    DNS1035,
    DNS1123,
    LABEL_NAME,
    LABEL_VALUE,
    PORT_NAME,
    SUBDOMAIN,
    Document,
    Path,
    dicts,
    dig,
    quantity,
)

# Enumerations that neither the CRDs nor the published OpenAPI carry.
ENUMS = {
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "dnsPolicy": {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
    "protocol": {"TCP", "UDP", "SCTP"},
}


def check_labels(found: Report, found_labels: Any, path: Path) -> None:
    for k, v in found_labels.items() if isinstance(found_labels, dict) else ():
        prefix, _, name = k.rpartition("/")
        if not LABEL_NAME.match(name) or (
            prefix and (len(prefix) > 253 or not SUBDOMAIN.match(prefix))
        ):
            found.error((*path, k), "not a valid label key")
        if isinstance(v, str) and not LABEL_VALUE.match(v):
            found.error((*path, k), f"not a valid label value: {v!r}")


def check_metadata(found: Report, doc: Document) -> None:
    m, kind = dig(doc, "metadata"), str(doc.get("kind"))
    if not isinstance(m, dict):
        return
    check_labels(found, m.get("labels"), ("metadata", "labels"))
    name = m.get("name")
    limit = {"RayCluster": 53, "RayJob": 47, "RayService": 47, "RayCronJob": 36}.get(kind)
    if isinstance(name, str) and limit:
        if len(name) > limit:
            found.error(("metadata", "name"), f"{kind} name is longer than {limit} characters")
        if not DNS1035.match(name):
            found.error(("metadata", "name"), f"not a DNS-1035 label: {name!r}")
    elif (
        isinstance(name, str)
        and not SUBDOMAIN.match(name)
        and "rbac" not in str(doc.get("apiVersion"))
    ):
        found.error(("metadata", "name"), f"not a DNS-1123 subdomain: {name!r}")


def check_pod(found: Report, tpl: Document, path: Path, ray: bool = False) -> None:
    """Args: ``ray``: Whether the pod is of a Ray kind, and so of no kind with a schema."""
    spec, sp = dig(tpl, "spec"), (*path, "spec")
    if not isinstance(spec, dict):
        return
    check_labels(found, dig(tpl, "metadata", "labels"), (*path, "metadata", "labels"))
    if ray:
        v = found.core.validator("v1", "Pod")
        for e in v.iter_errors(
            {"apiVersion": "v1", "kind": "Pod", "metadata": dig(tpl, "metadata"), "spec": spec}
        ):
            for p, msg in explain(e):
                found.error(path + p, "as a Pod: " + msg, dedup=True)
    names: set[str] = set()
    volumes = check_volumes(found, spec, sp)
    if not spec.get("containers"):
        found.error((*sp, "containers"), "at least one container is required")
    for group in ("initContainers", "containers"):
        for i, c in dicts(spec.get(group)):
            check_container(found, c, (*sp, group, i), volumes, names, ray)
    check_scheduling(found, spec, sp)
    check_enums(found, spec, sp)
    check_seccomp(found, spec.get("securityContext"), (*sp, "securityContext"))


def check_volumes(found: Report, spec: Document, sp: Path) -> set[Any]:
    """Returns: their names."""
    volumes = set()
    for i, v in dicts(spec.get("volumes")):
        n, vp = v.get("name"), (*sp, "volumes", i)
        if n in volumes:
            found.error(vp, f"duplicate volume {n!r}")
        if isinstance(n, str) and (len(n) > 63 or not DNS1123.match(n)):
            found.error((*vp, "name"), f"not a DNS-1123 label: {n!r}")
        volumes.add(n)
        if len(set(v) - {"name"}) > 1:
            found.error(
                vp, "more than one volume source: {}".format(", ".join(sorted(set(v) - {"name"})))
            )
        ed = v.get("emptyDir")
        if isinstance(ed, dict):
            if ed.get("medium") not in (None, "", "Memory") and not str(
                ed.get("medium")
            ).startswith("HugePages"):
                found.error(
                    (*vp, "emptyDir", "medium"), "unknown medium {!r}".format(ed.get("medium"))
                )
            if "sizeLimit" in ed and quantity(ed["sizeLimit"]) is None:
                found.error(
                    (*vp, "emptyDir", "sizeLimit"), "not a quantity: {!r}".format(ed["sizeLimit"])
                )
    return volumes


def check_scheduling(found: Report, spec: Document, sp: Path) -> None:
    for i, t in dicts(spec.get("tolerations")):
        tp = (*sp, "tolerations", i)
        if t.get("operator") not in (None, "", "Exists", "Equal", "Lt", "Gt"):
            found.error((*tp, "operator"), "unknown operator {!r}".format(t.get("operator")))
        if t.get("operator") == "Exists" and t.get("value"):
            found.error((*tp, "value"), "must be empty when operator is Exists")
        if t.get("effect") not in (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"):
            found.error((*tp, "effect"), "unknown effect {!r}".format(t.get("effect")))
    for i, t in dicts(spec.get("topologySpreadConstraints")):
        if t.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
            found.error(
                (*sp, "topologySpreadConstraints", i, "whenUnsatisfiable"),
                "unknown value {!r}".format(t.get("whenUnsatisfiable")),
            )


def check_enums(found: Report, x: Document, path: Path) -> None:
    for k, allowed in ENUMS.items():
        if isinstance(x.get(k), str) and x[k] not in allowed:
            found.error(
                (*path, k), "{!r} is not one of {}".format(x[k], ", ".join(sorted(allowed)))
            )


def check_seccomp(found: Report, sc: Any, path: Path) -> None:
    t = dig(sc, "seccompProfile", "type")
    if t and t not in ("RuntimeDefault", "Unconfined", "Localhost"):
        found.error((*path, "seccompProfile", "type"), f"unknown profile type {t!r}")


def check_container(
    found: Report, c: Document, path: Path, volumes: set[Any], names: set[str], ray: bool
) -> None:
    n = c.get("name")
    if isinstance(n, str):
        if not DNS1123.match(n) or len(n) > 63:
            found.error((*path, "name"), f"not a DNS-1123 label: {n!r}")
        if n in names:
            found.error((*path, "name"), f"duplicate container name {n!r}")
        names.add(n)
    if not c.get("image"):
        found.error(path, "required field 'image' is missing")
    check_enums(found, c, path)
    check_seccomp(found, c.get("securityContext"), (*path, "securityContext"))
    sc = dig(c, "securityContext")
    if sc.get("privileged") and sc.get("allowPrivilegeEscalation") is False:
        found.error(
            (*path, "securityContext", "allowPrivilegeEscalation"),
            "cannot be false when privileged is true",
        )
    check_mounts(found, c, path, volumes)
    check_ports(found, c, path)
    for i, e in dicts(c.get("env")):
        if "value" in e and e.get("valueFrom"):
            found.error((*path, "env", i), "both value and valueFrom")
    check_probes(found, c, path)
    check_resources(found, c, path)


def check_mounts(found: Report, c: Document, path: Path, volumes: set[Any]) -> None:
    mounts = set()
    for i, m in dicts(c.get("volumeMounts")):
        if m.get("name") not in volumes:
            found.error(
                (*path, "volumeMounts", i, "name"),
                "no volume named {!r} in this pod".format(m.get("name")),
            )
        if m.get("mountPath") in mounts:
            found.error(
                (*path, "volumeMounts", i, "mountPath"),
                "mounted twice: {!r}".format(m.get("mountPath")),
            )
        mounts.add(m.get("mountPath"))


def check_ports(found: Report, c: Document, path: Path) -> None:
    ports = set()
    for i, p in dicts(c.get("ports")):
        pn = p.get("name")
        if isinstance(pn, str):
            if not PORT_NAME.match(pn):
                found.error(
                    (*path, "ports", i, "name"),
                    f"not a port name (at most 15 of a-z, 0-9, -): {pn!r}",
                )
            if pn in ports:
                found.error((*path, "ports", i, "name"), f"duplicate port name {pn!r}")
            ports.add(pn)
        if isinstance(p.get("containerPort"), int) and not 0 < p["containerPort"] < 65536:
            found.error((*path, "ports", i, "containerPort"), "out of range")
        check_enums(found, p, (*path, "ports", i))


def check_probes(found: Report, c: Document, path: Path) -> None:
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(c.get(probe), dict):
            how = [
                h for h in ("exec", "httpGet", "tcpSocket", "grpc") if c[probe].get(h) is not None
            ]
            if len(how) != 1:
                found.error(
                    (*path, probe),
                    f"exactly one of exec, httpGet, tcpSocket, grpc is needed, found {len(how)}",
                )
            if probe != "readinessProbe" and c[probe].get("successThreshold", 1) != 1:
                found.error((*path, probe, "successThreshold"), "must be 1")


def check_resources(found: Report, c: Document, path: Path) -> None:
    r = dig(c, "resources")
    lim, req = dig(r, "limits"), dig(r, "requests")
    for part, q in (("limits", lim), ("requests", req)):
        for k, v in q.items() if isinstance(q, dict) else ():
            amount = quantity(v)
            if amount is None:
                found.error((*path, "resources", part, k), f"not a quantity: {v!r}")
            elif amount < 0:
                found.error((*path, "resources", part, k), "negative quantity")
            elif k in ("memory", "ephemeral-storage") and isinstance(v, str) and v.endswith("m"):
                found.error(
                    (*path, "resources", part, k),
                    f"{v!r} is thousandths of a byte; did you mean {v[:-1]!r}Mi?",
                )
            elif (
                "/" not in k
                and k not in ("cpu", "memory", "ephemeral-storage")
                and not k.startswith("hugepages-")
            ):
                found.error((*path, "resources", part, k), "not a standard resource name")
    for k in req if isinstance(req, dict) else ():
        a, b = quantity(req[k]), quantity(lim.get(k)) if isinstance(lim, dict) else None
        if a is not None and b is not None and a > b:
            found.error(
                (*path, "resources", "requests", k),
                f"request {req[k]} is over the limit {lim[k]}",
            )
        if "/" in k and not k.startswith("kubernetes.io/") and a != b:
            found.error(
                (*path, "resources", "requests", k),
                "an extended resource's request must equal its limit ({}, {})".format(
                    req[k], dig(lim, k) or "no limit"
                ),
            )
    for k, v in lim.items() if isinstance(lim, dict) else ():
        if "/" in k and (quantity(v) or 0) % 1:
            found.error(
                (*path, "resources", "limits", k), f"an extended resource must be whole: {v}"
            )

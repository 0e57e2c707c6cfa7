#!/usr/bin/env python3
"""Validate Kubernetes and KubeRay manifests offline and strictly.

usage: check_manifests.py [options] FILE_OR_DIR ...

Prints one line a finding,  file:document:path: message (line N),  and exits 1 if there is any error.
  Ray*            the strict schemas next to this script (unknown fields are errors), then the rules that the
                  API server's CEL and the operator's own validation.go apply, then every pod template
  CRDs            any other <plural>.json with x-kubernetes-gvk that lies in the schema folder
  core kinds      the package kubernetes-validate, where installed (its schemas are inside the package)
  serveConfigV2   serve_config.json, a strict form of Ray Serve's own schema (Ray itself ignores unknown keys)
Needs PyYAML and jsonschema; kubernetes-validate is optional (--require-core makes its absence an error).
"""

import argparse
import difflib
import json
import os
import re
import sys

import jsonschema
import yaml

HERE = os.path.dirname(os.path.abspath(__file__))
# operator feature gates and their defaults: ray-operator/pkg/features/features.go, v1.7.0
GATES = {
    "RayClusterStatusConditions": True,
    "RayJobDeletionPolicy": True,
    "RayMultiHostIndexing": True,
    "RayServiceIncrementalUpgrade": True,
    "RayCronJob": False,
    "SidecarSubmitterRestart": False,
    "RayClusterNetworkPolicy": False,
    "GCSFaultToleranceEmbeddedStorage": False,
    "RayClusterMTLS": False,
    "RayClusterHistoryServer": False,
    "KubernetesWAS": False,
}
RUNTIME_ENV = {
    "working_dir",
    "py_modules",
    "py_executable",
    "worker_process_setup_hook",
    "java_jars",
    "excludes",
    "pip",
    "uv",
    "conda",
    "container",
    "image_uri",
    "env_vars",
    "config",
    "nsight",
    "rocprof-sys",
    "_nsight",
    "mpi",
    "eager_install",
}
DNS1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?\Z")
LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]\Z")
QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")
SUFFIX = {
    None: 1,
    "": 1,
    "n": 1e-9,
    "u": 1e-6,
    "m": 1e-3,
    "k": 1e3,
    "M": 1e6,
    "G": 1e9,
    "T": 1e12,
    "P": 1e15,
    "E": 1e18,
    "Ki": 2**10,
    "Mi": 2**20,
    "Gi": 2**30,
    "Ti": 2**40,
    "Pi": 2**50,
    "Ei": 2**60,
}
ENUMS = {  # enumerations that neither the CRDs nor the published OpenAPI carry
    "restartPolicy": {"Always", "OnFailure", "Never"},
    "imagePullPolicy": {"Always", "IfNotPresent", "Never"},
    "dnsPolicy": {"ClusterFirst", "ClusterFirstWithHostNet", "Default", "None"},
    "terminationMessagePolicy": {"File", "FallbackToLogsOnError"},
    "protocol": {"TCP", "UDP", "SCTP"},
}


# ---------------------------------------------------------------- YAML, as the Go tools read it
class Loader(getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
    """YAML without timestamps and base-60 numbers, which kubectl's parser leaves as strings."""


Loader.yaml_implicit_resolvers = {
    c: [(t, r) for t, r in rs if not t.endswith((":timestamp", ":int", ":float", ":value"))]
    for c, rs in Loader.yaml_implicit_resolvers.items()
}
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:int",
    re.compile(r"[-+]?(0b[01_]+|0o?[0-7_]+|0x[0-9a-fA-F_]+|0|[1-9][0-9_]*)\Z"),
    list("-+0123456789"),
)
Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float",
    re.compile(
        r"([-+]?(\d[\d_]*)?\.\d+([eE][-+]?\d+)?|[-+]?\d[\d_]*(\.\d*)?[eE][-+]?\d+|[-+]?\d[\d_]*\.|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN))\Z"
    ),
    list("-+0123456789."),
)


def build(node, path, lines, problems, ctor):
    """Node -> plain objects; notes each path's line, refuses duplicate keys."""
    lines[path] = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        out, merges = {}, []
        for kn, vn in node.value:
            if kn.tag.endswith(":merge"):
                for m in vn.value if isinstance(vn, yaml.SequenceNode) else [vn]:
                    merges.append(build(m, path, {}, problems, ctor))
                continue
            if not isinstance(kn, yaml.ScalarNode):
                problems.append(
                    (
                        path,
                        kn.start_mark.line + 1,
                        "a key that is not a scalar (an unquoted {{ template }}?)",
                    )
                )
                continue
            k = kn.value
            if k in out:
                problems.append((path + (k,), kn.start_mark.line + 1, "duplicate key"))
            out[k] = build(vn, path + (k,), lines, problems, ctor)
            lines[path + (k,)] = kn.start_mark.line + 1
        for m in merges:
            for k, v in m.items():
                out.setdefault(k, v)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [build(c, path + (i,), lines, problems, ctor) for i, c in enumerate(node.value)]
    if node.tag.endswith((":int", ":float")):
        text = node.value.replace("_", "")
        if node.tag.endswith(":float"):
            return float(
                text.replace(".inf", "inf")
                .replace(".Inf", "inf")
                .replace(".INF", "inf")
                .lstrip("+")
            )
        sign, body = (-1, text[1:]) if text[0] == "-" else (1, text.lstrip("+"))
        if body[:2] in ("0b", "0x", "0o"):
            return sign * int(body, 0)
        return sign * (int(body, 8) if len(body) > 1 and body[0] == "0" else int(body))
    return ctor.construct_object(node, deep=True)


def load_documents(text):
    """[(document number, data, lines, problems)]"""
    loader, out, n = Loader(text), [], 0
    try:
        while loader.check_node():
            n += 1
            lines, problems = {}, []
            data = build(loader.get_node(), (), lines, problems, loader)
            if data is not None:
                out.append((n, data, lines, problems))
    finally:
        loader.dispose()
    return out


# ---------------------------------------------------------------- schemas
def unique_keys(validator, keys, instance, schema):
    if not isinstance(instance, list):
        return
    seen = set()
    for i, item in enumerate(instance):
        if isinstance(item, dict):
            k = tuple(repr(item.get(n, d)) for n, d in keys.items())
            if k in seen:
                err = jsonschema.ValidationError(
                    "duplicate entry: %s"
                    % ", ".join("%s=%s" % (n, item.get(n, d)) for n, d in keys.items())
                )
                err.path.appendleft(i)
                yield err
            seen.add(k)


Strict = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"x-unique-keys": unique_keys}
)


def explain(e):
    """(path, message) pairs of one jsonschema error, down to the branch that fits the instance best."""
    if e.validator in ("anyOf", "oneOf") and e.context:
        non_null = [
            c
            for c in e.context
            if not (c.validator == "type" and c.validator_value in ("null", ["null"]))
        ]
        branches = {}
        for c in non_null or e.context:
            branches.setdefault(c.schema_path[0], []).append(c)
        best = min(
            branches.values(),
            key=lambda cs: (any(c.validator == "type" and not c.path for c in cs), len(cs)),
        )
        for c in best:
            yield from explain(c)
        return
    path = tuple(e.absolute_path)
    if e.validator == "additionalProperties" and e.validator_value is False:
        known = list(e.schema.get("properties", {}))
        for k in sorted(set(e.instance) - set(known), key=str):
            near = difflib.get_close_matches(k, known, 1)
            yield path + (k,), "unknown field" + (", did you mean %r?" % near[0] if near else "")
    elif e.validator == "required":
        for k in e.validator_value:
            if k not in e.instance:
                yield path, "required field %r is missing" % k
    elif e.validator == "type":
        want = (
            e.validator_value
            if isinstance(e.validator_value, str)
            else " or ".join(e.validator_value)
        )
        yield path, "wrong type: %s, expected %s" % (json.dumps(e.instance, default=str)[:60], want)
    else:
        yield path, e.message if len(e.message) < 200 else e.message[:200] + " ..."


def prune_nulls(x, path=()):
    """Drop null object members, as the API server does for fields that are not nullable; yield their paths."""
    if isinstance(x, dict):
        for k in [k for k, v in x.items() if v is None]:
            del x[k]
            yield path + (k,)
        for k, v in x.items():
            yield from prune_nulls(v, path + (k,))
    elif isinstance(x, list):
        for i, v in enumerate(x):
            yield from prune_nulls(v, path + (i,))


def has_null(x):
    vs = x.values() if isinstance(x, dict) else x if isinstance(x, list) else ()
    return any(v is None or has_null(v) for v in vs)


class Core:
    """kubernetes-validate's packaged strict schemas, all errors rather than the first."""

    def __init__(self, version):
        self.cache, self.ok = {}, False
        try:
            from kubernetes_validate import utils
            from referencing import Registry, Resource
        except ImportError:
            return
        self.u, self.ok = utils, True
        have = [v for v in utils.all_versions()]
        key = lambda v: tuple(int(p) for p in v.split(".")[:2])
        fit = [v for v in have if not version or key(v) <= key(version)]
        self.version = fit[-1] if fit else have[0]
        self.dir = "kubernetes-json-schema/v%s-local-strict" % self.version
        self.registry = (
            Resource.from_contents(
                utils.schema_contents(self.dir + "/_definitions.json", self.version)
            )
            @ Registry()
        )

    def validator(self, api_version, kind):
        name = "%s-%s" % (kind.lower(), re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version))
        if name not in self.cache:
            try:
                schema = self.u.schema_contents("%s/%s.json" % (self.dir, name), self.version)
                gvk = schema.get("x-kubernetes-group-version-kind") or []
                group, _, ver = api_version.rpartition("/")
                if gvk and not any(
                    (g.get("group", ""), g.get("version")) == (group, ver) for g in gvk
                ):
                    raise FileNotFoundError(name)
                self.cache[name] = jsonschema.Draft202012Validator(schema, registry=self.registry)
            except FileNotFoundError:
                self.cache[name] = None
        return self.cache[name]


# ---------------------------------------------------------------- rules
def quantity(v):
    if isinstance(v, bool) or v is None:
        return None
    if isinstance(v, (int, float)):
        return float(v)
    m = QUANTITY.match(v) if isinstance(v, str) else None
    if not m:
        return None
    n, s = m.groups()
    return float(n) * (10.0 ** int(s[1:]) if s and s[0] in "eE" and s[1:] else SUFFIX[s])


def ver(s):
    m = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", str(s or ""))
    return tuple(int(x or 0) for x in m.groups()) if m else None


def d(x, *keys):
    """x[k1][k2]... or {}; never raises on a malformed manifest"""
    for k in keys:
        x = (
            x.get(k)
            if isinstance(x, dict)
            else x[k]
            if isinstance(x, list) and isinstance(k, int) and k < len(x)
            else None
        )
    return {} if x is None else x


def dicts(x):
    return [(i, v) for i, v in enumerate(x) if isinstance(v, dict)] if isinstance(x, list) else []


class Rules:
    def __init__(self, gates, err, warn, schemas, core):
        self.gates, self.err, self.warn, self.schemas, self.core = gates, err, warn, schemas, core

    # ---- metadata
    def labels(self, labels, path):
        for k, v in labels.items() if isinstance(labels, dict) else ():
            prefix, _, name = k.rpartition("/")
            if not LABEL_NAME.match(name) or (
                prefix and (len(prefix) > 253 or not SUBDOMAIN.match(prefix))
            ):
                self.err(path + (k,), "not a valid label key")
            if isinstance(v, str) and not LABEL_VALUE.match(v):
                self.err(path + (k,), "not a valid label value: %r" % v)

    def metadata(self, doc):
        m, kind = d(doc, "metadata"), doc.get("kind")
        if not isinstance(m, dict):
            return
        self.labels(m.get("labels"), ("metadata", "labels"))
        name = m.get("name")
        limit = {"RayCluster": 53, "RayJob": 47, "RayService": 47, "RayCronJob": 36}.get(kind)
        if isinstance(name, str) and limit:
            if len(name) > limit:
                self.err(
                    ("metadata", "name"), "%s name is longer than %d characters" % (kind, limit)
                )
            if not DNS1035.match(name):
                self.err(("metadata", "name"), "not a DNS-1035 label: %r" % name)
        elif (
            isinstance(name, str)
            and not SUBDOMAIN.match(name)
            and "rbac" not in str(doc.get("apiVersion"))
        ):
            self.err(("metadata", "name"), "not a DNS-1123 subdomain: %r" % name)

    # ---- pods
    def pod(self, tpl, path, ray=False):
        """Rules of pod validation that no schema states; for Ray* nobody applies them before the operator does."""
        spec, sp = d(tpl, "spec"), path + ("spec",)
        if not isinstance(spec, dict):
            return
        self.labels(d(tpl, "metadata", "labels"), path + ("metadata", "labels"))
        if self.core.ok and ray:
            v = self.core.validator("v1", "Pod")
            for e in v.iter_errors(
                {"apiVersion": "v1", "kind": "Pod", "metadata": d(tpl, "metadata"), "spec": spec}
            ):
                for p, msg in explain(e):
                    self.err(path + p, "as a Pod: " + msg, dedup=True)
        volumes, names = set(), set()
        for i, v in dicts(spec.get("volumes")):
            n, vp = v.get("name"), sp + ("volumes", i)
            if n in volumes:
                self.err(vp, "duplicate volume %r" % n)
            if isinstance(n, str) and (len(n) > 63 or not DNS1123.match(n)):
                self.err(vp + ("name",), "not a DNS-1123 label: %r" % n)
            volumes.add(n)
            if len(set(v) - {"name"}) > 1:
                self.err(
                    vp, "more than one volume source: %s" % ", ".join(sorted(set(v) - {"name"}))
                )
            ed = v.get("emptyDir")
            if isinstance(ed, dict):
                if ed.get("medium") not in (None, "", "Memory") and not str(
                    ed.get("medium")
                ).startswith("HugePages"):
                    self.err(vp + ("emptyDir", "medium"), "unknown medium %r" % ed.get("medium"))
                if "sizeLimit" in ed and quantity(ed["sizeLimit"]) is None:
                    self.err(vp + ("emptyDir", "sizeLimit"), "not a quantity: %r" % ed["sizeLimit"])
        if not spec.get("containers"):
            self.err(sp + ("containers",), "at least one container is required")
        for group in ("initContainers", "containers"):
            for i, c in dicts(spec.get(group)):
                self.container(c, sp + (group, i), volumes, names, ray)
        for i, t in dicts(spec.get("tolerations")):
            tp = sp + ("tolerations", i)
            if t.get("operator") not in (None, "", "Exists", "Equal", "Lt", "Gt"):
                self.err(tp + ("operator",), "unknown operator %r" % t.get("operator"))
            if t.get("operator") == "Exists" and t.get("value"):
                self.err(tp + ("value",), "must be empty when operator is Exists")
            if t.get("effect") not in (None, "", "NoSchedule", "PreferNoSchedule", "NoExecute"):
                self.err(tp + ("effect",), "unknown effect %r" % t.get("effect"))
        for i, t in dicts(spec.get("topologySpreadConstraints")):
            if t.get("whenUnsatisfiable") not in ("DoNotSchedule", "ScheduleAnyway"):
                self.err(
                    sp + ("topologySpreadConstraints", i, "whenUnsatisfiable"),
                    "unknown value %r" % t.get("whenUnsatisfiable"),
                )
        self.enums(spec, sp)
        self.seccomp(spec.get("securityContext"), sp + ("securityContext",))

    def enums(self, x, path):
        for k, allowed in ENUMS.items():
            if isinstance(x.get(k), str) and x[k] not in allowed:
                self.err(path + (k,), "%r is not one of %s" % (x[k], ", ".join(sorted(allowed))))

    def seccomp(self, sc, path):
        t = d(sc, "seccompProfile", "type")
        if t and t not in ("RuntimeDefault", "Unconfined", "Localhost"):
            self.err(path + ("seccompProfile", "type"), "unknown profile type %r" % t)

    def container(self, c, path, volumes, names, ray):
        n = c.get("name")
        if isinstance(n, str):
            if not DNS1123.match(n) or len(n) > 63:
                self.err(path + ("name",), "not a DNS-1123 label: %r" % n)
            if n in names:
                self.err(path + ("name",), "duplicate container name %r" % n)
            names.add(n)
        if not c.get("image"):
            self.err(path, "required field 'image' is missing")
        self.enums(c, path)
        self.seccomp(c.get("securityContext"), path + ("securityContext",))
        sc = d(c, "securityContext")
        if sc.get("privileged") and sc.get("allowPrivilegeEscalation") is False:
            self.err(
                path + ("securityContext", "allowPrivilegeEscalation"),
                "cannot be false when privileged is true",
            )
        mounts, ports = set(), set()
        for i, m in dicts(c.get("volumeMounts")):
            if m.get("name") not in volumes:
                self.err(
                    path + ("volumeMounts", i, "name"),
                    "no volume named %r in this pod" % m.get("name"),
                )
            if m.get("mountPath") in mounts:
                self.err(
                    path + ("volumeMounts", i, "mountPath"),
                    "mounted twice: %r" % m.get("mountPath"),
                )
            mounts.add(m.get("mountPath"))
        for i, p in dicts(c.get("ports")):
            pn = p.get("name")
            if isinstance(pn, str):
                if not PORT_NAME.match(pn):
                    self.err(
                        path + ("ports", i, "name"),
                        "not a port name (at most 15 of a-z, 0-9, -): %r" % pn,
                    )
                if pn in ports:
                    self.err(path + ("ports", i, "name"), "duplicate port name %r" % pn)
                ports.add(pn)
            if isinstance(p.get("containerPort"), int) and not 0 < p["containerPort"] < 65536:
                self.err(path + ("ports", i, "containerPort"), "out of range")
            self.enums(p, path + ("ports", i))
        for i, e in dicts(c.get("env")):
            if "value" in e and e.get("valueFrom"):
                self.err(path + ("env", i), "both value and valueFrom")
        for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
            if isinstance(c.get(probe), dict):
                how = [
                    h
                    for h in ("exec", "httpGet", "tcpSocket", "grpc")
                    if c[probe].get(h) is not None
                ]
                if len(how) != 1:
                    self.err(
                        path + (probe,),
                        "exactly one of exec, httpGet, tcpSocket, grpc is needed, found %d"
                        % len(how),
                    )
                if probe != "readinessProbe" and c[probe].get("successThreshold", 1) != 1:
                    self.err(path + (probe, "successThreshold"), "must be 1")
        r = d(c, "resources")
        lim, req = d(r, "limits"), d(r, "requests")
        for part, q in (("limits", lim), ("requests", req)):
            for k, v in q.items() if isinstance(q, dict) else ():
                if quantity(v) is None:
                    self.err(path + ("resources", part, k), "not a quantity: %r" % (v,))
                elif quantity(v) < 0:
                    self.err(path + ("resources", part, k), "negative quantity")
                elif (
                    k in ("memory", "ephemeral-storage") and isinstance(v, str) and v.endswith("m")
                ):
                    self.err(
                        path + ("resources", part, k),
                        "%r is thousandths of a byte; did you mean %rMi?" % (v, v[:-1]),
                    )
                elif (
                    "/" not in k
                    and k not in ("cpu", "memory", "ephemeral-storage")
                    and not k.startswith("hugepages-")
                ):
                    self.err(path + ("resources", part, k), "not a standard resource name")
        for k in req if isinstance(req, dict) else ():
            a, b = quantity(req[k]), quantity(lim.get(k)) if isinstance(lim, dict) else None
            if a is not None and b is not None and a > b:
                self.err(
                    path + ("resources", "requests", k),
                    "request %s is over the limit %s" % (req[k], lim[k]),
                )
            if "/" in k and not k.startswith("kubernetes.io/") and a != b:
                self.err(
                    path + ("resources", "requests", k),
                    "an extended resource's request must equal its limit (%s, %s)"
                    % (req[k], d(lim, k) or "no limit"),
                )
        for k, v in lim.items() if isinstance(lim, dict) else ():
            if "/" in k and quantity(v) is not None and quantity(v) != int(quantity(v)):
                self.err(
                    path + ("resources", "limits", k), "an extended resource must be whole: %s" % v
                )

    # ---- core kinds
    def core_kind(self, doc):
        kind, spec = doc.get("kind"), d(doc, "spec")
        tpl = {
            "Pod": ((), doc),
            "CronJob": (
                ("spec", "jobTemplate", "spec", "template"),
                d(spec, "jobTemplate", "spec", "template"),
            ),
        }.get(kind)
        if kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"):
            tpl = (("spec", "template"), d(spec, "template"))
        if tpl and isinstance(tpl[1], dict):
            self.pod(tpl[1], tpl[0])
            rp = d(tpl[1], "spec", "restartPolicy")
            if kind in ("Deployment", "StatefulSet", "DaemonSet") and rp not in ({}, "Always"):
                self.err(tpl[0] + ("spec", "restartPolicy"), "must be Always in a %s" % kind)
            if kind in ("Job", "CronJob") and rp not in ("OnFailure", "Never"):
                self.err(
                    tpl[0] + ("spec", "restartPolicy"), "must be OnFailure or Never in a %s" % kind
                )
        if kind in ("Deployment", "StatefulSet", "DaemonSet"):
            sel, lab = d(spec, "selector", "matchLabels"), d(spec, "template", "metadata", "labels")
            for k, v in sel.items() if isinstance(sel, dict) else ():
                if d(lab, k) != v:
                    self.err(
                        ("spec", "selector", "matchLabels", k), "the pod template has no such label"
                    )
            if not spec.get("selector"):
                self.err(("spec",), "required field 'selector' is missing")
        if kind == "Service":
            for i, p in dicts(spec.get("ports")):
                if len(spec["ports"]) > 1 and not p.get("name"):
                    self.err(
                        ("spec", "ports", i), "a name is required where a Service has several ports"
                    )
            if spec.get("type", "ClusterIP") not in (
                "ClusterIP",
                "NodePort",
                "LoadBalancer",
                "ExternalName",
            ):
                self.err(("spec", "type"), "unknown type %r" % spec.get("type"))
        if kind == "PodDisruptionBudget":
            if "minAvailable" in spec and "maxUnavailable" in spec:
                self.err(("spec",), "minAvailable and maxUnavailable are mutually exclusive")
            if not spec.get("selector"):
                self.warn(("spec",), "no selector: this budget covers nothing")
        if kind == "HorizontalPodAutoscaler" and spec.get("minReplicas", 1) > spec.get(
            "maxReplicas", 1
        ):
            self.err(("spec", "minReplicas"), "over maxReplicas")
        if kind == "NetworkPolicy":
            for i, t in enumerate(spec.get("policyTypes") or []):
                if t not in ("Ingress", "Egress"):
                    self.err(("spec", "policyTypes", i), "unknown policy type %r" % t)
        if kind == "Secret":
            import base64

            for k, v in d(doc, "data").items():
                try:
                    base64.b64decode("".join(v.split()), validate=True)
                except Exception:
                    self.err(("data", k), "not base64")
        if kind in ("RoleBinding", "ClusterRoleBinding"):
            for i, s in dicts(doc.get("subjects")):
                if s.get("kind") == "ServiceAccount" and not s.get("namespace"):
                    self.warn(
                        ("subjects", i),
                        "a ServiceAccount subject needs a namespace (kustomize's namespace field can add it)",
                    )
        if kind == "ConfigMap":
            for k in set(d(doc, "data")) & set(d(doc, "binaryData")):
                self.err(("binaryData", k), "also in data")

    # ---- KubeRay: what ray-operator/controllers/ray/utils/validation.go and the CRDs' CEL refuse
    def env(self, template, name):
        return next(
            (
                e
                for _, e in dicts(d(template, "spec", "containers", 0, "env"))
                if e.get("name") == name
            ),
            None,
        )

    def cluster(self, spec, path, ann, owner="RayCluster"):
        head, workers = d(spec, "headGroupSpec"), dicts(spec.get("workerGroupSpecs"))
        auto, opts = spec.get("enableInTreeAutoscaling") is True, d(spec, "autoscalerOptions")
        rv = ver(spec.get("rayVersion"))
        # the operator reads autoscalerOptions.version alone; Ray itself has v2 as its default since 2.47
        v2 = opts.get("version") == "v2"
        henv = lambda n: self.env(head.get("template"), n)
        v2env = henv("RAY_enable_autoscaler_v2")
        v2on = v2 or (v2env and str(v2env.get("value")) in ("1", "true"))
        groups = [("headGroupSpec",) + (head,)] + [("workerGroupSpecs", i, w) for i, w in workers]
        seen = set()
        for g in groups:
            gp, g = path + tuple(g[:-1]), g[-1]
            params, res = d(g, "rayStartParams"), d(g, "resources")
            if res and any(params.get(k) for k in ("num-cpus", "num-gpus", "memory", "resources")):
                self.err(
                    gp + ("resources",), "resources are also set in rayStartParams; use only one"
                )
            if "labels" in params:
                self.err(
                    gp + ("rayStartParams", "labels"), "not supported; use the group's labels field"
                )
            self.labels(g.get("labels"), gp + ("labels",))
            if isinstance(g.get("template"), dict):
                self.pod(g["template"], gp + ("template",), ray=True)
            rp = d(g, "template", "spec", "restartPolicy")
            if auto and v2 and rp not in ({}, "", "Never"):
                self.err(
                    gp + ("template", "spec", "restartPolicy"),
                    "must be Never or unset with autoscaler v2",
                )
            img = d(g, "template", "spec", "containers", 0, "image")
            tag = (
                ver(img.rsplit(":", 1)[1])
                if isinstance(img, str) and ":" in img and re.search(r"(^|/)ray(-ml|-llm)?:", img)
                else None
            )
            if tag and rv and tag != rv:
                self.warn(
                    gp + ("template", "spec", "containers", 0, "image"),
                    "image is Ray %s, rayVersion is %s"
                    % (".".join(map(str, tag)), spec.get("rayVersion")),
                )
        for i, w in workers:
            wp, lo, hi = (
                path + ("workerGroupSpecs", i),
                w.get("minReplicas", 0),
                w.get("maxReplicas", 2**31 - 1),
            )
            if w.get("groupName") in seen:
                self.err(wp + ("groupName",), "duplicate group %r" % w.get("groupName"))
            seen.add(w.get("groupName"))
            ints = [x for x in (lo, hi, w.get("replicas", lo)) if isinstance(x, int)]
            if any(x < 0 for x in ints):
                self.err(wp, "negative number of replicas")
            if isinstance(lo, int) and isinstance(hi, int):
                if lo > hi:
                    self.err(wp + ("minReplicas",), "%d is over maxReplicas %d" % (lo, hi))
                elif isinstance(w.get("replicas"), int) and not lo <= w["replicas"] <= hi:
                    self.warn(
                        wp + ("replicas",),
                        "%d is outside minReplicas..maxReplicas (%d..%d)" % (w["replicas"], lo, hi),
                    )
            if auto and "maxReplicas" not in w:
                self.warn(wp, "no maxReplicas: the autoscaler may go to 2147483647")
            if "idleTimeoutSeconds" in w:
                if isinstance(w["idleTimeoutSeconds"], int) and w["idleTimeoutSeconds"] < 0:
                    self.err(wp + ("idleTimeoutSeconds",), "must not be negative")
                if not v2on:
                    self.err(wp + ("idleTimeoutSeconds",), "needs autoscalerOptions.version: v2")
            if w.get("priority"):
                if not rv or rv < (2, 56, 0):
                    self.err(wp + ("priority",), "needs rayVersion 2.56.0 or later")
                if not v2on:
                    self.err(wp + ("priority",), "needs autoscalerOptions.version: v2")
            if w.get("suspend") and (auto or not self.gates["RayJobDeletionPolicy"]):
                self.err(
                    wp + ("suspend",),
                    "not with the autoscaler" if auto else "needs the gate RayJobDeletionPolicy",
                )
            if d(w, "scaleStrategy", "workersToDelete"):
                self.warn(
                    wp + ("scaleStrategy", "workersToDelete"),
                    "the autoscaler's own field; leave it out of manifests",
                )
        # fault tolerance
        ft = spec.get("gcsFaultToleranceOptions")
        if ft is not None:
            if d(ann, "ray.io/ft-enabled"):
                self.err(
                    ("metadata", "annotations", "ray.io/ft-enabled"),
                    "conflicts with gcsFaultToleranceOptions",
                )
            if d(ann, "ray.io/external-storage-namespace"):
                self.err(
                    ("metadata", "annotations", "ray.io/external-storage-namespace"),
                    "use gcsFaultToleranceOptions.externalStorageNamespace",
                )
            if d(head, "rayStartParams", "redis-password"):
                self.err(
                    path + ("headGroupSpec", "rayStartParams", "redis-password"),
                    "use gcsFaultToleranceOptions.redisPassword",
                )
            for n in ("REDIS_PASSWORD", "RAY_REDIS_ADDRESS"):
                if henv(n):
                    self.err(
                        path + ("headGroupSpec", "template", "spec", "containers", 0, "env"),
                        "%s: use gcsFaultToleranceOptions" % n,
                    )
            fp, rocks = path + ("gcsFaultToleranceOptions",), ft.get("backend") == "rocksdb"
            if rocks:
                if not self.gates["GCSFaultToleranceEmbeddedStorage"]:
                    self.err(
                        fp + ("backend",), "rocksdb needs the gate GCSFaultToleranceEmbeddedStorage"
                    )
                for k in (
                    "redisAddress",
                    "redisUsername",
                    "redisPassword",
                    "externalStorageNamespace",
                ):
                    if ft.get(k):
                        self.err(fp + (k,), "not with backend rocksdb")
                st = d(ft, "storage")
                if st.get("claimName") and any(
                    st.get(k) for k in ("size", "storageClassName", "accessModes")
                ):
                    self.err(
                        fp + ("storage", "claimName"),
                        "excludes size, storageClassName and accessModes",
                    )
            elif ft.get("storage") is not None:
                self.err(fp + ("storage",), "only with backend rocksdb")
            for k in ("redisPassword", "redisUsername"):
                if d(ft, k).get("value"):
                    self.warn(
                        fp + (k, "value"),
                        "a plain credential in a manifest; use valueFrom.secretKeyRef",
                    )
        elif henv("RAY_REDIS_ADDRESS") and str(d(ann, "ray.io/ft-enabled")).lower() != "true":
            self.err(
                path + ("headGroupSpec", "template", "spec", "containers", 0, "env"),
                "RAY_REDIS_ADDRESS needs gcsFaultToleranceOptions",
            )
        if henv("REDIS_USERNAME") or d(head, "rayStartParams", "redis-username"):
            self.err(
                path + ("headGroupSpec",),
                "set the redis username in gcsFaultToleranceOptions.redisUsername",
            )
        # autoscaler
        if v2env and str(v2env.get("value")) in ("1", "true") and not auto:
            self.err(
                path + ("enableInTreeAutoscaling",),
                "RAY_enable_autoscaler_v2 is set but the autoscaler is off",
            )
        if auto and opts.get("version") and v2env:
            self.err(
                path + ("autoscalerOptions", "version"),
                "also set by RAY_enable_autoscaler_v2 in the head pod",
            )
        if isinstance(opts.get("idleTimeoutSeconds"), int) and opts["idleTimeoutSeconds"] < 0:
            self.err(path + ("autoscalerOptions", "idleTimeoutSeconds"), "must not be negative")
        if any(
            e.get("name") == "KUBERAY_GEN_AUTOSCALER_START_CMD" for _, e in dicts(opts.get("env"))
        ):
            self.err(
                path + ("autoscalerOptions", "env"),
                "KUBERAY_GEN_AUTOSCALER_START_CMD is the operator's own",
            )
        if opts and not auto:
            self.warn(
                path + ("autoscalerOptions",), "has no effect: enableInTreeAutoscaling is not true"
            )
        # authentication
        auth, ap = d(spec, "authOptions"), path + ("authOptions",)
        if auth.get("mode") == "token":
            if not rv or rv < (2, 52, 0):
                self.err(ap + ("mode",), "token needs rayVersion 2.52.0 or later")
            if auth.get("enableK8sTokenAuth"):
                if rv and rv < (2, 55, 0):
                    self.err(ap + ("enableK8sTokenAuth",), "needs rayVersion 2.55.0 or later")
                if auth.get("secretName"):
                    self.err(ap + ("secretName",), "not with enableK8sTokenAuth")
        elif auth.get("enableK8sTokenAuth"):
            self.err(ap + ("enableK8sTokenAuth",), "needs mode: token")
        if auth.get("enableK8sTokenAuth") and owner in ("RayJob", "RayService"):
            self.err(ap + ("enableK8sTokenAuth",), "not supported in a %s" % owner)
        # gated blocks
        for field, gate in (
            ("networkPolicy", "RayClusterNetworkPolicy"),
            ("tlsOptions", "RayClusterMTLS"),
            ("historyServerOptions", "RayClusterHistoryServer"),
        ):
            if spec.get(field) is not None and not self.gates[gate]:
                self.err(path + (field,), "needs the operator's feature gate %s" % gate)
        np = spec.get("networkPolicy")
        if isinstance(np, dict):
            mode = np.get("mode", "DenyAll")
            parts = [(("head",), d(np, "head")), (("worker",), d(np, "worker"))] + [
                (("workerGroups", i), g) for i, g in dicts(np.get("workerGroups"))
            ]
            for p, rules in parts:
                bad = {"DenyAllEgress": "ingressRules", "DenyAllIngress": "egressRules"}.get(mode)
                if bad and rules.get(bad):
                    self.err(
                        path + ("networkPolicy",) + p + (bad,), "has no meaning in mode %s" % mode
                    )
                if (
                    mode != "DenyAllIngress"
                    and not rules.get("egressRules")
                    and p[0] != "workerGroups"
                ):
                    self.warn(
                        path + ("networkPolicy",) + p,
                        "mode %s without a DNS egress rule: the cluster cannot start" % mode,
                    )
                if p[0] == "workerGroups" and rules.get("groupName") not in seen:
                    self.err(path + ("networkPolicy",) + p + ("groupName",), "no such worker group")
        if d(spec, "upgradeStrategy", "type") and owner != "RayCluster":
            self.err(
                path + ("upgradeStrategy",), "only in a RayCluster of its own, not in a %s" % owner
            )
        mb = spec.get("managedBy")
        self.managed_by(mb, path)

    def managed_by(self, mb, path):
        if mb is not None and mb not in ("ray.io/kuberay-operator", "kueue.x-k8s.io/multikueue"):
            self.err(
                path + ("managedBy",),
                "must be ray.io/kuberay-operator or kueue.x-k8s.io/multikueue",
            )

    def job(self, spec, path, ann):
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
            self.err(path + ("submissionMode",), "unknown mode %r" % mode)
        if spec.get("suspend") and not shut:
            self.err(path + ("suspend",), "needs shutdownAfterJobFinishes: true")
        if spec.get("suspend") and sel:
            self.err(path + ("suspend",), "not with clusterSelector")
        if isinstance(ttl, int) and (ttl < 0 or (ttl > 0 and not shut)):
            self.err(
                path + ("ttlSecondsAfterFinished",),
                "must not be negative" if ttl < 0 else "needs shutdownAfterJobFinishes: true",
            )
        for k in ("activeDeadlineSeconds", "preRunningDeadlineSeconds"):
            if isinstance(spec.get(k), int) and spec[k] <= 0:
                self.err(path + (k,), "must be positive")
        back = spec.get("backoffLimit", 0)
        if isinstance(back, int):
            if back < 0:
                self.err(path + ("backoffLimit",), "must not be negative")
            if back > 0 and (sel or mode == "InteractiveMode"):
                self.err(
                    path + ("backoffLimit",),
                    "not with %s" % ("clusterSelector" if sel else "InteractiveMode"),
                )
        if not cs and not sel:
            self.err(path, "one of rayClusterSpec and clusterSelector is needed")
        if sel and not d(sel, "ray.io/cluster"):
            self.err(path + ("clusterSelector",), "needs the key ray.io/cluster")
        if mode == "SidecarMode":
            for k in ("submitterPodTemplate", "submitterConfig", "clusterSelector"):
                if spec.get(k) is not None:
                    self.err(path + (k,), "not with SidecarMode")
            if d(cs, "headGroupSpec", "template", "spec", "restartPolicy") not in ({}, "", "Never"):
                self.err(
                    path + ("rayClusterSpec", "headGroupSpec", "template", "spec", "restartPolicy"),
                    "must be Never or unset with SidecarMode",
                )
        own = d(spec, "submitterPodTemplate", "spec", "containers", 0)
        if (
            mode != "InteractiveMode"
            and not str(spec.get("entrypoint") or "").strip()
            and not (own.get("command") or own.get("args"))
        ):
            self.err(path + ("entrypoint",), "is empty")
        self.managed_by(spec.get("managedBy"), path)
        if isinstance(ds, dict):
            dp, rules, legacy = (
                path + ("deletionStrategy",),
                dicts(ds.get("deletionRules")),
                [k for k in ("onSuccess", "onFailure") if ds.get(k) is not None],
            )
            if not self.gates["RayJobDeletionPolicy"]:
                self.err(dp, "needs the gate RayJobDeletionPolicy")
            if legacy and rules:
                self.err(dp, "onSuccess/onFailure and deletionRules exclude each other")
            if not rules and len(legacy) != 2:
                self.err(dp, "needs deletionRules, or both onSuccess and onFailure")
            if legacy:
                self.warn(dp, "onSuccess/onFailure are deprecated; use deletionRules")
            if rules and shut:
                self.err(
                    path + ("shutdownAfterJobFinishes",), "excludes deletionStrategy.deletionRules"
                )
            auto = d(cs, "enableInTreeAutoscaling") is True
            ttls = {}
            for i, r in rules:
                rp, cond, pol = dp + ("deletionRules", i), d(r, "condition"), r.get("policy")
                on = [k for k in ("jobStatus", "jobDeploymentStatus") if cond.get(k)]
                if len(on) != 1:
                    self.err(
                        rp + ("condition",),
                        "exactly one of jobStatus and jobDeploymentStatus is needed",
                    )
                    continue
                if sel and pol in ("DeleteCluster", "DeleteWorkers"):
                    self.err(rp + ("policy",), "%s is not possible with clusterSelector" % pol)
                if auto and pol == "DeleteWorkers":
                    self.err(rp + ("policy",), "DeleteWorkers is not possible with the autoscaler")
                key = (on[0], cond[on[0]])
                if pol in ttls.setdefault(key, {}):
                    self.err(rp, "duplicate rule for %s %s" % (pol, cond[on[0]]))
                ttls[key][pol] = (cond.get("ttlSeconds", 0), rp)
            for key, by in ttls.items():
                order = [by[p] for p in ("DeleteWorkers", "DeleteCluster", "DeleteSelf") if p in by]
                for a, b in zip(order, order[1:]):
                    if b[0] < a[0]:
                        self.err(
                            b[1] + ("condition", "ttlSeconds"),
                            "%d is earlier than the %d of a smaller deletion" % (b[0], a[0]),
                        )
        self.runtime_env(spec.get("runtimeEnvYAML"), path + ("runtimeEnvYAML",))
        if isinstance(spec.get("submitterPodTemplate"), dict):
            self.pod(spec["submitterPodTemplate"], path + ("submitterPodTemplate",), ray=True)
            rp = d(spec, "submitterPodTemplate", "spec", "restartPolicy")
            if rp not in ("OnFailure", "Never"):
                self.err(
                    path + ("submitterPodTemplate", "spec", "restartPolicy"),
                    "must be OnFailure or Never (it becomes a batch/v1 Job)",
                )
        if isinstance(cs, dict):
            self.cluster(cs, path + ("rayClusterSpec",), ann, "RayJob")

    def runtime_env(self, text, path):
        if not isinstance(text, str) or not text.strip():
            return
        try:
            env = yaml.load(text, Loader)
        except yaml.YAMLError as e:
            return self.err(path, "not YAML: %s" % str(e).replace("\n", " ")[:120])
        if not isinstance(env, dict):
            return self.err(path, "not a mapping")
        self.runtime_env_keys(env, path)

    def runtime_env_keys(self, env, path):
        for k in sorted(set(env) - RUNTIME_ENV, key=str):
            near = difflib.get_close_matches(str(k), sorted(RUNTIME_ENV), 1)
            self.err(
                path + (k,),
                "unknown runtime_env field" + (", did you mean %r?" % near[0] if near else ""),
            )
        for k, v in d(env, "env_vars").items() if isinstance(d(env, "env_vars"), dict) else ():
            if not isinstance(v, str):
                self.err(path + ("env_vars", k), "must be a string, quote it: %r" % (v,))

    def service(self, doc):
        spec, path, ann = d(doc, "spec"), ("spec",), d(doc, "metadata", "annotations")
        cs = d(spec, "rayClusterConfig")
        self.cluster(cs, path + ("rayClusterConfig",), ann, "RayService")
        self.managed_by(spec.get("managedBy"), path)
        if d(cs, "headGroupSpec", "headService", "metadata", "name"):
            self.err(
                path + ("rayClusterConfig", "headGroupSpec", "headService", "metadata", "name"),
                "must not be set in a RayService",
            )
        for k in ("serviceUnhealthySecondThreshold", "deploymentUnhealthySecondThreshold"):
            if k in spec:
                self.warn(path + (k,), "deprecated and unused")
        up = d(spec, "upgradeStrategy")
        kind = up.get("type")
        if kind not in (None, "NewCluster", "NewClusterWithIncrementalUpgrade", "None"):
            self.err(path + ("upgradeStrategy", "type"), "unknown type %r" % kind)
        o, op = up.get("clusterUpgradeOptions"), path + ("upgradeStrategy", "clusterUpgradeOptions")
        if kind == "NewClusterWithIncrementalUpgrade":
            if not self.gates["RayServiceIncrementalUpgrade"]:
                self.err(
                    path + ("upgradeStrategy", "type"),
                    "needs the gate RayServiceIncrementalUpgrade",
                )
            if cs.get("enableInTreeAutoscaling") is not True:
                self.err(
                    path + ("rayClusterConfig", "enableInTreeAutoscaling"),
                    "must be true for NewClusterWithIncrementalUpgrade",
                )
            if not isinstance(o, dict):
                self.err(op, "required for NewClusterWithIncrementalUpgrade")
            else:
                surge, step, sec = (
                    o.get("maxSurgePercent", 100),
                    o.get("stepSizePercent"),
                    o.get("intervalSeconds"),
                )
                for k, v in (("maxSurgePercent", surge), ("stepSizePercent", step)):
                    if isinstance(v, int) and not 0 <= v <= 100:
                        self.err(op + (k,), "must be in 0..100")
                if isinstance(surge, int) and isinstance(step, int) and step > surge:
                    self.err(op + ("stepSizePercent",), "over maxSurgePercent")
                if isinstance(sec, int) and sec <= 0:
                    self.err(op + ("intervalSeconds",), "must be positive")
                if not o.get("gatewayClassName"):
                    self.err(op + ("gatewayClassName",), "is empty")
        elif o is not None:
            self.warn(op, "has no effect with type %s" % kind)
        t = d(ann, "ray.io/initializing-timeout")
        if t and not re.match(r"(\d+(\.\d+)?(ns|us|ms|s|m|h))+\Z|[1-9]\d*\Z", str(t)):
            self.err(
                ("metadata", "annotations", "ray.io/initializing-timeout"),
                "neither a Go duration nor seconds: %r" % t,
            )
        self.serve_config(spec.get("serveConfigV2"), path + ("serveConfigV2",), cs)

    def serve_config(self, text, path, cs):
        if not isinstance(text, str) or not text.strip():
            return self.warn(path, "is empty: nothing is deployed")
        try:
            docs = load_documents(text)
        except yaml.YAMLError as e:
            return self.err(path, "not YAML: %s" % str(e).replace("\n", " ")[:120])
        if len(docs) != 1 or not isinstance(docs[0][1], dict):
            return self.err(path, "not one YAML mapping")
        _, conf, _, problems = docs[0]
        for p, _, msg in problems:
            self.err(path + p, msg)
        schema = self.schemas.get("serve_config")
        if schema:
            for e in Strict(schema).iter_errors(conf):
                for p, msg in explain(e):
                    self.err(path + p, msg)
        routes, names = {}, set()
        for i, a in dicts(conf.get("applications")):
            ap = path + ("applications", i)
            if a.get("name", "default") in names:
                self.err(ap + ("name",), "duplicate application %r" % a.get("name"))
            names.add(a.get("name", "default"))
            rp = a.get("route_prefix", "/")
            if rp is not None and rp in routes:
                self.err(
                    ap + ("route_prefix",), "%r is also that of applications[%d]" % (rp, routes[rp])
                )
            routes[rp] = i
            if isinstance(a.get("runtime_env"), dict):
                self.runtime_env_keys(a["runtime_env"], ap + ("runtime_env",))
            deps = set()
            for j, dep in dicts(a.get("deployments")):
                jp = ap + ("deployments", j)
                if dep.get("name") in deps:
                    self.err(jp + ("name",), "duplicate deployment %r" % dep.get("name"))
                deps.add(dep.get("name"))
                asc = dep.get("autoscaling_config")
                if isinstance(asc, dict):
                    lo, hi = asc.get("min_replicas", 1), asc.get("max_replicas", 1)
                    if isinstance(lo, int) and isinstance(hi, int) and lo > hi:
                        self.err(
                            jp + ("autoscaling_config", "min_replicas"),
                            "%d is over max_replicas %d" % (lo, hi),
                        )
                    if isinstance(dep.get("num_replicas"), int):
                        self.err(jp + ("num_replicas",), "a number excludes autoscaling_config")
                    t, m = asc.get("target_ongoing_requests", 2), dep.get("max_ongoing_requests", 5)
                    if isinstance(t, (int, float)) and isinstance(m, int) and t > m:
                        self.warn(
                            jp + ("max_ongoing_requests",),
                            "%s is under target_ongoing_requests %s: replicas cannot scale up"
                            % (m, t),
                        )
                need = d(dep, "ray_actor_options", "num_gpus")
                if isinstance(need, (int, float)) and need > 0 and cs:
                    most = max(
                        [
                            quantity(v) or 0
                            for _, g in dicts(cs.get("workerGroupSpecs"))
                            + [(0, d(cs, "headGroupSpec"))]
                            for k, v in d(
                                g, "template", "spec", "containers", 0, "resources", "limits"
                            ).items()
                            if k.endswith("/gpu")
                        ]
                        or [0]
                    )
                    if need > most:
                        self.err(
                            jp + ("ray_actor_options", "num_gpus"),
                            "needs %s GPUs, no pod of this RayService has more than %g"
                            % (need, most),
                        )

    def kueue(self, doc, kind, spec, ann):
        """What Kueue's webhooks refuse for a Ray* object that names a queue."""
        if not d(doc, "metadata", "labels", "kueue.x-k8s.io/queue-name"):
            return
        cs, path = {
            "RayCluster": (spec, ("spec",)),
            "RayJob": (d(spec, "rayClusterSpec"), ("spec", "rayClusterSpec")),
            "RayService": (d(spec, "rayClusterConfig"), ("spec", "rayClusterConfig")),
        }.get(kind, ({}, ()))
        if kind == "RayJob" and cs and spec.get("shutdownAfterJobFinishes") is not True:
            self.err(
                ("spec", "shutdownAfterJobFinishes"),
                "must be true under Kueue (so deletionRules cannot be used)",
            )
        if kind == "RayJob" and cs and spec.get("clusterSelector"):
            self.err(("spec", "clusterSelector"), "not under Kueue")
        if (
            cs.get("enableInTreeAutoscaling") is True
            and d(ann, "kueue.x-k8s.io/elastic-job") != "true"
        ):
            self.err(
                path + ("enableInTreeAutoscaling",),
                'under Kueue needs the annotation kueue.x-k8s.io/elastic-job: "true"',
            )
        if len(cs.get("workerGroupSpecs") or []) > 17:
            self.err(path + ("workerGroupSpecs",), "more than 17 groups under Kueue")
        for i, w in dicts(cs.get("workerGroupSpecs")):
            if w.get("groupName") == "head":
                self.err(
                    path + ("workerGroupSpecs", i, "groupName"), "'head' is reserved under Kueue"
                )

    def ray(self, doc):
        kind, spec, ann = doc["kind"], d(doc, "spec"), d(doc, "metadata", "annotations")
        self.kueue(doc, kind, spec, ann)
        if kind == "RayCluster":
            self.cluster(spec, ("spec",), ann)
        elif kind == "RayJob":
            self.job(spec, ("spec",), ann)
        elif kind == "RayService":
            self.service(doc)
        elif kind == "RayCronJob":
            if not self.gates["RayCronJob"]:
                self.err(("kind",), "RayCronJob needs the operator's feature gate RayCronJob")
            s = str(spec.get("schedule", ""))
            if "TZ" in s:
                self.err(("spec", "schedule"), "use timeZone instead of TZ")
            if not s.startswith("@") and len(s.split()) != 5:
                self.err(("spec", "schedule"), "not a five-field cron schedule: %r" % s)
            self.job(d(spec, "jobTemplate"), ("spec", "jobTemplate"), {})


# ---------------------------------------------------------------- driver
def dotted(path):
    out = ""
    for p in path:
        out += (
            "[%d]" % p
            if isinstance(p, int)
            else ("." if out else "")
            + (p if re.match(r"[\w-]+\Z", str(p)) else "[%s]" % json.dumps(p))
        )
    return out.replace(".[", "[") or "(document)"


class Checker:
    def __init__(
        self,
        schema_dir=HERE,
        k8s_version=None,
        gates=None,
        allow_unknown=False,
        refs=False,
        out=None,
    ):
        self.schemas, self.by_gvk = {}, {}
        for f in sorted(
            os.path.join(r, f)
            for r, _, fs in os.walk(schema_dir)
            for f in fs
            if f.endswith(".json")
        ):
            with open(f) as fh:
                s = json.load(fh)
            self.schemas[os.path.basename(f)[:-5]] = s
            if "x-kubernetes-gvk" in s:
                self.by_gvk[tuple(s["x-kubernetes-gvk"])] = Strict(s)
        self.core, self.gates = Core(k8s_version), {**GATES, **(gates or {})}
        self.allow_unknown, self.refs, self.out = allow_unknown, refs, out or sys.stdout
        self.errors = self.warnings = self.documents = self.unchecked = 0
        self.defined, self.used = set(), []

    def say(self, file, doc, path, msg, lines, level="error"):
        p = tuple(path)
        while p and p not in lines:
            p = p[:-1]
        line = " (line %d)" % lines[p] if p in lines else ""
        print(
            "%s:%s:%s: %s%s%s"
            % (file, doc, dotted(path), "warning: " if level == "warning" else "", msg, line),
            file=self.out,
        )
        if level == "warning":
            self.warnings += 1
        else:
            self.errors += 1

    def file(self, name):
        with open(name, encoding="utf-8") as f:
            text = f.read()
        try:
            docs = load_documents(text)
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            return self.say(
                name,
                1,
                (),
                "not YAML: %s" % getattr(e, "problem", e),
                {(): mark.line + 1} if mark else {},
            )
        for n, data, lines, problems in docs:
            items = [((), data)]
            if isinstance(data, dict) and data.get("kind") == "List":
                items = [(("items", i), x) for i, x in enumerate(data.get("items") or [])]
            for p, line, msg in problems:
                self.say(name, n, p, msg, {tuple(p): line})
            for base, doc in items:
                self.document(name, n, base, doc, lines)

    def document(self, name, n, base, doc, lines):
        self.documents += 1
        said = set()

        def err(path, msg, dedup=False):
            if (tuple(path), msg) in said or (
                dedup and any(p[: len(path)] == tuple(path) for p, _ in said)
            ):
                return
            said.add((tuple(path), msg))
            self.say(name, n, base + tuple(path), msg, lines)

        def warn(path, msg):
            self.say(name, n, base + tuple(path), msg, lines, "warning")

        if not isinstance(doc, dict):
            return err((), "not a mapping")
        api, kind = doc.get("apiVersion"), doc.get("kind")
        if not isinstance(api, str) or not isinstance(kind, str):
            return err((), "no apiVersion and kind")
        if api.startswith("kustomize.config.k8s.io/"):
            for k in ("resources", "components", "configurations"):
                for i, r in enumerate(doc.get(k) or []):
                    if "://" not in r and not os.path.exists(
                        os.path.join(os.path.dirname(name), r)
                    ):
                        err((k, i), "no such file: %s" % r)
            return
        rules = Rules(self.gates, err, warn, self.schemas, self.core)
        group, _, version = api.rpartition("/")
        validator = self.by_gvk.get((group, version, kind))
        is_core = validator is None
        if is_core and self.core.ok:
            validator = self.core.validator(api, kind)
        if validator is None:
            served = sorted("%s/%s" % k[:2] for k in self.by_gvk if k[2] == kind)
            if served:
                err(
                    ("apiVersion",),
                    "no schema for %s %s; there is one for %s" % (api, kind, ", ".join(served)),
                )
            elif is_core and not self.core.ok and ("." not in group or group.endswith(".k8s.io")):
                self.unchecked += 1
            elif not self.allow_unknown:
                err(("kind",), "no schema for %s %s" % (api, kind))
            else:
                self.unchecked += 1
        else:
            for e in (
                validator.iter_errors(doc) if has_null(doc) else ()
            ):  # unknown fields that are null
                if e.validator == "additionalProperties":
                    for p, msg in explain(e):
                        err(p, msg)
            for p in list(prune_nulls(doc)):
                warn(p, "null; the API server drops it")
            for e in sorted(
                validator.iter_errors(doc), key=lambda e: [str(p) for p in e.absolute_path]
            ):
                for p, msg in explain(e):
                    err(p, msg)
        m = d(doc, "metadata")
        m = m if isinstance(m, dict) else {}
        if is_core and not (m.get("name") or m.get("generateName")):
            err(("metadata",), "required field 'name' is missing")
        try:
            rules.metadata(doc)
            rules.ray(doc) if group == "ray.io" else rules.core_kind(doc)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError) as e:
            if not said:  # malformed input has been reported by the schema already
                err((), "the rules failed on this document: %r" % e)
        if isinstance(m.get("name"), str):
            self.defined.add((kind, m["name"]))
        self.references(doc, (), lambda k, x, p: self.used.append((name, n, base + p, k, x, lines)))

    def references(self, x, path, use):
        if isinstance(x, dict):
            for k, v in x.items():
                if isinstance(v, dict) and isinstance(v.get("name"), str) and not v.get("optional"):
                    kind = {
                        "secretKeyRef": "Secret",
                        "secretRef": "Secret",
                        "configMapKeyRef": "ConfigMap",
                        "configMapRef": "ConfigMap",
                        "configMap": "ConfigMap",
                    }.get(k)
                    if kind:
                        use(kind, v["name"], path + (k, "name"))
                if (
                    k == "secret"
                    and isinstance(v, dict)
                    and isinstance(v.get("secretName"), str)
                    and not v.get("optional")
                ):
                    use("Secret", v["secretName"], path + (k, "secretName"))
                if k == "serviceAccountName" and isinstance(v, str) and v != "default":
                    use("ServiceAccount", v, path + (k,))
                if k == "claimName" and isinstance(v, str):
                    use("PersistentVolumeClaim", v, path + (k,))
                if k == "authOptions" and isinstance(v, dict) and v.get("secretName"):
                    use("Secret", v["secretName"], path + (k, "secretName"))
                self.references(v, path + (k,), use)
        elif isinstance(x, list):
            for i, v in enumerate(x):
                self.references(v, path + (i,), use)

    def finish(self):
        if self.refs:
            for name, n, path, kind, ref, lines in self.used:
                if (kind, ref) not in self.defined:
                    self.say(name, n, path, "no %s %r in the files given" % (kind, ref), lines)


def main(argv=None):
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("paths", nargs="+")
    ap.add_argument(
        "--schemas",
        default=HERE,
        help="folder of derived schemas, searched with its subfolders (default: next to this script)",
    )
    ap.add_argument(
        "--k8s-version", help="for core kinds, e.g. 1.34 (default: the newest packaged)"
    )
    ap.add_argument(
        "--feature-gates",
        default="",
        help="the operator's, e.g. RayClusterNetworkPolicy=true,RayCronJob=true",
    )
    ap.add_argument(
        "--allow-unknown-kinds", action="store_true", help="kinds without a schema are not errors"
    )
    ap.add_argument(
        "--refs",
        action="store_true",
        help="Secrets, ConfigMaps, ServiceAccounts, PVCs named must be in the files given",
    )
    ap.add_argument(
        "--require-core",
        action="store_true",
        help="fail where kubernetes-validate is not installed",
    )
    ap.add_argument("--warnings-as-errors", action="store_true")
    a = ap.parse_args(argv)
    gates = {}
    for g in filter(None, a.feature_gates.split(",")):
        k, _, v = g.partition("=")
        if k not in GATES:
            ap.error("unknown feature gate %s" % k)
        gates[k] = v.lower() in ("", "true")
    c = Checker(a.schemas, a.k8s_version, gates, a.allow_unknown_kinds, a.refs)
    if a.require_core and not c.core.ok:
        print("kubernetes-validate is not installed", file=sys.stderr)
        return 2
    files = []
    for p in a.paths:
        if os.path.isdir(p):
            files += sorted(
                os.path.join(r, f)
                for r, _, fs in os.walk(p)
                for f in fs
                if f.endswith((".yaml", ".yml"))
            )
        elif os.path.exists(p):
            files.append(p)
        else:
            ap.error("no such file: %s" % p)
    for f in files:
        c.file(f)
    c.finish()
    print(
        "%d documents in %d files: %d errors, %d warnings%s (core kinds: %s)"
        % (
            c.documents,
            len(files),
            c.errors,
            c.warnings,
            ", %d documents not checked against a schema" % c.unchecked if c.unchecked else "",
            "Kubernetes " + c.core.version
            if c.core.ok
            else "kubernetes-validate not installed, rules only",
        ),
        file=sys.stderr,
    )
    return 1 if c.errors or (a.warnings_as_errors and c.warnings) else 0


if __name__ == "__main__":
    sys.exit(main())

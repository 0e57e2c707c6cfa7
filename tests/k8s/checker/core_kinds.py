"""Rules of Kubernetes' own kinds that no schema states."""

import base64
import binascii

from tests.k8s.checker.pods import check_pod
from tests.k8s.checker.report import Report
from tests.k8s.checker.values import Document, dicts, dig


def check_core_kind(found: Report, doc: Document) -> None:
    kind, spec = str(doc.get("kind")), dig(doc, "spec")
    tpl = {
        "Pod": ((), doc),
        "CronJob": (
            ("spec", "jobTemplate", "spec", "template"),
            dig(spec, "jobTemplate", "spec", "template"),
        ),
    }.get(kind)
    if kind in ("Deployment", "StatefulSet", "DaemonSet", "ReplicaSet", "Job"):
        tpl = (("spec", "template"), dig(spec, "template"))
    if tpl and isinstance(tpl[1], dict):
        check_pod(found, tpl[1], tpl[0])
        rp = dig(tpl[1], "spec", "restartPolicy")
        if kind in ("Deployment", "StatefulSet", "DaemonSet") and rp not in ({}, "Always"):
            found.error(tpl[0] + ("spec", "restartPolicy"), f"must be Always in a {kind}")
        if kind in ("Job", "CronJob") and rp not in ("OnFailure", "Never"):
            found.error(
                tpl[0] + ("spec", "restartPolicy"), f"must be OnFailure or Never in a {kind}"
            )
    if kind in ("Deployment", "StatefulSet", "DaemonSet"):
        sel, lab = dig(spec, "selector", "matchLabels"), dig(spec, "template", "metadata", "labels")
        for k, v in sel.items() if isinstance(sel, dict) else ():
            if dig(lab, k) != v:
                found.error(
                    ("spec", "selector", "matchLabels", k), "the pod template has no such label"
                )
        if not spec.get("selector"):
            found.error(("spec",), "required field 'selector' is missing")
    if kind == "Service":
        for i, p in dicts(spec.get("ports")):
            if len(spec["ports"]) > 1 and not p.get("name"):
                found.error(
                    ("spec", "ports", i), "a name is required where a Service has several ports"
                )
        if spec.get("type", "ClusterIP") not in (
            "ClusterIP",
            "NodePort",
            "LoadBalancer",
            "ExternalName",
        ):
            found.error(("spec", "type"), "unknown type {!r}".format(spec.get("type")))
    if kind == "PodDisruptionBudget":
        if "minAvailable" in spec and "maxUnavailable" in spec:
            found.error(("spec",), "minAvailable and maxUnavailable are mutually exclusive")
        if not spec.get("selector"):
            found.warning(("spec",), "no selector: this budget covers nothing")
    if kind == "HorizontalPodAutoscaler" and spec.get("minReplicas", 1) > spec.get(
        "maxReplicas", 1
    ):
        found.error(("spec", "minReplicas"), "over maxReplicas")
    if kind == "NetworkPolicy":
        for i, t in enumerate(spec.get("policyTypes") or []):
            if t not in ("Ingress", "Egress"):
                found.error(("spec", "policyTypes", i), f"unknown policy type {t!r}")
    if kind == "Secret":
        for k, v in dig(doc, "data").items():
            try:
                base64.b64decode("".join(v.split()), validate=True)
            except (binascii.Error, ValueError, AttributeError):
                found.error(("data", k), "not base64")
    if kind in ("RoleBinding", "ClusterRoleBinding"):
        for i, s in dicts(doc.get("subjects")):
            if s.get("kind") == "ServiceAccount" and not s.get("namespace"):
                found.warning(
                    ("subjects", i),
                    "a ServiceAccount subject needs a namespace"
                    " (kustomize's namespace field can add it)",
                )
    if kind == "ConfigMap":
        for k in set(dig(doc, "data")) & set(dig(doc, "binaryData")):
            found.error(("binaryData", k), "also in data")

"""The rules of each Ray kind, and of those that Kueue queues."""

from tests.k8s.checker.clusters import check_cluster
from tests.k8s.checker.jobs import check_job
from tests.k8s.checker.report import Report
from tests.k8s.checker.services import check_service
from tests.k8s.checker.values import Document, dicts, dig


def check_ray(found: Report, doc: Document) -> None:
    kind, spec, ann = doc["kind"], dig(doc, "spec"), dig(doc, "metadata", "annotations")
    check_kueue(found, doc, kind, spec, ann)
    if kind == "RayCluster":
        check_cluster(found, spec, ("spec",), ann)
    elif kind == "RayJob":
        check_job(found, spec, ("spec",), ann)
    elif kind == "RayService":
        check_service(found, doc)
    elif kind == "RayCronJob":
        if not found.gates["RayCronJob"]:
            found.error(("kind",), "RayCronJob needs the operator's feature gate RayCronJob")
        s = str(spec.get("schedule", ""))
        if "TZ" in s:
            found.error(("spec", "schedule"), "use timeZone instead of TZ")
        if not s.startswith("@") and len(s.split()) != 5:
            found.error(("spec", "schedule"), f"not a five-field cron schedule: {s!r}")
        check_job(found, dig(spec, "jobTemplate"), ("spec", "jobTemplate"), {})


def check_kueue(found: Report, doc: Document, kind: str, spec: Document, ann: Document) -> None:
    """What Kueue's webhooks refuse for a Ray* object that names a queue."""
    if not dig(doc, "metadata", "labels", "kueue.x-k8s.io/queue-name"):
        return
    cs, path = {
        "RayCluster": (spec, ("spec",)),
        "RayJob": (dig(spec, "rayClusterSpec"), ("spec", "rayClusterSpec")),
        "RayService": (dig(spec, "rayClusterConfig"), ("spec", "rayClusterConfig")),
    }.get(kind, ({}, ()))
    if kind == "RayJob" and cs and spec.get("shutdownAfterJobFinishes") is not True:
        found.error(
            ("spec", "shutdownAfterJobFinishes"),
            "must be true under Kueue (so deletionRules cannot be used)",
        )
    if kind == "RayJob" and cs and spec.get("clusterSelector"):
        found.error(("spec", "clusterSelector"), "not under Kueue")
    if (
        cs.get("enableInTreeAutoscaling") is True
        and dig(ann, "kueue.x-k8s.io/elastic-job") != "true"
    ):
        found.error(
            (*path, "enableInTreeAutoscaling"),
            'under Kueue needs the annotation kueue.x-k8s.io/elastic-job: "true"',
        )
    if len(cs.get("workerGroupSpecs") or []) > 17:
        found.error((*path, "workerGroupSpecs"), "more than 17 groups under Kueue")
    for i, w in dicts(cs.get("workerGroupSpecs")):
        if w.get("groupName") == "head":
            found.error(
                (*path, "workerGroupSpecs", i, "groupName"), "'head' is reserved under Kueue"
            )

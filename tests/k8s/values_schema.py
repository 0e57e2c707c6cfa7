"""k8s/chart/values.schema.json from values.yaml: a name that is not there is refused.

python -m tests.k8s.values_schema     writes it
"""

import json
from typing import Any

import yaml

from tests.k8s.chart import CHART, PROFILES

FILE = CHART / "values.schema.json"
Schema = dict[str, Any]

TEXTS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}
TOLERATIONS: Schema = {"type": "array", "items": TEXTS}
QUANTITY: Schema = {"type": ["string", "number"], "pattern": r"^\d+(\.\d+)?(m|Mi|Gi|Ti)?$"}
COUNT: Schema = {"type": "integer", "minimum": 0}
LABEL = "[a-z0-9]([a-z0-9-]*[a-z0-9])?"
# Names that stand inside of others, or in the edge's configuration, where no quote helps.
NAME: Schema = {"type": "string", "pattern": f"^{LABEL}$"}
DOMAIN: Schema = {"type": "string", "pattern": rf"^{LABEL}(\.{LABEL})*$"}


def _closed(properties: Schema, *, nullable: bool = False) -> Schema:
    kind = ["object", "null"] if nullable else "object"
    return {"type": kind, "additionalProperties": False, "properties": properties}


SIZES: Schema = {
    name: QUANTITY for name in ("cpu", "requestCpu", "memory", "disk", "requestDisk")
} | {"requestCpu": {"anyOf": [QUANTITY, {"const": ""}]}}
COUNTS: Schema = {
    name: COUNT for name in ("min", "max", "idleSeconds", "gpus", "keep", "logicalCpus")
}
PODS = _closed(SIZES | COUNTS | {"nodeSelector": TEXTS}, nullable=True)
SIZE = _closed(SIZES)
NODE = _closed(
    {
        "cpus": {"type": "number", "exclusiveMinimum": 0},
        "gpus": {"type": "number", "exclusiveMinimum": 0},
        "queued": {"type": "integer", "minimum": -1},
        "groups": {"type": "array", "items": NAME, "minItems": 1},
        **{
            name: {"type": "integer", "minimum": 1}
            for name in ("min", "max", "ongoing", "target", "graceSeconds", "perPod")
        },
        **{name: COUNT for name in ("upSeconds", "downSeconds", "surge")},
    }
)
# Path of a value -> what it may be, where its default does not say it.
SPECIAL: dict[str, Schema] = {
    "clusterDomain": DOMAIN,
    "edge.gateway.class": DOMAIN,
    "edge.gateway.host": {"type": "string", "pattern": rf"^(\*\.)?{LABEL}(\.{LABEL})*$"},
    "profiles": {"type": "array", "items": {"enum": list(PROFILES)}, "uniqueItems": True},
    "image.digest": {"type": "string", "pattern": "^(sha256:[0-9a-f]{64})?$"},
    "image.pullPolicy": {"enum": ["IfNotPresent", "Always", "Never"]},
    "storage.volume.accessMode": {"enum": ["ReadWriteOnce", "ReadWriteMany"]},
    "identity.serving": TEXTS,
    "identity.training": TEXTS,
    "identity.podLabels": TEXTS,
    "gpu.nodeSelector": TEXTS,
    "gpu.tolerations": TOLERATIONS,
    "spot.nodeSelector": TEXTS,
    "spot.tolerations": TOLERATIONS,
    # Checked by deploy/settings.py itself: tests/k8s/test_serve_config.py.
    "serving.args": {"type": "object"},
    "serving.upgrade.type": {"enum": ["NewCluster", "NewClusterWithIncrementalUpgrade"]},
    "serving.upgrade.gatewayClass": DOMAIN,
    "serving.groups": {
        "type": "object",
        "propertyNames": {"pattern": NAME["pattern"]},
        "additionalProperties": PODS,
    },
    "serving.head": SIZE,
    "serving.autoscaler": SIZE,
    "monitoring.labels": TEXTS,
    "pipeline.head": SIZE,
    "pipeline.workers": _closed(
        {
            "cpu": PODS,
            "gpu": _closed(
                SIZES
                | COUNTS
                | {"nodeSelector": TEXTS, "count": COUNT, "least": COUNT, "spot": COUNT},
                nullable=True,
            ),
        }
    ),
    "kueue.nodeLabels": TEXTS,
    "jobs": {
        "type": "object",
        "propertyNames": {"pattern": "^[a-z0-9]([a-z0-9-]{0,20}[a-z0-9])?$"},
        "additionalProperties": {
            "type": ["object", "null"],
            "additionalProperties": False,
            "required": ["command"],
            "properties": {
                "command": {"type": "string", "pattern": "^[a-z]+( |$)"},
                "retries": COUNT,
                "deadlineSeconds": COUNT,
                "head": SIZE,
                "pods": PODS,
            },
        },
    },
}


def _of(value: Any, path: str) -> Schema:
    if path in SPECIAL:
        return SPECIAL[path]
    if path.startswith("serving.nodes."):
        return NODE
    if isinstance(value, dict):
        properties = {key: _of(inner, f"{path}.{key}".lstrip(".")) for key, inner in value.items()}
        return _closed(properties)
    if isinstance(value, list):
        inner = "integer" if path.endswith("ports") else "string"
        return {"type": "array", "items": {"type": inner}}
    if isinstance(value, bool):
        return {"type": "boolean"}
    return COUNT if isinstance(value, int) else {"type": "string"}


def schema() -> Schema:
    """The schema that belongs to values.yaml as it is."""
    defaults = yaml.safe_load((CHART / "values.yaml").read_text())
    found = _of(defaults, "")
    # Helm's own.
    found["properties"]["global"] = {"type": "object"}
    return {"$schema": "http://json-schema.org/draft-07/schema#", **found}


def text() -> str:
    return json.dumps(schema(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.write_text(text())
    print(f"wrote {FILE}")

"""Values of manifests: names, labels, quantities and versions, read without ever raising."""

import json
import re
from typing import Any

# Keys and indices from the top of a document down to a value of it.
Path = tuple[str | int, ...]
# A mapping of a manifest, in which anything may stand where something else belongs.
Document = dict[str, Any]

DNS1123 = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?\Z")
DNS1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?\Z")
SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*\Z")
PORT_NAME = re.compile(r"(?=.{1,15}\Z)(?=.*[a-z])[a-z0-9]+(-[a-z0-9]+)*\Z")
LABEL_VALUE = re.compile(r"(([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9])?\Z")
LABEL_NAME = re.compile(r"([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]\Z")
QUANTITY = re.compile(r"([+-]?(?:\d+\.?\d*|\.\d+))([KMGTPE]i|[numkMGTPE]|[eE][+-]?\d+)?\Z")
# What a quantity's suffix multiplies by.
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


def dig(x: Any, *keys: str | int) -> Any:
    """x[k1][k2]..., or {} where there is none."""
    for k in keys:
        x = (
            x.get(k)
            if isinstance(x, dict)
            else x[k]
            if isinstance(x, list) and isinstance(k, int) and k < len(x)
            else None
        )
    return {} if x is None else x


def dicts(x: Any) -> list[tuple[int, Document]]:
    """The mappings of a list, with their places in it."""
    return [(i, v) for i, v in enumerate(x) if isinstance(v, dict)] if isinstance(x, list) else []


def quantity(v: Any) -> float | None:
    """A Kubernetes quantity such as 500m or 2Gi; None where it is none."""
    if isinstance(v, bool) or v is None:
        return None
    if isinstance(v, (int, float)):
        return float(v)
    m = QUANTITY.match(v) if isinstance(v, str) else None
    if not m:
        return None
    n, s = m.groups()
    return float(n) * (10.0 ** int(s[1:]) if s and s[0] in "eE" and s[1:] else SUFFIX[s])


def version_of(s: Any) -> tuple[int, ...] | None:
    """Major, minor and patch."""
    m = re.match(r"v?(\d+)\.(\d+)(?:\.(\d+))?", str(s or ""))
    return tuple(int(x or 0) for x in m.groups()) if m else None


def dotted(path: Path) -> str:
    """A path as people read it: spec.containers[0].name."""
    out = ""
    for p in path:
        out += (
            f"[{p}]"
            if isinstance(p, int)
            else ("." if out else "")
            + (p if re.match(r"[\w-]+\Z", str(p)) else f"[{json.dumps(p)}]")
        )
    return out.replace(".[", "[") or "(document)"

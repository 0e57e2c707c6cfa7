"""YAML as the Go tools read it: each value's line, and duplicate keys as errors."""

import re
from typing import Any

import yaml

from tests.k8s.checker.values import Path

# A path, its line and what is wrong there.
Problem = tuple[Path, int, str]


class Loader(yaml.CSafeLoader):
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


def build(
    node: yaml.Node, path: Path, lines: dict[Path, int], problems: list[Problem], ctor: Any
) -> Any:
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
                problems.append(((*path, k), kn.start_mark.line + 1, "duplicate key"))
            out[k] = build(vn, (*path, k), lines, problems, ctor)
            lines[(*path, k)] = kn.start_mark.line + 1
        for m in merges:
            for k, v in m.items():
                out.setdefault(k, v)
        return out
    if isinstance(node, yaml.SequenceNode):
        return [build(c, (*path, i), lines, problems, ctor) for i, c in enumerate(node.value)]
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


def load_documents(text: str) -> list[tuple[int, Any, dict[Path, int], list[Problem]]]:
    """Each document with its number, the line of each path and its problems."""
    loader, out, n = Loader(text), [], 0
    try:
        while loader.check_node():
            n += 1
            lines: dict[Path, int] = {}
            problems: list[Problem] = []
            data = build(loader.get_node(), (), lines, problems, loader)
            if data is not None:
                out.append((n, data, lines, problems))
    finally:
        loader.dispose()
    return out

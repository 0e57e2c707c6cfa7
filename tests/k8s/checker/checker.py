"""Reads files and applies schemas, rules and references to each document; knows no rule."""

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path as File
from typing import Any

import yaml

from tests.k8s.checker.core_kinds import check_core_kind
from tests.k8s.checker.pods import check_metadata
from tests.k8s.checker.ray_kinds import check_ray
from tests.k8s.checker.report import GATES, Report
from tests.k8s.checker.schemas import Core, Strict, explain, has_null, prune_nulls
from tests.k8s.checker.values import Document, Path, dig, dotted
from tests.k8s.checker.yaml_reader import load_documents

SCHEMAS = File(__file__).parents[1] / "schemas"
# The line of each path of a file.
Lines = dict[Path, int]


class Checker:
    """Checks files, and counts.

    Args:
        gates: The operator's feature gates where they differ from GATES.
        refs: Whether what is named must be in the files given.
    """

    def __init__(self, gates: Mapping[str, bool], *, refs: bool) -> None:
        self.schemas: dict[str, Any] = {}
        self.by_gvk: dict[tuple[str, ...], Any] = {}
        for file in sorted(SCHEMAS.glob("*.json")):
            schema = json.loads(file.read_text())
            self.schemas[file.stem] = schema
            if "x-kubernetes-gvk" in schema:
                self.by_gvk[tuple(schema["x-kubernetes-gvk"])] = Strict(schema)
        self.core, self.gates, self.refs = Core(), {**GATES, **gates}, refs
        self.errors = self.warnings = self.documents = 0
        self.defined: set[tuple[str, str]] = set()
        self.used: list[tuple[str, int, Path, str, str, Lines]] = []

    def say(
        self, file: str, doc: int, path: Path, msg: str, lines: Lines, *, warning: bool = False
    ) -> None:
        """Print a finding with the line of its path, or of what it lies in."""
        at = path
        while at and at not in lines:
            at = at[:-1]
        line = f" (line {lines[at]})" if at in lines else ""
        print(f"{file}:{doc}:{dotted(path)}: {'warning: ' if warning else ''}{msg}{line}")
        if warning:
            self.warnings += 1
        else:
            self.errors += 1

    def file(self, name: str) -> None:
        """Check each document of a file."""
        try:
            docs = load_documents(File(name).read_text(encoding="utf-8"))
        except yaml.YAMLError as e:
            mark = getattr(e, "problem_mark", None)
            lines: Lines = {(): mark.line + 1} if mark else {}
            return self.say(name, 1, (), f"not YAML: {getattr(e, 'problem', e)}", lines)
        for n, data, lines, problems in docs:
            items: list[tuple[Path, Any]] = [((), data)]
            if isinstance(data, dict) and data.get("kind") == "List":
                items = [(("items", i), x) for i, x in enumerate(data.get("items") or [])]
            for p, line, msg in problems:
                self.say(name, n, p, msg, {p: line})
            for base, doc in items:
                self.document(name, n, base, doc, lines)

    def document(self, name: str, n: int, base: Path, doc: Any, lines: Lines) -> None:
        """Check one document.

        Args:
            name, n: Its file, and its number in it.
            base: Its path, of an item of a list.
            doc: The document; nulls are taken out of it.
            lines: The line of each path.
        """
        self.documents += 1
        said: set[tuple[Path, str]] = set()

        def err(path: Path, msg: str, dedup: bool = False) -> None:
            if (path, msg) in said or (dedup and any(p[: len(path)] == path for p, _ in said)):
                return
            said.add((path, msg))
            self.say(name, n, base + path, msg, lines)

        def warn(path: Path, msg: str) -> None:
            self.say(name, n, base + path, msg, lines, warning=True)

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
                        err((k, i), f"no such file: {r}")
            return
        found = Report(self.gates, err, warn, self.schemas, self.core)
        is_core = self.validate(api, kind, doc, err, warn)
        m = dig(doc, "metadata")
        m = m if isinstance(m, dict) else {}
        if is_core and not (m.get("name") or m.get("generateName")):
            err(("metadata",), "required field 'name' is missing")
        try:
            check_metadata(found, doc)
            check_ray(found, doc) if api.startswith("ray.io/") else check_core_kind(found, doc)
        except (AttributeError, TypeError, KeyError, IndexError, ValueError) as e:
            # Malformed input has been reported by the schema already.
            if not said:
                err((), f"the rules failed on this document: {e!r}")
        if isinstance(m.get("name"), str):
            self.defined.add((kind, m["name"]))
        references(doc, (), lambda k, x, p: self.used.append((name, n, base + p, k, x, lines)))

    def validate(
        self,
        api: str,
        kind: str,
        doc: Document,
        err: Callable[..., None],
        warn: Callable[[Path, str], None],
    ) -> bool:
        """By the kind's schema. Returns: whether it is one of Kubernetes' own."""
        group, _, version = api.rpartition("/")
        validator = self.by_gvk.get((group, version, kind))
        is_core = validator is None
        if is_core:
            validator = self.core.validator(api, kind)
        if validator is None:
            served = sorted("{}/{}".format(*k[:2]) for k in self.by_gvk if k[2] == kind)
            if served:
                err(
                    ("apiVersion",),
                    "no schema for {} {}; there is one for {}".format(api, kind, ", ".join(served)),
                )
            else:
                err(("kind",), f"no schema for {api} {kind}")
        else:
            # Unknown fields that are null, before those are dropped.
            for e in validator.iter_errors(doc) if has_null(doc) else ():
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
        return is_core

    def finish(self) -> None:
        if self.refs:
            for name, n, path, kind, ref, lines in self.used:
                if (kind, ref) not in self.defined:
                    self.say(name, n, path, f"no {kind} {ref!r} in the files given", lines)


def references(x: Any, path: Path, use: Callable[[str, str, Path], None]) -> None:
    """Call ``use`` with kind, name and path of each object that a document names."""
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
                    use(kind, v["name"], (*path, k, "name"))
            if (
                k == "secret"
                and isinstance(v, dict)
                and isinstance(v.get("secretName"), str)
                and not v.get("optional")
            ):
                use("Secret", v["secretName"], (*path, k, "secretName"))
            if k == "serviceAccountName" and isinstance(v, str) and v != "default":
                use("ServiceAccount", v, (*path, k))
            if k == "claimName" and isinstance(v, str):
                use("PersistentVolumeClaim", v, (*path, k))
            if k == "authOptions" and isinstance(v, dict) and v.get("secretName"):
                use("Secret", v["secretName"], (*path, k, "secretName"))
            references(v, (*path, k), use)
    elif isinstance(x, list):
        for i, v in enumerate(x):
            references(v, (*path, i), use)

"""Strict JSON schemas: what of a document they refuse, down to the field."""

import difflib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import jsonschema
from kubernetes_validate import utils
from referencing import Registry, Resource

from tests.k8s.checker.values import Path


def unique_keys(
    validator: Any, keys: Mapping[str, Any], instance: Any, schema: Any
) -> Iterator[jsonschema.ValidationError]:
    """What `x-unique-keys` means: no two entries of a list agree in all of these."""
    if not isinstance(instance, list):
        return
    seen = set()
    for i, item in enumerate(instance):
        if isinstance(item, dict):
            k = tuple(repr(item.get(n, d)) for n, d in keys.items())
            if k in seen:
                err = jsonschema.ValidationError(
                    "duplicate entry: {}".format(
                        ", ".join(f"{n}={item.get(n, d)}" for n, d in keys.items())
                    )
                )
                err.path.appendleft(i)
                yield err
            seen.add(k)


Strict = jsonschema.validators.extend(
    jsonschema.Draft202012Validator, {"x-unique-keys": unique_keys}
)


def explain(e: jsonschema.ValidationError) -> Iterator[tuple[Path, str]]:
    """Paths and messages of one error, down to the branch that fits the instance best."""
    if e.validator in ("anyOf", "oneOf") and e.context:
        non_null = [
            c
            for c in e.context
            if not (c.validator == "type" and c.validator_value in ("null", ["null"]))
        ]
        branches: dict[Any, list[jsonschema.ValidationError]] = {}
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
            yield (*path, k), "unknown field" + (f", did you mean {near[0]!r}?" if near else "")
    elif e.validator == "required":
        for k in e.validator_value:
            if k not in e.instance:
                yield path, f"required field {k!r} is missing"
    elif e.validator == "type":
        want = (
            e.validator_value
            if isinstance(e.validator_value, str)
            else " or ".join(e.validator_value)
        )
        yield path, f"wrong type: {json.dumps(e.instance, default=str)[:60]}, expected {want}"
    else:
        yield path, e.message if len(e.message) < 200 else e.message[:200] + " ..."


def prune_nulls(x: Any, path: Path = ()) -> Iterator[Path]:
    """Drop null members, as the API server does for fields that are not nullable.

    Returns: their paths.
    """
    if isinstance(x, dict):
        for k in [k for k, v in x.items() if v is None]:
            del x[k]
            yield (*path, k)
        for k, v in x.items():
            yield from prune_nulls(v, (*path, k))
    elif isinstance(x, list):
        for i, v in enumerate(x):
            yield from prune_nulls(v, (*path, i))


def has_null(x: Any) -> bool:
    vs = x.values() if isinstance(x, dict) else x if isinstance(x, list) else ()
    return any(v is None or has_null(v) for v in vs)


class Core:
    """The strict schemas of the package kubernetes-validate, for all that is not Ray's."""

    def __init__(self) -> None:
        self._validators: dict[str, Any] = {}
        self.version = utils.all_versions()[-1]
        self._folder = f"kubernetes-json-schema/v{self.version}-local-strict"
        definitions = utils.schema_contents(f"{self._folder}/_definitions.json", self.version)
        self._registry = Resource.from_contents(definitions) @ Registry()

    def validator(self, api_version: str, kind: str) -> Any:
        name = "{}-{}".format(kind.lower(), re.sub(r"^([^./]*)(?:\.[^/]*)?/", r"\1-", api_version))
        if name not in self._validators:
            try:
                schema = utils.schema_contents(f"{self._folder}/{name}.json", self.version)
                gvk = schema.get("x-kubernetes-group-version-kind") or []
                group, _, ver = api_version.rpartition("/")
                if gvk and not any(
                    (g.get("group", ""), g.get("version")) == (group, ver) for g in gvk
                ):
                    raise FileNotFoundError(name)
                self._validators[name] = jsonschema.Draft202012Validator(
                    schema, registry=self._registry
                )
            except FileNotFoundError:
                self._validators[name] = None
        return self._validators[name]

"""The Helm chart rendered by Helm's own engine, without a cluster; knows no rules.

As a program it prints the manifests, for those without `helm`:
    python -m tests.k8s.chart [--name NAME] [--namespace NAME] [--create-namespace] VALUES.yaml ...
"""

import argparse
import contextlib
import functools
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[2]
CHART = ROOT / "k8s" / "chart"
VALUES = ROOT / "k8s" / "values"
PROFILES = tuple(sorted(path.stem for path in (CHART / "profiles").glob("*.yaml")))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Helm's library says of each symbolic link that it follows it, past Python's streams."""
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with open(os.devnull, "wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


@functools.cache
def _chart() -> Any:
    # Only where manifests are rendered: the library has 80 MB.
    from helm_python.chart import Chart

    with _quiet():
        return Chart.load(CHART)


def joined(*parts: dict[str, Any]) -> dict[str, Any]:
    """Values over values, as several `-f` of Helm: mappings are joined, all else replaced."""
    found: dict[str, Any] = {}
    for part in parts:
        for key, value in part.items():
            before = found.get(key)
            both = isinstance(before, dict) and isinstance(value, dict)
            found[key] = joined(before, value) if both else value  # type: ignore[arg-type]
    return found


def values(name: str) -> dict[str, Any]:
    """The values file of an environment."""
    found: dict[str, Any] = yaml.safe_load((VALUES / f"{name}.yaml").read_text())
    return found


@functools.cache
def _rendered(said: str, name: str, namespace: str) -> tuple[str, ...]:
    texts = _chart().render(values=json.loads(said), name=name, namespace=namespace)
    return tuple(texts[path] for path in sorted(texts) if path.endswith(".yaml"))


def render_texts(
    said: dict[str, Any], name: str = "kintsugi", namespace: str = "kintsugi"
) -> tuple[str, ...]:
    """What `helm template NAME k8s/chart -n NAMESPACE -f VALUES` prints, a template each.

    Raises: helm_python's HelmError for values that the chart refuses.
    """
    return _rendered(json.dumps(said), name, namespace)


def notes(said: dict[str, Any]) -> str:
    """What `helm install` and `helm upgrade` print at their end."""
    texts: dict[str, str] = _chart().render(values=said, name="kintsugi", namespace="kintsugi")
    return next(text for path, text in texts.items() if path.endswith("NOTES.txt"))


def lint(said: dict[str, Any]) -> list[str]:
    """What `helm lint --strict` finds, but for the advice to have an icon."""
    from helm_python.chart import lint as helm_lint

    with _quiet():
        found = helm_lint(CHART, said, strict=True, namespace="kintsugi")
    messages = [f"{m['path']}: {m['error']}" for m in found["messages"]]
    return [m for m in messages if "icon is recommended" not in m] + list(found["errors"])


def main() -> None:
    parser = argparse.ArgumentParser(description="Print the chart's manifests.")
    parser.add_argument("values", nargs="*", type=Path, help="files of values, later ones win")
    parser.add_argument("--name", default="kintsugi")
    parser.add_argument("--namespace", default="kintsugi")
    parser.add_argument("--create-namespace", action="store_true", help="print it, too")
    args = parser.parse_args()
    said = joined(*(yaml.safe_load(path.read_text()) or {} for path in args.values))
    if args.create_namespace:
        said = joined(said, {"namespace": {"create": True}})
    texts = render_texts(said, args.name, args.namespace)
    print("\n---\n".join(text.strip() for text in texts if text.strip()))


if __name__ == "__main__":
    main()

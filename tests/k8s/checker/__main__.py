"""Validate Kubernetes and KubeRay manifests offline and strictly.

usage: python -m tests.k8s.checker [options] FILE_OR_DIR ...

Prints a line for each finding, `file:document:path: message (line N)`, and exits with 1 when
there is an error. Each document is held against:

- Ray kinds: the strict schemas of ../schemas, in which unknown fields are errors; the rules that
  the API server's CEL and the operator's own validation.go apply; the rules of pods
- other CRDs: each <plural>.json with x-kubernetes-gvk in the folder of schemas
- Kubernetes' own kinds: the schemas of the package kubernetes-validate
- serveConfigV2: serve_config.json, a strict form of Ray Serve's own schema, as Ray itself ignores
  unknown keys
"""

import argparse
import os
import sys
from collections.abc import Sequence

from tests.k8s.checker.checker import Checker
from tests.k8s.checker.report import GATES


def main(argv: Sequence[str] | None = None) -> int:
    ap = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    ap.add_argument("paths", nargs="+", metavar="FILE_OR_DIR")
    ap.add_argument("--feature-gates", default="", help="the operator's, such as RayCronJob=true")
    ap.add_argument(
        "--refs",
        action="store_true",
        help="Secrets, ConfigMaps, ServiceAccounts, PVCs named must be in the files given",
    )
    a = ap.parse_args(argv)
    gates = {}
    for g in filter(None, a.feature_gates.split(",")):
        k, _, v = g.partition("=")
        if k not in GATES:
            ap.error(f"unknown feature gate {k}")
        gates[k] = v.lower() in ("", "true")
    c = Checker(gates, refs=a.refs)
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
            ap.error(f"no such file: {p}")
    for f in files:
        c.file(f)
    c.finish()
    print(
        f"{c.documents} documents in {len(files)} files: {c.errors} errors, {c.warnings} warnings"
        f" (Kubernetes {c.core.version})",
        file=sys.stderr,
    )
    return 1 if c.errors else 0


if __name__ == "__main__":
    sys.exit(main())

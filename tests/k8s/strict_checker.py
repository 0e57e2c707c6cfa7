"""Calls the strict checker of manifests (`tests.k8s.checker`) as a program; knows no rule."""

import subprocess
import sys
from pathlib import Path

import yaml

from tests.k8s.manifests import K8S, ROOT

# What README asks the platform engineer for: it is part of no manifest.
SECRETS = {
    "kintsugi-api-keys": ("keys",),
    "kintsugi-redis": ("password",),
    "kintsugi-edge-tls": ("tls.crt", "tls.key"),
}


def secrets_yaml() -> str:
    return yaml.safe_dump_all(
        {
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": {"name": name},
            "stringData": dict.fromkeys(keys, "x"),
        }
        for name, keys in SECRETS.items()
    )


def feature_gates() -> str:
    """Those of the operator's values, as the checker takes them."""
    gates = yaml.safe_load((K8S / "operator" / "values.yaml").read_text())["featureGates"]
    return ",".join(f"{gate['name']}={str(gate['enabled']).lower()}" for gate in gates)


def check_manifests(*paths: Path) -> list[str]:
    """Findings, one a line: ``file:document:path: message``."""
    command = [sys.executable, "-m", "tests.k8s.checker", "--refs"]
    command += ["--feature-gates", feature_gates(), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=240, cwd=ROOT)
    assert done.returncode in (0, 1), done.stderr
    return [line for line in done.stdout.splitlines() if not line.startswith("  ")]

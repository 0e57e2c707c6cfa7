"""The strict checker of KubeRay manifests, which lies outside the repository; knows no rule."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.k8s.manifests import K8S, ROOT

# What README asks the platform engineer for: it is part of no manifest.
SECRETS = {
    "kintsugi-object-store": (
        "AWS_ENDPOINT_URL",
        "AWS_REGION",
        "AWS_ACCESS_KEY_ID",
        "AWS_SECRET_ACCESS_KEY",
    ),
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
    """Findings, one a line: ``file:document:path: message``. Skips where it is absent."""
    shared = Path(os.environ.get("KINTSUGI_SHARED", ROOT.parent / "shared"))
    schemas = Path(os.environ.get("KUBERAY_SCHEMAS", shared / "kuberay"))
    checker = schemas / "check_manifests.py"
    if not checker.is_file():
        pytest.skip(f"no {checker}: set KINTSUGI_SHARED or KUBERAY_SCHEMAS")
    pytest.importorskip("kubernetes_validate", reason="install the package kubernetes-validate")
    command = [sys.executable, str(checker), "--refs", "--require-core", "--schemas", str(schemas)]
    command += ["--feature-gates", feature_gates(), *map(str, paths)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout.splitlines()

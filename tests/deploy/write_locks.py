"""deploy/locks: every package of the image with its hash, as pip itself resolves constraints.txt.

    python -m tests.deploy.write_locks      asks the package index, installs nothing; minutes

For Linux on x86_64 and this Python, which are the image's.
"""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
LOCKS = ROOT / "deploy" / "locks"
OURS = "kintsugi-inpainting"
# Those of the layer that seldom changes and is by far the largest.
TORCH = re.compile(r"^(torch|torchvision|triton|nvidia-.*|cuda-.*)$")
# What an editable install of our own project is built with.
BUILD = ("hatchling", "editables")
TEXTS = {
    "torch": "PyTorch with CUDA's libraries: the layer that seldom changes.",
    "packages": "Everything else that the image installs.",
}


def resolve() -> list[dict[str, Any]]:
    """What pip would install, from its own report."""
    command = [sys.executable, "-m", "pip", "install", "--quiet", "--dry-run"]
    command += ["--ignore-installed", "--report", "-", "-c", "constraints.txt"]
    command += [".[eval,tracing]", *BUILD]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    found: list[dict[str, Any]] = json.loads(done.stdout)["install"]
    return found


def name_of(package: dict[str, Any]) -> str:
    return re.sub(r"[-_.]+", "-", package["metadata"]["name"]).lower()


def lock(packages: list[dict[str, Any]], which: str) -> str:
    """One of the two files."""
    lines = [f"# {TEXTS[which]}", "# Linux, x86_64, CPython 3.11: tests/deploy/write_locks.py."]
    for package in sorted(packages, key=name_of):
        name, version = name_of(package), package["metadata"]["version"]
        if name == OURS or bool(TORCH.match(name)) != (which == "torch"):
            continue
        digest = package["download_info"]["archive_info"]["hashes"]["sha256"]
        lines.append(f"{name}=={version} --hash=sha256:{digest}")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    resolved = resolve()
    for each in TEXTS:
        (LOCKS / f"{each}.txt").write_text(lock(resolved, each))
        print(f"wrote {LOCKS / each}.txt")

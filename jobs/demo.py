#!/usr/bin/env python3
"""Run the whole path on this machine; kintsugi.demo does the work."""

import argparse
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs._bootstrap import DONE, ROOT, interrupt_once, run
from kintsugi.servers.console import Console


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Photographs to a filled hole, every part real.")
    parser.add_argument("--folder", metavar="DIR", type=Path, default=ROOT / "demo")
    folder: Path = parser.parse_args(argv).folder.absolute()
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.demo.walkthrough import NUM_STEPS, Demo

    # Begin again: what an earlier demo stored would let this one skip its training.
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "logs").mkdir(parents=True)
    # Commands are shown as they would be typed, so they must be found.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    # The demo's storage is its own: a profile, token or endpoint of the user's cloud account
    # would take its requests elsewhere, or have them refused.
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        del os.environ[name]
    interrupt_once()
    Demo(ROOT, folder, Console(NUM_STEPS, folder / "logs")).run()
    return DONE


if __name__ == "__main__":
    run(main)

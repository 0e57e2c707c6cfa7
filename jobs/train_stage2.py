#!/usr/bin/env python3
"""Train stage 2: python jobs/train_stage2.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs._bootstrap import run
from kintsugi.jobs._train import training

main = training("stage2")

if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Train the predictor of G1's initial fill: python jobs/train_initial_fill.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs._bootstrap import run
from kintsugi.jobs._train import training

main = training("initial_fill")

if __name__ == "__main__":
    run(main)

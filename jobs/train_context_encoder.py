#!/usr/bin/env python3
"""Train the context encoder: python jobs/train_context_encoder.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs._bootstrap import run
from kintsugi.jobs._train import training

main = training("context_encoder")

if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Train both stages end to end: python jobs/train_end_to_end.py --help."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs._bootstrap import run
from kintsugi.jobs._train import training

main = training("end_to_end")

if __name__ == "__main__":
    run(main)

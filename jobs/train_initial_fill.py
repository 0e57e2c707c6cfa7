#!/usr/bin/env python3
"""Train the predictor of G1's initial fill: python jobs/train_initial_fill.py --help."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "platform"))
from kintsugi.jobs._bootstrap import run
from kintsugi.jobs._train import train

if __name__ == "__main__":
    run(lambda argv: train("initial_fill", argv))

#!/usr/bin/env python3
"""Train the predictor of G1's first fill: python jobs/train_first_fill.py --help."""

import os
import sys

sys.path.insert(0, os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
from jobs._bootstrap import run
from jobs._train import train

if __name__ == "__main__":
    run(lambda argv: train("first_fill", argv))

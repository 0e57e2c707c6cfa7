#!/usr/bin/env python3
"""Train the context encoder: python jobs/train_context_encoder.py --help."""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "platform"))
from kintsugi.jobs._bootstrap import run
from kintsugi.jobs._train import train

if __name__ == "__main__":
    run(lambda argv: train("context_encoder", argv))

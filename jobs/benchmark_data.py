#!/usr/bin/env python3
"""Measure how fast batches come out of shards and how long steps would wait; kintsugi measures."""

import sys
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/benchmark_data.py",
    "jobs/benchmark_data.py --object-store --workers 2 --tasks 1 --step-seconds 0.5",
    "ray job submit --working-dir . -- jobs/benchmark_data.py --shards s3://shards/all --workers 8",
)
# Flags that stand for a value of the configuration.
VALUES = {
    "shards": ("data.shards", "URI", "folder of shards"),
    "workers": ("workers.count", "N", "that read at one time"),
    "tasks": ("data.tasks", "N", "reading tasks per worker"),
    "crop": ("data.crop_px", "PX", "side of the crops"),
    "resize": ("data.resize_px", "PX", "shorter side before the crop"),
    "batch-size": ("loop.batch_size", "N", "photographs per worker and step"),
}


def main(argv: Sequence[str]) -> int:
    parser = _bootstrap.job_parser(
        "Measure images/s from storage to batch, and how long steps would wait for them.",
        EXAMPLES,
        config="debug-stage1.toml",
    )
    for name, (key, metavar, meaning) in VALUES.items():
        parser.add_argument(f"--{name}", metavar=metavar, help=f"{meaning}; sets {key}")
    parser.add_argument("--steps", metavar="N", type=int, default=20, help="measured (20)")
    parser.add_argument("--step-seconds", metavar="S", type=float, default=0.25, help="(0.25)")
    parser.add_argument(
        "--object-store", action="store_true", help="read a copy from an S3 server started here"
    )
    args = parser.parse_args(argv)
    if args.steps < 1 or args.step_seconds < 0:
        parser.error("--steps: at least 1; --step-seconds: at least 0")
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config

    given = {key: getattr(args, name.replace("-", "_")) for name, (key, _, _) in VALUES.items()}
    values = [f"{key}={value}" for key, value in given.items() if value is not None]
    config = load_config(args.config, [*args.overrides, *values])

    from kintsugi.benchmarks.data_reading import (
        format_report,
        in_object_store,
        run_benchmark,
        with_shards,
    )
    from kintsugi.train.ray_trainer import ensure_shards

    ensure_shards(config.data)
    shards = config.data.shards
    with in_object_store(shards) if args.object_store else nullcontext(shards) as uri:
        _bootstrap.start_ray()
        figures = run_benchmark(with_shards(config, uri), args.steps, args.step_seconds)
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(args.json, figures)
    return _bootstrap.DONE


if __name__ == "__main__":
    _bootstrap.run(main)

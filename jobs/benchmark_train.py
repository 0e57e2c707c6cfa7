#!/usr/bin/env python3
"""Time training on Ray against a plain DDP loop, formats and checkpoints; kintsugi does."""

import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from functools import partial
from operator import methodcaller
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/benchmark_train.py --steps 30 --rounds 5 --json figures.json",
    "jobs/benchmark_train.py --config jobs/configs/debug-stage2.toml --workers 1",
    "jobs/benchmark_train.py --config jobs/configs/paper-stage1.toml --set encoder=random \\\n"
    "    --set storage=/tmp/runs --without-ray --workers 1 --precisions bfloat16 --peak-tflops 989",
)


def main(argv: Sequence[str]) -> int:
    text = "Time training steps on Ray and in a plain loop."
    parser = _bootstrap.job_parser(text, EXAMPLES, config="debug-stage1.toml")
    # What is not given keeps the default of `kintsugi.benchmarks.train.train_plan.Plan`.
    add = partial(parser.add_argument, default=SUPPRESS)
    add("--steps", metavar="N", type=int, help="timed each time, after some that warm up (6)")
    add("--rounds", metavar="N", type=int, help="in which the loops take turns (3)")
    add("--workers", metavar="N", type=numbers, help="numbers of processes (1,2)")
    add("--precisions", type=methodcaller("split", ","), help="such as float32,bfloat16")
    add("--without-ray", action="store_false", dest="with_ray", help="the plain loop only")
    add("--peak-tflops", metavar="N", type=float, help="of the GPU in 16 bits, for the share of it")
    args = vars(parser.parse_args(argv))
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.train.train_benchmark import run_benchmark
    from kintsugi.benchmarks.train.train_plan import Plan, check_plan
    from kintsugi.benchmarks.train.train_report import format_report
    from kintsugi.config.run_config import load_config

    json, config = args.pop("json"), load_config(args.pop("config"), args.pop("overrides"))
    plan = Plan(config, **args)
    check_plan(plan)
    if plan.with_ray:
        _bootstrap.start_ray()
    figures = run_benchmark(plan, partial(print, flush=True))
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    return _bootstrap.DONE


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    _bootstrap.run(main)

#!/usr/bin/env python3
"""Put a service under load; compare it with one process; kintsugi measures."""

import os
import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/benchmark_serve.py --sizes 512,1024 --holes 0.05,0.25 --seconds 60 --json f.json",
    "jobs/benchmark_serve.py --url http://127.0.0.1:8000 --pid 4711 --rate 2 --rounds 0",
)


def main(argv: Sequence[str]) -> int:
    parser = _bootstrap.job_parser("Measure a service under load.", EXAMPLES, config=None)
    # What is not given keeps the default of `kintsugi.benchmarks.serve.serve_plan.Plan`.
    add = partial(parser.add_argument, default=SUPPRESS)
    add("--release", metavar="URI", default=BUNDLED_RELEASE, help="what is served")
    add("--url", help="of a running service (key: KINTSUGI_API_KEY); else one is started here")
    add("--pid", metavar="N", type=int, help="whose memory is watched, with --url")
    add("--photo", metavar="URI", help="(default: samples/china.jpg)")
    add("--sizes", metavar="PX", type=whole, help="sides (512,256)")
    add("--holes", metavar="SHARE", type=shares, help="of the area (0.2,0.05)")
    add("--rounds", metavar="N", type=int, help="service and one process in turns (7); 0: none")
    add("--threads", metavar="N", type=int, help="of PyTorch in one process (2)")
    add("--seconds", metavar="S", type=float, help="of each load (20)")
    add("--rate", metavar="N", type=float, help="requests a second; else half of what it answers")
    add("--arrivals", help="poisson (default) or fixed")
    add("--overload", metavar="N", type=float, help="times what it answers (10); 0: none")
    args = vars(parser.parse_args(argv))
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.serve.serve_benchmark import run_benchmark
    from kintsugi.benchmarks.serve.serve_plan import Plan
    from kintsugi.benchmarks.serve.serve_report import format_report

    json, key = args.pop("json"), os.environ.get("KINTSUGI_API_KEY", "")
    plan = Plan(root=_bootstrap.ROOT, api_key=key, **args)
    _bootstrap.interrupt_once()
    figures = run_benchmark(plan, partial(print, flush=True))
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    return _bootstrap.DONE


def whole(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


def shares(text: str) -> list[float]:
    return [float(word) for word in text.split(",")]


if __name__ == "__main__":
    _bootstrap.run(main)

#!/usr/bin/env python3
"""Time the match against its published form, and fills against PatchMatch; kintsugi measures."""

import sys
from argparse import SUPPRESS
from collections.abc import Sequence
from functools import partial
from operator import methodcaller
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/benchmark_match.py --sizes 256,512",
    "jobs/benchmark_match.py --encoder vgg19.safetensors --fill --json f.json --plot f.png",
    "jobs/benchmark_match.py --sizes 2048 --methods approximate --photo ~/photo.jpg --threads 2",
)


def main(argv: Sequence[str]) -> int:
    parser = _bootstrap.job_parser("Time the match and its published form.", EXAMPLES, config=None)
    # What is not given keeps the default of `kintsugi.benchmarks.match.match_benchmark.Plan`.
    add = partial(parser.add_argument, default=SUPPRESS)
    add("--sizes", metavar="PX", type=numbers, help="sides, such as 256,512")
    add("--holes", metavar="PX", type=methodcaller("split", ","), help="such as half,224")
    add("--methods", type=methodcaller("split", ","), help="published,exact,approximate")
    add("--photo", metavar="URI", help="(default: samples/china.jpg)")
    add("--encoder", metavar="SOURCE", help="path, URI or random; else the release's")
    add("--release", metavar="URI", help="what fills; else seeded weights do")
    add("--fill", action="store_true", help="also time whole fills against PatchMatch")
    add("--pairs", metavar="N", type=int, dest="rounds", help="turns of each")
    add("--threads", metavar="N", type=int, help="of PyTorch; else its own choice")
    add("--max-memory", metavar="GIB", type=float, default=0.0, help="else what is available")
    add("--time-limit", metavar="S", type=float, help="of one call (300)")
    add("--plot", metavar="FILE", type=Path, default=None, help="draw time and memory (PNG)")
    args = vars(parser.parse_args(argv))
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.match.match_benchmark import Plan, run_benchmark
    from kintsugi.benchmarks.match.match_report import format_report
    from kintsugi.benchmarks.match.needs import GIB
    from kintsugi.benchmarks.match.plot import draw_plot

    json, plot = args.pop("json"), args.pop("plot")
    args["max_memory"] = int(args["max_memory"] * GIB)
    figures = run_benchmark(Plan(**args), partial(print, flush=True))
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    if plot is not None:
        _bootstrap.write_file(plot, draw_plot(figures))
    return _bootstrap.DONE


def numbers(text: str) -> list[int]:
    return [int(word) for word in text.split(",")]


if __name__ == "__main__":
    _bootstrap.run(main)

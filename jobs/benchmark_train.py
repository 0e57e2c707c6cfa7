#!/usr/bin/env python3
"""Time training on Ray against a plain DDP loop, formats and checkpoints; kintsugi does."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


# What is not given keeps the default of `kintsugi.benchmarks.train.train_plan.TrainPlan`.
@options.command(
    "kintsugi benchmark train --steps 30 --rounds 5 --json figures.json",
    "kintsugi benchmark train --config debug-stage2 --workers 1",
    "kintsugi benchmark train --config paper-stage1 --set encoder=random \\\n"
    "    --set storage=/tmp/runs --without-ray --workers 1 --precisions bfloat16 --peak-tflops 989",
)
def main(
    config: options.Config = "debug-stage1",
    overrides: options.Overrides = None,
    steps: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="timed each time, after some that warm up", show_default="6"
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(metavar="N", help="in which the loops take turns", show_default="3"),
    ] = None,
    workers: Annotated[
        options.Numbers | None,
        typer.Option(
            metavar="N,...",
            parser=options.Numbers,
            help="numbers of processes",
            show_default="1,2",
        ),
    ] = None,
    precisions: Annotated[str | None, typer.Option(help="such as float32,bfloat16")] = None,
    without_ray: Annotated[bool, typer.Option("--without-ray", help="the plain loop only")] = False,
    peak_tflops: Annotated[
        float | None,
        typer.Option(metavar="N", help="of the GPU in 16 bits, for the share of it"),
    ] = None,
    json: options.Json = None,
) -> int:
    """Time training steps on Ray and in a plain loop."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.train.train_benchmark import run_benchmark
    from kintsugi.benchmarks.train.train_plan import TrainPlan, check_plan
    from kintsugi.benchmarks.train.train_report import format_report
    from kintsugi.config.run_config import load_config

    how = options.given(
        steps=steps,
        rounds=rounds,
        workers=workers,
        precisions=options.names(precisions) if precisions else None,
        with_ray=False if without_ray else None,
        peak_tflops=peak_tflops,
    )
    plan = TrainPlan(load_config(options.find_config(config), overrides or ()), **how)
    check_plan(plan)
    if plan.with_ray:
        _bootstrap.start_ray()
    figures = run_benchmark(plan, partial(print, flush=True))
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

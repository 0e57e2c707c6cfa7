#!/usr/bin/env python3
"""Try values of a configuration by Ray Tune; kintsugi.evaluation does the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


@options.command(
    "kintsugi sweep",
    "kintsugi sweep --trials 4 --range optimizer.generator_lr=1e-4:1e-2",
    "ray job submit -- kintsugi sweep --config recommended-stage1 --trials 32 --at-once 8"
    " --set storage=s3://sweeps --set workers.use_gpu=true --set held_out.photos=256",
)
def main(
    config: options.Config = "debug-sweep-stage1",
    overrides: options.Overrides = None,
    ranges: Annotated[
        list[str] | None,
        typer.Option(
            "--range",
            metavar="a.b=LEAST:MOST",
            help="draw a value by its logarithm; may be repeated",
            show_default="a learning rate and two weights of losses",
        ),
    ] = None,
    trials: Annotated[int, typer.Option(metavar="N", help="in all")] = 8,
    at_once: Annotated[int, typer.Option(metavar="N", help="at one time")] = 2,
    json: options.Json = None,
) -> int:
    """Try values of a configuration with Ray Tune; ASHA ends trials that fall behind.

    Each trial is a run in the configuration's storage, trained by one worker; their held-out losses
    are compared. Started again the same sweep goes on.
    """
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config
    from kintsugi.evaluation.ablations.sweep import (
        RANGES,
        SweepRequest,
        parse_ranges,
        sweep,
        table,
        to_dict,
    )

    base = load_config(options.find_config(config), overrides or ())
    request = SweepRequest(base, parse_ranges(ranges or RANGES), trials, at_once)
    _bootstrap.start_ray()
    done = sweep(request)
    print(table(done))
    best = " ".join(f"--set {key}={value:.4g}" for key, value in done[0].values.items())
    print(f"best: {base.storage}/{done[0].run}\nits values: {best}")
    _bootstrap.write_results(json, to_dict(done))
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

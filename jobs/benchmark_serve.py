#!/usr/bin/env python3
"""Put a service under load; compare it with one process; kintsugi measures."""

import os
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


# What is not given keeps the default of `kintsugi.benchmarks.serve.serve_plan.ServePlan`.
@options.command(
    "kintsugi benchmark serve --sizes 512,1024 --holes 0.05,0.25 --seconds 60 --json f.json",
    "kintsugi benchmark serve --url http://127.0.0.1:8000 --pid 4711 --rate 2 --rounds 0",
)
def main(
    release: options.Release = BUNDLED_RELEASE,
    url: options.ServiceUrl = None,
    pid: options.ServicePid = None,
    photo: options.SamplePhoto = None,
    sizes: Annotated[
        options.Numbers | None,
        typer.Option(
            metavar="PX,...", parser=options.Numbers, help="sides", show_default="512,256"
        ),
    ] = None,
    holes: Annotated[
        options.Shares | None,
        typer.Option(
            metavar="SHARE,...",
            parser=options.Shares,
            help="of the area",
            show_default="0.2,0.05",
        ),
    ] = None,
    rounds: Annotated[
        int | None,
        typer.Option(
            metavar="N", help="service and one process in turns; 0: none", show_default="7"
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="of PyTorch in one process", show_default="2"),
    ] = None,
    seconds: Annotated[
        float | None, typer.Option(metavar="S", help="of each load", show_default="20")
    ] = None,
    rate: Annotated[
        float | None,
        typer.Option(metavar="N", help="requests a second; else half of what it answers"),
    ] = None,
    arrivals: Annotated[
        str | None, typer.Option(help="poisson or fixed", show_default="poisson")
    ] = None,
    overload: Annotated[
        float | None,
        typer.Option(metavar="N", help="times what it answers; 0: none", show_default="10"),
    ] = None,
    json: options.Json = None,
) -> int:
    """Measure a service under load."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.serve.serve_benchmark import run_benchmark
    from kintsugi.benchmarks.serve.serve_plan import ServePlan
    from kintsugi.benchmarks.serve.serve_report import format_report

    how = options.given(
        url=url,
        pid=pid,
        photo=photo,
        sizes=sizes,
        holes=holes,
        rounds=rounds,
        threads=threads,
        seconds=seconds,
        rate=rate,
        arrivals=arrivals,
        overload=overload,
    )
    key = os.environ.get("KINTSUGI_API_KEY", "")
    plan = ServePlan(api_key=key, release=release, **how)
    _bootstrap.interrupt_once()
    figures = run_benchmark(plan, partial(print, flush=True))
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

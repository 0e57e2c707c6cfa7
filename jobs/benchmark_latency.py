#!/usr/bin/env python3
"""Latency by megapixels and share of hole, next to other methods; kintsugi measures."""

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


# What is not given keeps the default of `kintsugi.benchmarks.serve.latency_plan.LatencyPlan`.
@options.command(
    "kintsugi benchmark latency --markdown latency.md --picture latency.png --json latency.json",
    "kintsugi benchmark latency --megapixels 0.25,1 --holes 0.01,0.1 --methods process,patchmatch",
    "kintsugi benchmark latency --device cuda --methods process,telea --limit 20",
)
def main(
    release: options.Release = BUNDLED_RELEASE,
    megapixels: Annotated[
        options.Shares | None,
        typer.Option(
            metavar="MP,...",
            parser=options.Shares,
            help="of the square photographs",
            show_default="0.25,1,4,12,48",
        ),
    ] = None,
    holes: Annotated[
        options.Shares | None,
        typer.Option(
            metavar="SHARE,...",
            parser=options.Shares,
            help="of the area",
            show_default="0.001,0.01,0.1,0.5",
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(metavar="NAME,...", show_default="process,graph,patchmatch,telea"),
    ] = None,
    rounds: Annotated[int | None, typer.Option(metavar="N", show_default="5")] = None,
    limit: Annotated[
        float | None,
        typer.Option(
            metavar="S",
            help="a fill that took longer gets no further round and no larger size",
            show_default="60",
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="of PyTorch in the process", show_default="PyTorch's"),
    ] = None,
    device: Annotated[str, typer.Option(help="of the process: cpu or cuda")] = "cpu",
    url: options.ServiceUrl = None,
    pid: options.ServicePid = None,
    photo: options.SamplePhoto = None,
    markdown: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write the table to this file")
    ] = None,
    picture: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw it into this PNG")
    ] = None,
    drawn: Annotated[
        str, typer.Option(help="in the picture: seconds, or processor seconds: processor")
    ] = "seconds",
    json: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="write the figures to this file after each case; what it has already is kept, so"
            " that a table that was cut off goes on",
        ),
    ] = None,
) -> int:
    """Measure a fill by megapixels and share of hole, in process and through the graph."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.serve.latency import run_latency
    from kintsugi.benchmarks.serve.latency_plan import LatencyPlan
    from kintsugi.benchmarks.serve.latency_report import draw_latency, format_latency

    how = options.given(
        megapixels=megapixels,
        holes=holes,
        methods=methods and options.names(methods),
        rounds=rounds,
        limit=limit,
        threads=threads,
        url=url,
        pid=pid,
        photo=photo,
    )
    key = os.environ.get("KINTSUGI_API_KEY", "")
    plan = LatencyPlan(release=release, device=device, api_key=key, **how)
    _bootstrap.interrupt_once()
    before = _bootstrap.read_results(json) if json is not None and json.exists() else None
    for figures in run_latency(plan, partial(print, flush=True), before):
        _bootstrap.write_results(json, figures)
        table = format_latency(figures)
        if markdown is not None:
            _bootstrap.write_file(markdown, f"{table}\n".encode())
        if picture is not None and any(row["fills"] for row in figures["rows"]):
            _bootstrap.write_file(picture, draw_latency(figures, of=drawn))
    print(f"\n{table}\n")
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

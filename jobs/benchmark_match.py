#!/usr/bin/env python3
"""Time the match against its published form, and fills against PatchMatch; kintsugi measures."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


# What is not given keeps the default of `kintsugi.benchmarks.match.match_benchmark.MatchPlan`.
@options.command(
    "kintsugi benchmark match --sizes 256,512",
    "kintsugi benchmark match --encoder vgg19.safetensors --fill --json f.json --plot f.png",
    "kintsugi benchmark match --sizes 2048 --methods approximate --photo ~/photo.jpg --threads 2",
)
def main(
    sizes: Annotated[
        options.Numbers | None,
        typer.Option(metavar="PX,...", parser=options.Numbers, help="sides, such as 256,512"),
    ] = None,
    holes: Annotated[str | None, typer.Option(metavar="PX,...", help="such as half,224")] = None,
    methods: Annotated[str | None, typer.Option(help="published,exact,approximate")] = None,
    photo: options.SamplePhoto = None,
    encoder: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="path, URI or random; else the release's")
    ] = None,
    release: Annotated[
        str | None, typer.Option(metavar="URI", help="what fills; else seeded weights do")
    ] = None,
    fill: Annotated[
        bool, typer.Option("--fill", help="also time whole fills against PatchMatch")
    ] = False,
    pairs: Annotated[int | None, typer.Option(metavar="N", help="turns of each")] = None,
    threads: Annotated[
        int | None, typer.Option(metavar="N", help="of PyTorch; else its own choice")
    ] = None,
    max_memory: Annotated[float, typer.Option(metavar="GIB", help="0: what is available")] = 0.0,
    time_limit: Annotated[
        float | None, typer.Option(metavar="S", help="of one call", show_default="300")
    ] = None,
    plot: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw time and memory (PNG)")
    ] = None,
    json: options.Json = None,
) -> int:
    """Time the match and its published form."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.benchmarks.match.match_benchmark import MatchPlan, run_benchmark
    from kintsugi.benchmarks.match.match_report import format_report
    from kintsugi.benchmarks.match.needs import GIB
    from kintsugi.benchmarks.match.plot import draw_plot

    plan = MatchPlan(
        **options.given(
            sizes=sizes,
            holes=options.names(holes) if holes else None,
            methods=options.names(methods) if methods else None,
            photo=photo,
            encoder=encoder,
            release=release,
            fill=fill or None,
            rounds=pairs,
            threads=threads,
            max_memory=int(max_memory * GIB),
            time_limit=time_limit,
        )
    )
    figures = run_benchmark(plan, partial(print, flush=True))
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    if plot is not None:
        _bootstrap.write_file(plot, draw_plot(figures))
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

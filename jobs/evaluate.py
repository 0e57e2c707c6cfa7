#!/usr/bin/env python3
"""Compare methods on seeded holes; kintsugi.evaluation.comparison does the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import METHODS, SAMPLES
from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


@options.command(
    "kintsugi evaluate --photos ~/photos --masks center-96-256 --methods telea,ns --limit 24",
    "kintsugi evaluate --release s3://releases/first --masks random-256,thick-512"
    " --methods ours,lama=folder:s3://results/lama,patchmatch --output s3://evaluations/first",
)
def main(
    photos: options.EvaluatedPhotos = SAMPLES,
    release: options.EvaluatedRelease = None,
    masks: options.MaskSets = "random-256",
    methods: Annotated[str, typer.Option(metavar="NAME,...", help=METHODS)] = "ours,telea,ns",
    encoder: Annotated[
        str | None,
        typer.Option(metavar="SOURCE", help="whose features are compared: path, URI, random"),
    ] = None,
    limit: options.Limit = None,
    held_out: options.HeldOut = None,
    seed: options.MaskSeed = 0,
    output: Annotated[
        str | None,
        typer.Option(metavar="URI", help="results.json, results.md, cases.jsonl, grid.png, fills"),
    ] = None,
    cache: Annotated[
        str | None,
        typer.Option(metavar="URI", help="fills to use again", show_default="OUTPUT/fills"),
    ] = None,
    lpips_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="torchvision's VGG16")
    ] = None,
    inception_weights: Annotated[
        Path | None, typer.Option(metavar="FILE", help="torch-fidelity's, for FID")
    ] = None,
    grid: Annotated[
        Path | None, typer.Option(metavar="FILE", help="write a picture grid (PNG)")
    ] = None,
    json: options.Json = None,
) -> int:
    """Compare methods on seeded holes."""
    from kintsugi.evaluation.method_names import check_names

    check_names(options.names(methods), options.names(masks))
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.evaluation import comparison as work
    from kintsugi.evaluation.report import draw_grid, format_table
    from kintsugi.evaluation.request import EvaluationRequest

    request = EvaluationRequest(
        options.names(methods),
        options.names(masks),
        release=release,
        encoder=encoder,
        seed=seed,
        lpips_weights=lpips_weights,
        inception_weights=inception_weights,
        cache=cache or (f"{output}/fills" if output else None),
    )
    opened = work.open_comparison(request)
    _bootstrap.join_ray()
    results, figures = work.compare(
        photos, *opened, limit=limit, held_out=held_out, report=work.ProgressLines()
    )
    print(format_table(figures))
    _bootstrap.write_results(json, figures)
    if grid is not None:
        _bootstrap.write_file(grid, draw_grid(results))
    if output is not None:
        work.write_report(output, results, figures)
    return _bootstrap.DONE if work.is_complete(figures) else _bootstrap.SOME_REJECTED


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Train variants of the method and compare them in one table; kintsugi.evaluation does the work."""

import sys
from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


@options.command(
    "kintsugi ablate",
    "kintsugi ablate --set loop.max_steps=20 --limit 3 --variants base,coarse,lsgan",
    "ray job submit -- kintsugi ablate --config ablation --photos s3://photos/test"
    " --output s3://ablation/tables/first",
)
def main(
    config: options.Config = "ablation-debug",
    overrides: options.Overrides = None,
    variants: Annotated[
        str | None, typer.Option(metavar="NAME,...", help="only these of the plan")
    ] = None,
    photos: Annotated[
        str | None, typer.Option(metavar="URI", help="in the place of the plan's")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(metavar="N", help="in the place of the plan's")
    ] = None,
    masks: Annotated[
        str | None, typer.Option(metavar="SET,...", help="in the place of the plan's")
    ] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            metavar="SOURCE",
            help="by whose features fills are judged: path, URI, random",
            show_default="the variants'",
        ),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="ablation.json, ablation.md", show_default="the plan's storage"
        ),
    ] = None,
    without_ray: options.WithoutRay = False,
    json: options.Json = None,
) -> int:
    """Train variants of the method, where they are not trained yet, and compare them."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.evaluation.ablations.ablation import Interrupted, ablate
    from kintsugi.evaluation.ablations.ablation_plan import chosen, load_plan

    plan = load_plan(options.find_config(config), overrides or ())
    if variants:
        plan = chosen(plan, options.names(variants))
    plan = replace(
        plan,
        photos=photos or plan.photos,
        limit=limit or plan.limit,
        masks=tuple(options.names(masks)) if masks else plan.masks,
        encoder=encoder or plan.encoder,
    )
    if without_ray:
        from kintsugi.train.local import fit
    else:
        _bootstrap.start_ray()
        from kintsugi.train.ray_trainer import fit
    try:
        done = ablate(plan, fit, output or f"{plan.storage}/table")
    except Interrupted as interrupted:
        print(f"{interrupted}: start it again to go on")
        return _bootstrap.STOPPED
    _bootstrap.write_results(json, done.to_dict())
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

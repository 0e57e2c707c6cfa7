#!/usr/bin/env python3
"""Join runs, or parts of releases, into a release; kintsugi.release.publish does the work."""

import sys
from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import PUBLISHED_RELEASE
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, read_results, run, write_results


@options.command(
    "kintsugi publish --stage1 s3://runs/street-stage1 --stage2 s3://runs/street-stage2"
    " --output s3://releases/street --keys matched-standardised --metrics results.json",
    "kintsugi publish --stage1 s3://releases/street --stage2 s3://releases/street"
    " --initial-fill s3://runs/better-fill --output s3://releases/street-2   # one part again",
)
def main(
    config: options.Config = "debug-stage2",
    overrides: options.Overrides = None,
    stage1: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="of the run, or of a release that has it", show_default="--config's"
        ),
    ] = None,
    stage2: Annotated[
        str | None,
        typer.Option(
            metavar="URI", help="of the run, or of a release that has it", show_default="--config's"
        ),
    ] = None,
    initial_fill: Annotated[
        str | None,
        typer.Option(
            metavar="URI",
            help="of a run or release: G1 begins with its fill",
            show_default="stage 1's",
        ),
    ] = None,
    checkpoint: Annotated[
        str, typer.Option(help="newest, best (held-out loss) or a step")
    ] = "auto",
    with_discriminators: Annotated[
        bool, typer.Option("--with-discriminators", help="training can start from it then")
    ] = False,
    half: Annotated[
        bool,
        typer.Option(
            "--half", help="store float16, half the bytes; else float32, of a half release too"
        ),
    ] = False,
    output: Annotated[
        str, typer.Option(metavar="URI", help="of the release; one that is there is replaced")
    ] = PUBLISHED_RELEASE,
    name: Annotated[
        str | None, typer.Option(help="of the release", show_default="the last part of --output")
    ] = None,
    metrics: Annotated[
        Path | None, typer.Option(metavar="FILE", help="what `kintsugi evaluate --json` wrote")
    ] = None,
    keys: Annotated[
        str | None,
        typer.Option(
            help="plain, standardised, matched, matched-standardised", show_default="stage 2's"
        ),
    ] = None,
    guard: Annotated[int | None, typer.Option(help="cells around the hole not copied from")] = None,
    repeats: Annotated[
        int | None, typer.Option(help="matches of the first scale after its first")
    ] = None,
    colour: Annotated[
        float | None,
        typer.Option(
            help="what pixels count next to features in the match", show_default="stage 2's"
        ),
    ] = None,
    pixels: Annotated[
        bool | None,
        typer.Option(
            help="fill holes with copied pixels, by what the networks draw",
            show_default="as a release that --stage2 names; else not",
        ),
    ] = None,
    json: options.Json = None,
) -> int:
    """Publish runs, or parts of releases, as a release."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config
    from kintsugi.release.publish import Selection, publish

    run_config = load_config(options.find_config(config), overrides or ())
    published = publish(
        stage1 or run_config.translate.stage1,
        stage2 or f"{run_config.storage}/{run_config.run}",
        output,
        name=name or output.rstrip("/").rpartition("/")[2],
        select=Selection(checkpoint, with_discriminators, half),
        matching=options.given(
            keys=keys, guard=guard, repeats=repeats, colour=colour, pixels=pixels
        ),
        initial_fill=initial_fill,
        metrics=read_results(metrics) if metrics else None,
    )
    print(f"published {published.config.name}: {published.uri}")
    print(f"  {published.config.digest}, encoder {published.config.encoder}")
    for stage in ("initial_fill", "stage1", "stage2"):
        if about := published.config.training.get(stage):
            print(f"  {stage}: step {about['steps']}, {about['weights']} weights")
    write_results(json, {"uri": published.uri, "config": asdict(published.config)})
    return DONE


if __name__ == "__main__":
    run(main)

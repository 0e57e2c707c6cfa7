#!/usr/bin/env python3
"""Blind sheets and their tallies; kintsugi.evaluation.blind does the work."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import METHODS, SAMPLES
from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options

Key = Annotated[Path, typer.Option(metavar="FILE", help="whose is whose, apart from the pages")]


@options.command(
    "kintsugi compare sheet --photos ~/photos --masks center-128-256 --methods ours,patchmatch"
    " --limit 40 --output sheets/first --key first-key.json",
)
def sheet(
    *,
    photos: options.EvaluatedPhotos = SAMPLES,
    release: options.EvaluatedRelease = None,
    masks: options.MaskSets = "random-256",
    methods: Annotated[str, typer.Option(metavar="ONE,OTHER", help=METHODS)] = "ours,patchmatch",
    limit: options.Limit = None,
    held_out: options.HeldOut = None,
    seed: Annotated[int, typer.Option(help="decides masks and sides")] = 0,
    context: Annotated[int, typer.Option(metavar="PX", help="shown around a hole")] = 48,
    per_page: Annotated[int, typer.Option(metavar="N", help="pairs on a page")] = 4,
    show_hole: Annotated[
        bool, typer.Option("--show-hole", help="a third picture with the hole's outline")
    ] = False,
    cache: Annotated[
        str | None, typer.Option(metavar="URI", help="fills to use again, as of evaluate")
    ] = None,
    output: Annotated[str, typer.Option(metavar="URI", help="gets the pages and answers.csv")],
    key: Key,
    json: options.Json = None,
) -> int:
    """Write pages of pairs, and a key apart from them."""
    values = {name: value for name, value in locals().items() if name != "json"}
    from kintsugi.evaluation.method_names import check_names

    check_names(options.names(methods), options.names(masks))
    return _work("sheet", json, values)


@options.command("kintsugi compare tally --key first-key.json --answers sheets/first/answers.csv")
def tally(
    *,
    key: Key,
    answers: Annotated[Path, typer.Option(metavar="FILE", help="CSV")],
    json: options.Json = None,
) -> int:
    """Count the answers."""
    return _work("tally", json, {"key": key, "answers": answers})


COMMANDS = {"sheet": sheet, "tally": tally}


def main(argv: Sequence[str]) -> int:
    """Either, by its name."""
    line = options.CommandLine()
    for name, command in COMMANDS.items():
        line.add(command, name)
    return line.run(argv)


def _work(name: str, json: Path | None, values: dict[str, Any]) -> int:
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.evaluation.blind import job as work

    text, figures, whole = work.RUN[name](**values)
    print(text)
    _bootstrap.write_results(json, figures)
    return _bootstrap.DONE if whole else _bootstrap.SOME_REJECTED


if __name__ == "__main__":
    _bootstrap.run(main)

#!/usr/bin/env python3
"""A run as one HTML file; kintsugi.monitor.run_page draws it."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, run, write_file


@options.command(
    "kintsugi report ~/.kintsugi/runs/debug-stage1",
    "kintsugi report s3://runs/street-stage1 --output street.html",
)
def main(
    training: Annotated[str, typer.Argument(metavar="RUN", help="folder of a run: a path or URI")],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", show_default="run.html in the run's folder"),
    ] = None,
) -> int:
    """Write a run's page: curves, sample pictures and configuration in one HTML file."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.monitor.run_page import run_page, write_run_page
    from kintsugi.runs.run import Run
    from kintsugi.storage.storage import Storage

    found = Run(Storage(training))
    if output is None:
        print(f"wrote {write_run_page(found)}")
    else:
        write_file(output, run_page(found).encode())
    return DONE


if __name__ == "__main__":
    run(main)

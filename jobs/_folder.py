"""What the jobs that work through a folder report and write; knows not what they do to it."""

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict

from kintsugi.inference.folder import REPORT_NAME, Outcome, Report, Summary
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED, write_results


@contextmanager
def reporting() -> Iterator[Report]:
    """Give what reports each outcome: a bar where somebody sits before it, else a line each."""
    if not sys.stdout.isatty():
        yield _print_line
        return
    from rich import progress

    columns = (
        progress.MofNCompleteColumn(),
        progress.BarColumn(),
        progress.TimeElapsedColumn(),
        progress.TimeRemainingColumn(),
        progress.TextColumn("{task.description}", markup=False),
    )
    with progress.Progress(*columns) as bar:
        task = bar.add_task("", total=None)

        def show(outcome: Outcome, done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=outcome.id)
            # What failed stays above the bar.
            if outcome.reason:
                bar.console.print(f"{outcome.id}: {outcome.reason}", markup=False, highlight=False)

        yield show


def _print_line(outcome: Outcome, done: int, total: int) -> None:
    problem = f": {outcome.reason}" if outcome.reason else ""
    print(f"{done} of {total}: {outcome.id}: {outcome.status}{problem}", flush=True)


def finish(summary: Summary, args: argparse.Namespace) -> int:
    """Write the figures, print the sum, and give the exit code.

    Args:
        summary: Of the run.
        args: ``json`` and ``output`` of the command line.
    """
    figures = {"photographs": len(summary.outcomes), "tried": summary.tried}
    figures["failed"] = len(summary.failed)
    write_results(args.json, {**figures, "outcomes": [asdict(each) for each in summary.outcomes]})
    print(", ".join(f"{name}: {value}" for name, value in figures.items()))
    if len(summary.outcomes) > summary.tried:
        print("  what was not tried was there already: another --output fills it again")
    for outcome in summary.failed[:10]:
        print(f"  {outcome.id}: {outcome.reason}")
    print(f"all outcomes: {args.output}/{REPORT_NAME}")
    return SOME_REJECTED if summary.failed else DONE

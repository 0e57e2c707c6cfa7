"""What the jobs that work through a folder report and write; knows not what they do to it."""

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED, write_results

if TYPE_CHECKING:
    from kintsugi.inference.folder import Report
    from kintsugi.inference.folder_report import PhotoOutcome, Summary

# How many of the files that are left out are named; the report has them all.
_MOST_NAMED = 10


def is_folder(uri: str) -> bool:
    """Whether a path or URI is a folder: one that is there, or in a bucket a name without ending.

    Raises: ConfigError: nothing is at the path.
    """
    from kintsugi.storage.storage import Storage

    place = Storage(uri)
    if place.is_bucket:
        return uri.endswith("/") or not PurePosixPath(uri).suffix
    path = Path(place.uri)
    if not path.exists():
        raise ConfigError(f"nothing is at {uri}: name a photograph, or a folder of them")
    return path.is_dir()


def read_file(uri: str) -> bytes:
    """The bytes of one file. Raises: StorageError; ConfigError: it names none."""
    from kintsugi.storage.storage import file_at

    folder, name = file_at(uri)
    return folder.read(name)


@contextmanager
def reporting() -> "Iterator[Report]":
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

        def show(outcome: "PhotoOutcome", done: int, total: int) -> None:
            name = shown(outcome.id)
            bar.update(task, completed=done, total=total, description=name)
            # What failed, and what was lost, stays above the bar.
            for words in filter(None, (outcome.reason, "; ".join(outcome.notes))):
                bar.console.print(f"{name}: {shown(words)}", markup=False, highlight=False)

        yield show


def _print_line(outcome: "PhotoOutcome", done: int, total: int) -> None:
    words = "; ".join(filter(None, (outcome.reason, *outcome.notes)))
    line = f"{done} of {total}: {outcome.id}: {outcome.status}{f': {words}' if words else ''}"
    print(shown(line), flush=True)


def shown(text: str) -> str:
    """Text that any terminal takes on one line: names of files need not be Unicode, and may hold
    line ends and what switches a terminal's colours."""
    whole = text.encode("utf-8", "backslashreplace").decode()
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in whole
    )


def finish(summary: "Summary", output: str, json: Path | None) -> int:
    """Write the figures, print the sum, and give the exit code.

    Args:
        summary: The summary of the run.
        output: The folder, as it was named.
        json: File for the figures, if any.
    """
    from kintsugi.inference.folder_report import REPORT_NAME

    photographs = len(summary.outcomes) - len(summary.left_out)
    figures = {"photographs": photographs, "tried": summary.tried, "failed": len(summary.failed)}
    outcomes = [asdict(each) for each in summary.outcomes]
    left = {"left_out": [each.id for each in summary.left_out], "hidden": list(summary.hidden)}
    write_results(json, {**figures, **left, "outcomes": outcomes})
    print(", ".join(f"{name}: {value}" for name, value in figures.items()))
    if summary.passed:
        print(
            f"  not tried: {summary.passed}, done before (--overwrite) or failed before"
            " (--retry-failed)"
        )
    for outcome in summary.failed[:10]:
        print(shown(f"  {outcome.id}: {outcome.reason}"))
    if summary.left_out:
        print(shown(f"left out, since none is a photograph: {_listed(left['left_out'])}"))
    if summary.hidden:
        print(shown(f"hidden files, left out: {_listed(left['hidden'])}"))
    print(f"all outcomes: {output}/{REPORT_NAME}")
    return SOME_REJECTED if summary.failed else DONE


def _listed(names: list[str]) -> str:
    """Some names, and how many more there are."""
    more = len(names) - _MOST_NAMED
    return ", ".join(names[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")

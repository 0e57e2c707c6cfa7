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
    from kintsugi.inference.folder import Outcome, Report, Summary
    from kintsugi.storage.storage import Storage


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
    """The bytes of one file. Raises: StorageError."""
    folder, name = split(uri)
    return folder.read(name)


def split(uri: str) -> "tuple[Storage, str]":
    """A file as its folder and its name there. Raises: ConfigError: it names none."""
    from kintsugi.storage.storage import Storage

    folder, _, name = uri.rpartition("/")
    if not name:
        raise ConfigError(f"{uri!r} names no file")
    return Storage(folder or ("/" if uri.startswith("/") else ".")), name


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

        def show(outcome: "Outcome", done: int, total: int) -> None:
            bar.update(task, completed=done, total=total, description=outcome.id)
            # What failed stays above the bar.
            if outcome.reason:
                bar.console.print(f"{outcome.id}: {outcome.reason}", markup=False, highlight=False)

        yield show


def _print_line(outcome: "Outcome", done: int, total: int) -> None:
    problem = f": {outcome.reason}" if outcome.reason else ""
    print(f"{done} of {total}: {outcome.id}: {outcome.status}{problem}", flush=True)


def finish(summary: "Summary", output: str, json: Path | None) -> int:
    """Write the figures, print the sum, and give the exit code.

    Args:
        summary: Of the run.
        output: The folder, as it was named.
        json: File for the figures, if any.
    """
    from kintsugi.inference.folder import REPORT_NAME

    figures = {"photographs": len(summary.outcomes), "tried": summary.tried}
    figures["failed"] = len(summary.failed)
    write_results(json, {**figures, "outcomes": [asdict(each) for each in summary.outcomes]})
    print(", ".join(f"{name}: {value}" for name, value in figures.items()))
    if len(summary.outcomes) > summary.tried:
        print("  what was not tried was there already: another --output fills it again")
    for outcome in summary.failed[:10]:
        print(f"  {outcome.id}: {outcome.reason}")
    print(f"all outcomes: {output}/{REPORT_NAME}")
    return SOME_REJECTED if summary.failed else DONE

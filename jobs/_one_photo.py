"""What the jobs that make one file of one photograph write and say; knows not what they do."""

import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kintsugi.errors import ConfigError
from kintsugi.imaging.formats import FORMATS, PHOTO_SUFFIXES, format_of_name
from kintsugi.imaging.photo_options import FormatChoice, OutputOptions, output_in
from kintsugi.jobs._bootstrap import DONE, write_results
from kintsugi.jobs._folder import shown

if TYPE_CHECKING:
    from kintsugi.imaging.saving import Saved
    from kintsugi.models.progress import Progress, Step
    from kintsugi.models.weights import ReleaseConfig
    from kintsugi.storage.storage import Storage


# Where no one sits before it, how far it is goes into the log at least so far apart.
_LINE_SECONDS = 10.0


@contextmanager
def watching(name: str) -> "Iterator[Progress]":
    """Give what reports how far one photograph is, on stderr: a bar on a terminal, else lines."""
    if not sys.stderr.isatty():
        yield _Lines(shown(name))
        return
    from rich import console, progress

    columns = (
        progress.TextColumn("{task.description}", markup=False),
        progress.BarColumn(),
        progress.TaskProgressColumn(),
        progress.TimeRemainingColumn(),
    )
    with progress.Progress(*columns, console=console.Console(stderr=True), transient=True) as bar:
        task = bar.add_task(shown(name), total=1.0)
        yield lambda step: bar.update(task, completed=step.fraction)


class _Lines:
    """A line for a log now and then; short work has none."""

    def __init__(self, name: str) -> None:
        self._name, self._said = name, time.monotonic()

    def __call__(self, step: "Step") -> None:
        if time.monotonic() - self._said >= _LINE_SECONDS:
            self._said = time.monotonic()
            print(f"{self._name}: {step.fraction:.0%}", file=sys.stderr, flush=True)


@dataclass(frozen=True)
class OneOutput:
    """The file to write.

    Attributes:
        folder, name: Where.
        file: As what; never "same".
    """

    folder: "Storage"
    name: str
    file: OutputOptions

    def finish(
        self, saved: "Saved", verb: str, release: "ReleaseConfig", seconds: float, json: Path | None
    ) -> int:
        """Write it and the figures, say so, and give the exit code.

        Args:
            saved: The encoded file, and what of the photograph it does not hold.
            verb: What was done, such as "filled".
            release: What did it.
            seconds: How long that took.
            json: File for the figures, if any.
        """
        self.folder.write(self.name, saved.body)
        place = self.folder.join(self.name).uri
        print(shown(f"{place}: {verb} in {seconds:.1f} s by {release.name}"))
        for note in saved.notes:
            print(f"  {note}")
        figures = {"release": release.name, "digest": release.digest, "notes": list(saved.notes)}
        write_results(json, {"seconds": round(seconds, 3), **figures})
        return DONE


def check_is_for_one(photo: str, *, processes: int, retry_failed: bool) -> None:
    """Raises: ConfigError: an option was given that does nothing for one photograph."""
    given = {"--retry-failed": retry_failed, f"--processes {processes}": processes > 1}
    for option in (name for name, is_given in given.items() if is_given):
        raise ConfigError(f"{option} is for folders, and {photo} is one photograph: leave it out")


def one_output(uri: str, file: OutputOptions, inputs: Sequence[str]) -> OneOutput:
    """Where one file goes, in the format that its ending names.

    Before anything slow: what cannot be written is refused at once.

    Args:
        uri: As it was named. A file that is there is replaced, also behind a link.
        file: As what; it decides where the ending names no format.
        inputs: Paths or URIs of what the file is made of; none of them is replaced.

    Raises: ConfigError: the ending names no format or another one, there is no such folder, or
        what is there is an input or no file.
    """
    from kintsugi.storage.storage import Storage, file_at

    file = replace(file, format=_format_of(uri, file))
    folder, name = file_at(uri)
    for each in inputs:
        other, other_name = file_at(each)
        if folder.join(name).is_same_place(other.join(other_name)):
            raise ConfigError(
                f"--output {uri} is {each}, which is read: inputs are never replaced; choose"
                " another name"
            )
    if folder.is_bucket:
        return OneOutput(folder, name, file)
    path = Path(folder.uri, name)
    _check_place(path)
    real = Path(os.path.realpath(path))
    return OneOutput(Storage(real.parent), real.name, file)


def _format_of(uri: str, file: OutputOptions) -> FormatChoice:
    named = format_of_name(uri)
    if named is None and file.format == "same":
        raise ConfigError(
            f"{uri}: let it end in one of {', '.join(PHOTO_SUFFIXES)}, or choose --format"
        )
    if named is not None and file.format not in ("same", named.name):
        raise ConfigError(
            f"{uri} ends as {named.name} does, and --format says {file.format}: let it end in"
            f" {FORMATS[file.format].suffixes[0]}, or leave --format out"
        )
    return output_in(named.name).format if named is not None else file.format


def _check_place(path: Path) -> None:
    """Raises: ConfigError: nothing can be written there."""
    from kintsugi.storage.backends import check_file

    if not path.parent.is_dir():
        raise ConfigError(f"{path.parent} is no folder to write to: make it, or correct the path")
    if path.is_dir():
        raise ConfigError(f"{path} is a folder: name a file in it")
    try:
        check_file(path)
    except OSError as error:
        raise ConfigError(
            f"cannot write {path}: {error.strerror}: name a file, or a path at which nothing is"
        ) from error

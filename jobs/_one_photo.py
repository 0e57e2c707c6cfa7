"""What the jobs that make one file of one photograph write and say; knows not what they do."""

import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from kintsugi.errors import ConfigError
from kintsugi.imaging.formats import PHOTO_SUFFIXES, format_of_name
from kintsugi.imaging.photo_options import OutputOptions, output_in
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


def one_output(uri: str, file: OutputOptions) -> OneOutput:
    """Where one file goes, in the format that its ending names unless another is asked for.

    Before anything slow: what cannot be written is refused at once.

    Raises: ConfigError: the ending names no format, or there is no such folder.
    """
    from kintsugi.storage.storage import file_at

    if file.format == "same":
        named = format_of_name(uri)
        if named is None:
            raise ConfigError(
                f"{uri}: let it end in one of {', '.join(PHOTO_SUFFIXES)}, or choose --format"
            )
        file = replace(file, format=output_in(named.name).format)
    folder, name = file_at(uri)
    if not folder.is_bucket and not Path(folder.uri).is_dir():
        raise ConfigError(f"{folder.uri} is no folder to write to: make it, or correct the path")
    return OneOutput(folder, name, file)

"""Work through a folder of photographs, resumably; knows neither what is done to them nor HTTP.

Every photograph's outcome is a row of the report. Nothing that happens to one of them ends the
run, and what is done is not done again.
"""

import logging
import time
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Generic, TypeVar

from kintsugi.errors import ConfigError, InputError, InvalidInput, StorageError
from kintsugi.imaging.formats import ALL_LABELS, FORMATS, is_hidden, is_photo
from kintsugi.inference.folder_report import (
    REPORT_NAME,
    PhotoOutcome,
    Summary,
    earlier_outcomes,
    failed,
    write_report,
)
from kintsugi.storage.backends import Survey
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage

# The report reaches storage at least this often while the run goes on.
_REPORT_SECONDS = 5.0
# Photographs in a row for which a place cannot be reached; then it is gone for all.
_MOST_UNREACHED = 3
_UNREACHED = "storage_unreachable"
logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Item:
    """A photograph, and the name of the file that is made of it."""

    id: str
    output: str


AnItem = TypeVar("AnItem", bound=Item)


@dataclass(frozen=True)
class FolderPlan(Generic[AnItem]):
    """What is to be worked on.

    Attributes:
        items: Photographs.
        refused: What cannot be worked on or is left out, before anything is read.
        hidden: Names of hidden files, which are no photographs and get no row.
    """

    items: tuple[AnItem, ...]
    refused: tuple[PhotoOutcome, ...]
    hidden: tuple[str, ...] = ()


@dataclass(frozen=True)
class OutputFile:
    """The bytes of an output, and what of the photograph they do not hold."""

    body: bytes
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class FolderRun:
    """How a folder is worked through.

    Attributes:
        retry_failed: Try again what failed before.
        overwrite: Do again what is done.
        processes: How many are started on this machine, where Ray does not run; 0: none but this
            one, whose death ends the run.
        report: Called after each photograph with its outcome, the number of them tried and to
            be tried.
    """

    retry_failed: bool = False
    overwrite: bool = False
    processes: int = 0
    report: "Report | None" = None


Report = Callable[[PhotoOutcome, int, int], None]
# Makes one output; InputError is that photograph's own trouble. It travels to other processes.
Work = Callable[[AnItem], OutputFile]


def work_folder(
    plan: FolderPlan[AnItem], work: Work[AnItem], output: Storage, run: FolderRun = FolderRun()
) -> Summary:
    """Work on every photograph that has no output yet, in Ray tasks where Ray is initialised.

    The report is written whatever happens.

    Raises: StorageError: a place cannot be read or written at all.
    """
    # What a run that was killed left half written would stay for ever.
    output.sweep()
    known, written = earlier_outcomes(output), set(output.list())
    outcomes = {outcome.id: outcome for outcome in plan.refused}
    waiting = []
    for item in plan.items:
        before = known.get(item.id)
        if item.output in written and not run.overwrite:
            outcomes[item.id] = before if before and before.status == "done" else _found(item)
        elif before and before.status == "failed" and not (run.retry_failed or run.overwrite):
            outcomes[item.id] = before
        else:
            waiting.append(item)
    reported = time.monotonic()
    try:
        for outcome in _work_through(waiting, work, output, run):
            outcomes[outcome.id] = outcome
            if time.monotonic() - reported > _REPORT_SECONDS:
                write_report(output, outcomes)
                reported = time.monotonic()
    finally:
        write_report(output, outcomes)
    ordered = tuple(outcomes[name] for name in sorted(outcomes))
    return Summary(ordered, len(waiting), len(plan.items) - len(waiting), plan.hidden)


def work_on(shared: tuple[Work[AnItem], Storage], item: AnItem) -> PhotoOutcome:
    """Make and write one output; whatever goes wrong is this photograph's outcome."""
    work, output = shared
    started = time.perf_counter()
    try:
        made = work(item)
        output.write(item.output, made.body)
    except InputError as error:
        outcome = failed(item.id, error.code, _with_hint(error))
    except StorageError as error:
        outcome = failed(item.id, _UNREACHED if error.may_pass else "storage_failed", str(error))
    except MemoryError:
        logger.exception("out of memory: %s", ascii(item.id))
        outcome = failed(item.id, "out_of_memory", "the memory of this machine did not suffice")
    except Exception as error:
        # A bug, or a file that finds one: its trace is logged, and the others are done.
        logger.exception("cannot do %s", ascii(item.id))
        outcome = failed(item.id, "unexpected_error", f"{type(error).__name__}: {error}")
    else:
        outcome = PhotoOutcome(item.id, "done", item.output, notes=made.notes)
    return replace(outcome, seconds=round(time.perf_counter() - started, 3))


def plan_outputs(found: Survey, format: str = "same") -> FolderPlan[Item]:
    """Name the output of each photograph; whatever else is there is named as left out.

    Args:
        found: What is in the folder.
        format: The format of the outputs; "same" keeps the photographs' names.
    """
    photos = sorted(name for name in found.sizes if is_photo(name))
    names = {name: output_name(name, format) for name in photos}
    # Two spellings of one name, or `a//b` and `a/b`, are one file on many systems.
    counts = Counter(same_name(each) for each in names.values())
    items, refused = [], [*_left_out(found), *left_out_special(found.special), *_locked(found)]
    for name, output in names.items():
        if _leads_out(name):
            refused.append(
                failed(name, "name_not_usable", f"{name} leads out of its folder: rename it")
            )
        elif counts[same_name(output)] > 1:
            rivals = [other for other in photos if same_name(names[other]) == same_name(output)]
            problem = f"{' and '.join(rivals)} would all become {output}: rename all but one"
            refused.append(failed(name, "output_ambiguous", problem))
        else:
            items.append(Item(name, output))
    return FolderPlan(tuple(items), tuple(refused), tuple(sorted(filter(is_hidden, found.sizes))))


def output_name(name: str, format: str) -> str:
    """A photograph's output: its own name, or with another format's ending."""
    clean = "/".join(part for part in name.split("/") if part)
    return clean if format == "same" else stem_of(clean) + FORMATS[format].suffixes[0]


def check_any(plan: FolderPlan[AnItem], photos: Storage) -> None:
    """Raises: ConfigError: there are no photographs."""
    if not plan.items and all(outcome.status == "left_out" for outcome in plan.refused):
        others = len(plan.refused)
        raise ConfigError(
            f"no photographs in {photos.uri} ({others} other files): it must be there, a folder"
            f" of {ALL_LABELS}"
        )


def check_apart(output: Storage, inputs: Mapping[str, Storage]) -> None:
    """Raises: ConfigError: the output lies among the inputs, which are named by what they hold."""
    for name, place in inputs.items():
        if output.lies_in(place):
            raise ConfigError(
                f"the output {output.uri} lies among the {name} in {place.uri}: the next run"
                " would take outputs for inputs; choose a folder outside"
            )


def read_input(storage: Storage, name: str, kind: str) -> bytes:
    """Read one file. Raises: InvalidInput `{kind}_unreadable` for that file's own trouble."""
    try:
        return storage.read(name)
    except StorageError as error:
        if error.may_pass:
            raise
        raise InvalidInput(str(error), code=f"{kind}_unreadable") from error


def stem_of(name: str) -> str:
    """A file's name with its folders and without its ending."""
    return str(PurePosixPath(name).with_suffix(""))


def same_name(name: str) -> str:
    """One form of a name: macOS takes umlauts apart (NFD), others write them in one (NFC)."""
    return unicodedata.normalize("NFC", name)


def _work_through(
    waiting: list[AnItem], work: Work[AnItem], output: Storage, run: FolderRun
) -> Iterator[PhotoOutcome]:
    unreached = 0
    results = map_tasks(
        work_on, (work, output), waiting, processes=run.processes, on_lost=_worker_died
    )
    for index, outcome in enumerate(results):
        yield outcome
        if run.report is not None:
            run.report(outcome, index + 1, len(waiting))
        unreached = unreached + 1 if outcome.code == _UNREACHED else 0
        if unreached == _MOST_UNREACHED:
            raise StorageError(
                f"given up after {unreached} photographs in a row: {outcome.reason}", may_pass=True
            )


def _worker_died(item: Item, why: str) -> PhotoOutcome:
    return failed(item.id, "worker_died", f"{why}: most often its memory did not suffice")


def _with_hint(error: InputError) -> str:
    return f"{error}: {error.hint}" if error.hint else str(error)


def _left_out(found: Survey) -> list[PhotoOutcome]:
    return [
        PhotoOutcome(
            name,
            "left_out",
            code="not_a_photograph",
            reason=f"its ending is none of a photograph's ({ALL_LABELS})",
        )
        for name in found.sizes
        if not is_photo(name) and not is_hidden(name) and name != REPORT_NAME
    ]


def left_out_special(special: Mapping[str, str], where: str = "") -> list[PhotoOutcome]:
    """Rows of what is no file; ``where`` comes before the names."""
    return [
        PhotoOutcome(
            f"{where}{name}", "left_out", code="not_a_file", reason=f"it is {what}, and no file"
        )
        for name, what in special.items()
        if not is_hidden(name)
    ]


def _locked(found: Survey) -> list[PhotoOutcome]:
    return [
        failed(name or ".", "folder_unreadable", f"its files cannot be listed: {why}")
        for name, why in found.unreadable.items()
    ]


def _leads_out(name: str) -> bool:
    return name.startswith("/") or ".." in name.split("/")


def _found(item: Item) -> PhotoOutcome:
    return PhotoOutcome(item.id, "done", item.output, reason="the output was there already")

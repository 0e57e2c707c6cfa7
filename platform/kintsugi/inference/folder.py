"""Work through a folder of photographs, resumably; knows neither what is done to them nor HTTP.

Every photograph's outcome is a row of `report.jsonl` in the output. One bad file never
ends the run; what is done is not done again.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Generic, Literal, TypeVar

from kintsugi.data.sample_photos import PHOTO_SUFFIXES, is_photo
from kintsugi.errors import ConfigError, InputError, InvalidInput, StorageError
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage

REPORT_NAME = "report.jsonl"
# The report reaches storage at least this often while the run goes on.
_REPORT_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph.

    Attributes:
        id: Its name, relative to its folder.
        status: "done" or "failed".
        output: Name of the PNG, relative to the output; "" when it failed.
        code: Stable and machine-readable, such as ``mask_missing``; "" when done.
        reason: The same in words.
        seconds: Reading, working and writing.
    """

    id: str
    status: Literal["done", "failed"]
    output: str = ""
    code: str = ""
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Item:
    """A photograph, and the name of the PNG that is made of it."""

    id: str
    output: str


AnItem = TypeVar("AnItem", bound=Item)


@dataclass(frozen=True)
class Plan(Generic[AnItem]):
    """What is to be worked on, and what cannot be before anything is read."""

    items: tuple[AnItem, ...]
    refused: tuple[Outcome, ...]


@dataclass(frozen=True)
class Summary:
    """Outcomes of all photographs in the order of their names, and how many were done now."""

    outcomes: tuple[Outcome, ...]
    tried: int

    @property
    def failed(self) -> tuple[Outcome, ...]:
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")


# Called after each photograph with its outcome, the number of them tried and to be tried.
Report = Callable[[Outcome, int, int], None]
# Makes the bytes of one PNG; InputError is that photograph's own trouble. It travels to
# Ray's workers.
Work = Callable[[AnItem], bytes]


def work_folder(
    plan: Plan[AnItem],
    work: Work[AnItem],
    output: Storage,
    *,
    retry_failed: bool = False,
    report: Report | None = None,
) -> Summary:
    """Work on every photograph that has no output yet, in Ray tasks where Ray is initialised.

    Raises: StorageError: a place cannot be read or written at all.
    """
    known, written = earlier_outcomes(output), set(output.list())
    outcomes = {outcome.id: outcome for outcome in plan.refused}
    waiting = []
    for item in plan.items:
        before = known.get(item.id)
        if item.output in written:
            outcomes[item.id] = before if before and before.status == "done" else _found(item)
        elif before and before.status == "failed" and not retry_failed:
            outcomes[item.id] = before
        else:
            waiting.append(item)
    reported = time.monotonic()
    for index, outcome in enumerate(map_tasks(work_on, (work, output), waiting)):
        outcomes[outcome.id] = outcome
        if report is not None:
            report(outcome, index + 1, len(waiting))
        if time.monotonic() - reported > _REPORT_SECONDS:
            _write_report(output, outcomes)
            reported = time.monotonic()
    _write_report(output, outcomes)
    ordered = tuple(outcomes[name] for name in sorted(outcomes))
    return Summary(ordered, tried=len(waiting))


def work_on(shared: tuple[Work[AnItem], Storage], item: AnItem) -> Outcome:
    """Make and write one PNG; a photograph's own trouble is an outcome and no error."""
    work, output = shared
    started = time.perf_counter()
    try:
        body = work(item)
    except InputError as error:
        return failed(item.id, error.code, str(error), time.perf_counter() - started)
    output.write(item.output, body)
    return Outcome(item.id, "done", item.output, seconds=round(time.perf_counter() - started, 3))


def plan_outputs(names: Sequence[str]) -> Plan[Item]:
    """Name the PNG of each photograph by its stem; refuse those that would share one.

    Args:
        names: Of files; those that are no photographs are left out.
    """
    photos = [name for name in names if is_photo(name)]
    stems = Counter(stem_of(name) for name in photos)
    items, refused = [], []
    for name in photos:
        stem = stem_of(name)
        if stems[stem] == 1:
            items.append(Item(name, stem + ".png"))
            continue
        rivals = " and ".join(other for other in photos if stem_of(other) == stem)
        problem = f"{rivals} would all become {stem}.png: rename all but one"
        refused.append(failed(name, "output_ambiguous", problem))
    return Plan(tuple(items), tuple(refused))


def earlier_outcomes(output: Storage) -> Mapping[str, Outcome]:
    """Rows of the report that an earlier run left, by id; empty when there is none."""
    if not output.exists(REPORT_NAME):
        return {}
    try:
        rows = [Outcome(**json.loads(line)) for line in output.read(REPORT_NAME).splitlines()]
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{output.uri}/{REPORT_NAME} is not a report of this program ({error}): remove it"
        ) from error
    return {row.id: row for row in rows}


def check_any(plan: Plan[AnItem], photos: Storage) -> None:
    """Raises: ConfigError: there are no photographs."""
    if not plan.items and not plan.refused:
        raise ConfigError(
            f"no photographs in {photos.uri}: it must be there, a folder of files in"
            f" {', '.join(PHOTO_SUFFIXES)}"
        )


def check_apart(output: Storage, inputs: Mapping[str, Storage]) -> None:
    """Raises: ConfigError: the output lies among the inputs, which are named by what they hold."""
    inside = output.uri.rstrip("/") + "/"
    for name, place in inputs.items():
        if inside.startswith(place.uri.rstrip("/") + "/"):
            raise ConfigError(
                f"the output {output.uri} lies among the {name} in {place.uri}: the next run"
                " would take outputs for inputs; choose a folder outside"
            )


def read_input(storage: Storage, name: str, kind: str) -> bytes:
    """Read one file. Raises: InvalidInput `{kind}_unreadable` for that file's own trouble."""
    try:
        return storage.read(name)
    except StorageError as error:
        # One file's own trouble; anything else concerns them all.
        if isinstance(error.__cause__, (FileNotFoundError, PermissionError)):
            raise InvalidInput(str(error), code=f"{kind}_unreadable") from error
        raise


def failed(name: str, code: str, reason: str, seconds: float = 0.0) -> Outcome:
    """The outcome of a photograph that cannot be used."""
    return Outcome(name, "failed", code=code, reason=reason, seconds=round(seconds, 3))


def stem_of(name: str) -> str:
    """A file's name with its folders and without its ending."""
    return str(PurePosixPath(name).with_suffix(""))


def _write_report(output: Storage, outcomes: Mapping[str, Outcome]) -> None:
    lines = [json.dumps(asdict(outcomes[name])) + "\n" for name in sorted(outcomes)]
    output.write(REPORT_NAME, "".join(lines).encode())


def _found(item: Item) -> Outcome:
    return Outcome(item.id, "done", item.output, reason="the output was there already")

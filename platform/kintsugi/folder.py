"""Fill a folder of photographs with a folder of masks, resumably; knows no HTTP.

Every photograph's outcome is a row of `report.jsonl` in the output. One bad file never
ends the run; what is done is not done again.
"""

import json
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Literal

import numpy as np

from kintsugi.errors import ConfigError, InputError, InvalidInput, StorageError
from kintsugi.images import decode_image, decode_mask, encode_image
from kintsugi.methods import Method
from kintsugi.shards import PHOTO_SUFFIXES
from kintsugi.storage import Storage
from kintsugi.tasks import map_tasks

REPORT_NAME = "report.jsonl"
MASK_ENDING = "_mask"
# The report reaches storage at least this often while the run goes on.
_REPORT_SECONDS = 5.0


@dataclass(frozen=True)
class Outcome:
    """What became of one photograph.

    Attributes:
        id: Its name, relative to the folder of images.
        status: "done" or "failed".
        output: Name of the filled PNG, relative to the output; "" when it failed.
        code: Stable and machine-readable, such as ``mask_missing``; "" when done.
        reason: The same in words.
        seconds: Reading, filling and writing.
    """

    id: str
    status: Literal["done", "failed"]
    output: str = ""
    code: str = ""
    reason: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class Pair:
    """A photograph, its mask, and the name of its filled PNG."""

    id: str
    mask: str
    output: str


@dataclass(frozen=True)
class Places:
    """Where photographs and masks come from and fills go to."""

    images: Storage
    masks: Storage
    output: Storage


@dataclass(frozen=True)
class Plan:
    """What is to be filled, and what cannot be before anything is read."""

    pairs: tuple[Pair, ...]
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


def inpaint_folder(
    places: Places,
    method: Method,
    *,
    retry_failed: bool = False,
    report: Report | None = None,
) -> Summary:
    """Fill every photograph that has no output yet, in Ray tasks where Ray is initialised.

    Raises:
        ConfigError: there are no photographs, or the output lies among the inputs.
        StorageError: a place cannot be read or written at all.
    """
    _check_apart(places)
    same_folder = places.images.uri == places.masks.uri
    plan = plan_folder(places.images.list(), places.masks.list(), same_folder)
    if not plan.pairs and not plan.refused:
        raise ConfigError(
            f"no photographs in {places.images.uri}: it must hold files that end in"
            f" {', '.join(PHOTO_SUFFIXES)}"
        )
    known, written = earlier_outcomes(places.output), set(places.output.list())
    outcomes = {outcome.id: outcome for outcome in plan.refused}
    waiting = []
    for pair in plan.pairs:
        before = known.get(pair.id)
        if pair.output in written:
            outcomes[pair.id] = before if before and before.status == "done" else _found(pair)
        elif before and before.status == "failed" and not retry_failed:
            outcomes[pair.id] = before
        else:
            waiting.append(pair)
    _fill_all(places, method, waiting, outcomes, report)
    ordered = tuple(outcomes[name] for name in sorted(outcomes))
    return Summary(ordered, tried=len(waiting))


def plan_folder(images: Sequence[str], masks: Sequence[str], same_folder: bool = False) -> Plan:
    """Find each photograph's mask: of the same stem, or the stem and ``_mask``.

    Args:
        images: Names of files; those that are no photographs are left out.
        masks: Likewise.
        same_folder: Both lie in one folder: masks are those that end in ``_mask``.
    """
    by_stem: dict[str, list[str]] = {}
    for name in filter(_is_photo, masks):
        stem = _stem(name)
        if not same_folder or stem.endswith(MASK_ENDING):
            by_stem.setdefault(stem, []).append(name)
    photos = [
        name
        for name in filter(_is_photo, images)
        if not (same_folder and _stem(name).endswith(MASK_ENDING))
    ]
    stems = Counter(_stem(name) for name in photos)
    pairs, refused = [], []
    for name in photos:
        stem = _stem(name)
        found = [*by_stem.get(stem, []), *by_stem.get(stem + MASK_ENDING, [])]
        if stems[stem] > 1:
            rivals = " and ".join(other for other in photos if _stem(other) == stem)
            problem = f"{rivals} would all become {stem}.png: rename all but one"
            refused.append(_failed(name, "output_ambiguous", problem))
        elif not found:
            problem = f"no mask named {stem} or {stem}{MASK_ENDING}: add one"
            refused.append(_failed(name, "mask_missing", problem))
        elif len(found) > 1:
            problem = f"{' and '.join(found)} could both be its mask: remove all but one"
            refused.append(_failed(name, "mask_ambiguous", problem))
        else:
            pairs.append(Pair(name, found[0], stem + ".png"))
    return Plan(tuple(pairs), tuple(refused))


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


def fill_pair(work: tuple[Places, Method], pair: Pair) -> Outcome:
    """Read, fill and write one photograph; its own trouble is an outcome and no error."""
    places, method = work
    started = time.perf_counter()
    try:
        image = decode_image(_read(places.images, pair.id, "image"))
        mask = decode_mask(_read(places.masks, pair.mask, "mask"))
        _check_mask(image.pixels.shape[:2], mask.shape, int(np.count_nonzero(mask)))
        body = encode_image(
            method(image.pixels, mask), alpha=image.alpha, icc_profile=image.icc_profile
        )
    except InputError as error:
        return _failed(pair.id, error.code, str(error), time.perf_counter() - started)
    places.output.write(pair.output, body)
    return Outcome(pair.id, "done", pair.output, seconds=round(time.perf_counter() - started, 3))


def _fill_all(
    places: Places,
    method: Method,
    waiting: Sequence[Pair],
    outcomes: dict[str, Outcome],
    report: Report | None,
) -> None:
    """Fill pairs, add their outcomes, and keep the report in storage."""
    written = time.monotonic()
    for index, outcome in enumerate(map_tasks(fill_pair, (places, method), waiting)):
        outcomes[outcome.id] = outcome
        if report is not None:
            report(outcome, index + 1, len(waiting))
        if time.monotonic() - written > _REPORT_SECONDS:
            _write_report(places.output, outcomes)
            written = time.monotonic()
    _write_report(places.output, outcomes)


def _write_report(output: Storage, outcomes: Mapping[str, Outcome]) -> None:
    lines = [json.dumps(asdict(outcomes[name])) + "\n" for name in sorted(outcomes)]
    output.write(REPORT_NAME, "".join(lines).encode())


def _check_apart(places: Places) -> None:
    output = places.output.uri.rstrip("/") + "/"
    for name, place in (("images", places.images), ("masks", places.masks)):
        if output.startswith(place.uri.rstrip("/") + "/"):
            raise ConfigError(
                f"the output {places.output.uri} lies among the {name} in {place.uri}: the next run"
                " would take fills for inputs; choose a folder outside"
            )


def _check_mask(image: Sequence[int], mask: Sequence[int], hole: int) -> None:
    if tuple(image) != tuple(mask):
        raise InvalidInput(
            f"the mask is {mask[1]}x{mask[0]} px but the image is {image[1]}x{image[0]}",
            code="size_mismatch",
            hint="save both at the same size",
        )
    if hole == 0:
        raise InvalidInput("the mask is empty: white is hole", code="mask_empty")
    if hole == mask[0] * mask[1]:
        raise InvalidInput(
            "the mask covers the whole image: leave some of it known", code="mask_full"
        )


def _read(storage: Storage, name: str, kind: str) -> bytes:
    try:
        return storage.read(name)
    except StorageError as error:
        # One file's own trouble; anything else concerns them all.
        if isinstance(error.__cause__, (FileNotFoundError, PermissionError)):
            raise InvalidInput(str(error), code=f"{kind}_unreadable") from error
        raise


def _found(pair: Pair) -> Outcome:
    return Outcome(pair.id, "done", pair.output, reason="the output was there already")


def _failed(name: str, code: str, reason: str, seconds: float = 0.0) -> Outcome:
    return Outcome(name, "failed", code=code, reason=reason, seconds=round(seconds, 3))


def _is_photo(name: str) -> bool:
    return name.lower().endswith(PHOTO_SUFFIXES)


def _stem(name: str) -> str:
    return str(PurePosixPath(name).with_suffix(""))

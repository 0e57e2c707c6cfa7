"""Answers to a blind sheet, counted: who was preferred, how surely, and why; knows no pictures."""

import csv
import io
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

from pydantic import TypeAdapter, ValidationError

from kintsugi.errors import ConfigError
from kintsugi.evaluation.blind.sheet import Key

# Standard deviations to each side, for an interval of 95 %.
_DEVIATIONS = 1.959964
_LEFT, _RIGHT, _EQUAL = "A", "B", "="


class Preference(NamedTuple):
    """Which of a pair looks better: A, B or =; and why, as it was written."""

    choice: str
    reason: str


class Interval(NamedTuple):
    """A share and its 95 % interval."""

    share: float
    low: float
    high: float


@dataclass(frozen=True)
class Tally:
    """Answers to the pairs of one mask set, or of all.

    Attributes:
        masks: Name of the mask set; "all" of several.
        pairs: How many were answered.
        first, second, equal: How many preferred the key's first method, its second, neither.
        preferred: Share of all answered pairs in which the first was preferred.
        of_decided: Share of those in which one of both was; None where there is none.
        left: Share of decided pairs in which the left one was preferred: near 0.5, or the
            judge leans to a side.
    """

    masks: str
    pairs: int
    first: int
    second: int
    equal: int
    preferred: Interval
    of_decided: Interval | None
    left: Interval | None


def wilson(wins: int, trials: int) -> Interval:
    """A binomial share with Wilson's score interval of 95 % (Wilson 1927).

    Args: ``trials``: 1 or more.
    """
    share = wins / trials
    squared = _DEVIATIONS**2
    middle = (share + squared / (2 * trials)) / (1 + squared / trials)
    half = math.sqrt(share * (1 - share) / trials + squared / (4 * trials**2))
    half *= _DEVIATIONS / (1 + squared / trials)
    # Rounding must not push an end past what a share can be.
    return Interval(share, max(0.0, middle - half), min(1.0, middle + half))


def read_key(text: str) -> Key:
    """Raises: ConfigError: it is no key of a sheet."""
    try:
        return TypeAdapter(Key).validate_json(text)
    except ValidationError as error:
        raise ConfigError(
            f"this is no key of kintsugi compare sheet: {error.errors()[0]['msg']}"
        ) from error


def read_answers(text: str, key: Key) -> dict[int, Preference]:
    """Answers by the pair's number; a line without an answer is none.

    Args:
        text: CSV, `number,A|B|=,reason` a line; a reason may be left out, and a heading.
        key: The key of the sheet.

    Raises: ConfigError naming the line: no such pair, one answered twice, or another answer.
    """
    known = {pair.number for pair in key.pairs}
    answers: dict[int, Preference] = {}
    for at, row in enumerate(csv.reader(io.StringIO(text.lstrip("\ufeff"))), start=1):
        cells = [cell.strip() for cell in row]
        if not any(cells) or cells[0].lower() == "number":
            continue
        number = int(cells[0]) if cells[0].isdecimal() else 0
        if number not in known:
            raise ConfigError(f"line {at}: {cells[0]!r} is no pair: they are 1 to {max(known)}")
        choice = cells[1].upper() if len(cells) > 1 else ""
        if not choice:
            continue
        if choice not in (_LEFT, _RIGHT, _EQUAL):
            raise ConfigError(f"line {at}: {cells[1]!r} is no answer: write A, B or =")
        if number in answers:
            raise ConfigError(f"line {at}: pair {number} is answered twice: leave one line")
        answers[number] = Preference(choice, ", ".join(cell for cell in cells[2:] if cell))
    return answers


def tally(key: Key, answers: Mapping[int, Preference]) -> dict[str, Any]:
    """Count: for each mask set and for all, and every answer with what it was of.

    Returns:
        ``methods``, ``tallies`` (`Tally` as plain JSON types), ``answers`` and ``unanswered``,
        the numbers of pairs without one.

    Raises: ConfigError: nothing is answered.
    """
    if not answers:
        raise ConfigError("no pair is answered: write A, B or = after the numbers")
    rows = [
        {
            "number": pair.number,
            "photo": pair.photo,
            "masks": pair.masks,
            "preferred": {_LEFT: pair.a, _RIGHT: pair.b, _EQUAL: ""}[answers[pair.number].choice],
            "choice": answers[pair.number].choice,
            "reason": answers[pair.number].reason,
        }
        for pair in key.pairs
        if pair.number in answers
    ]
    sets = list(dict.fromkeys(str(row["masks"]) for row in rows))
    tallies = [_count(key, name, [row for row in rows if row["masks"] == name]) for name in sets]
    if len(sets) > 1:
        tallies.append(_count(key, "all", rows))
    return {
        "methods": list(key.methods),
        "tallies": [asdict(each) for each in tallies],
        "answers": rows,
        "unanswered": [pair.number for pair in key.pairs if pair.number not in answers],
    }


def format_tally(found: Mapping[str, Any]) -> str:
    """Lines for a person, and the reasons, those for the first method's losses first.

    Args: ``found``: as `tally` makes it.
    """
    first, second = found["methods"]
    lines = []
    for each in found["tallies"]:
        share, low, high = (100 * value for value in _interval(each["preferred"]))
        lines.append(
            f"{each['masks']}: {first} preferred to {second} in {each['first']} of"
            f" {each['pairs']} ({share:.0f} %, 95 % interval {low:.0f}-{high:.0f}),"
            f" {second} in {each['second']}, neither in {each['equal']}"
        )
        if each["of_decided"] is not None:
            share, low, high = (100 * value for value in _interval(each["of_decided"]))
            left = 100 * _interval(each["left"])[0]
            lines.append(
                f"  of the decided ones {share:.0f} % ({low:.0f}-{high:.0f}); the left one was"
                f" preferred in {left:.0f} %"
            )
    for winner, heading in ((second, f"against {first}"), (first, f"for {first}"), ("", "neither")):
        reasons = [
            f"  {row['number']} {row['photo']}: {row['reason']}"
            for row in found["answers"]
            if row["preferred"] == winner and row["reason"]
        ]
        lines += [f"{heading}:", *reasons] if reasons else []
    if found["unanswered"]:
        lines.append(f"unanswered: {', '.join(map(str, found['unanswered']))}")
    return "\n".join(lines)


def _count(key: Key, masks: str, rows: Sequence[Mapping[str, Any]]) -> Tally:
    first, second = (sum(row["preferred"] == name for row in rows) for name in key.methods)
    left = sum(row["choice"] == _LEFT for row in rows)
    decided = first + second
    return Tally(
        masks=masks,
        pairs=len(rows),
        first=first,
        second=second,
        equal=len(rows) - decided,
        preferred=wilson(first, len(rows)),
        of_decided=wilson(first, decided) if decided else None,
        left=wilson(left, decided) if decided else None,
    )


def _interval(values: Sequence[float]) -> tuple[float, float, float]:
    share, low, high = values
    return share, low, high

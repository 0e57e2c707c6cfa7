"""What became of each photograph of a folder, as rows of a report; knows no photographs."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Literal

from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage

REPORT_NAME = "report.jsonl"


@dataclass(frozen=True)
class PhotoOutcome:
    """What became of one photograph.

    Attributes:
        id: Its name, relative to its folder.
        status: "done", "failed", or "left_out" of a file that is no photograph.
        output: Name of the result, relative to the output; "" when there is none.
        code: Stable and machine-readable, such as ``mask_missing``; "" when done.
        reason: The same in words.
        seconds: Reading, working and writing.
        notes: What of the photograph the output does not hold.
    """

    id: str
    status: Literal["done", "failed", "left_out"]
    output: str = ""
    code: str = ""
    reason: str = ""
    seconds: float = 0.0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Summary:
    """A run.

    Attributes:
        outcomes: One for each photograph and for what is none, in the order of their names.
        tried: How many were worked on now.
        passed: How many were not, since they were done or had failed before.
        hidden: Names of hidden files, which have no row.
    """

    outcomes: tuple[PhotoOutcome, ...]
    tried: int
    passed: int = 0
    hidden: tuple[str, ...] = ()

    @property
    def failed(self) -> tuple[PhotoOutcome, ...]:
        """Photographs without an output."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "failed")

    @property
    def left_out(self) -> tuple[PhotoOutcome, ...]:
        """Files that are no photographs."""
        return tuple(outcome for outcome in self.outcomes if outcome.status == "left_out")


def failed(name: str, code: str, reason: str, seconds: float = 0.0) -> PhotoOutcome:
    """The outcome of a photograph that cannot be used."""
    return PhotoOutcome(name, "failed", code=code, reason=reason, seconds=round(seconds, 3))


def write_report(output: Storage, outcomes: Mapping[str, PhotoOutcome]) -> None:
    """Replace the report. Raises: StorageError."""
    lines = [json.dumps(asdict(outcomes[name])) + "\n" for name in sorted(outcomes)]
    output.write(REPORT_NAME, "".join(lines).encode())


def earlier_outcomes(output: Storage) -> Mapping[str, PhotoOutcome]:
    """Rows of the report that an earlier run left, by id; empty when there is none."""
    if not output.exists(REPORT_NAME):
        return {}
    try:
        rows = [_row(json.loads(line)) for line in output.read(REPORT_NAME).splitlines()]
    except (ValueError, TypeError) as error:
        raise StorageError(
            f"{output.uri}/{REPORT_NAME} is not a report of this program ({error}): remove it"
        ) from error
    return {row.id: row for row in rows}


def _row(values: dict[str, object]) -> PhotoOutcome:
    row = PhotoOutcome(**values)  # type: ignore[arg-type]
    return PhotoOutcome(**{**asdict(row), "notes": tuple(row.notes)})

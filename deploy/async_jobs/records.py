"""What is written of a job, and what it means; knows no storage, no HTTP and no engine.

Each file of a job has one writer at a time and is never changed by reading it again: the
state follows from which files are there, so that two services never mix their states.
"""

import re
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from hashlib import sha256
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from kintsugi.models.progress import Step

Kind = Literal["inpaint", "stylize"]
State = Literal["queued", "running", "done", "failed", "cancelled", "expired"]
OptionValue = bool | int | float | str

_ID = re.compile(r"[0-9a-f]{32}")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class JobRecord(_Record):
    """What was asked for. It is written last when a job is made: without it there is none.

    Attributes:
        id: 32 hexadecimal digits; a client that knows them and has the same key sees the job.
        kind: Which computation.
        options: Those of its form, all of them.
        files: SHA-256 (hexadecimal) of each file sent, by its field.
        key_name: Whose API key made it; "" where none is asked for.
        request_id: The request id of the request that made it.
        created: Seconds since 1970, as all times here.
        webhook: URL that is called when the job has ended; "" for none.
    """

    version: Literal[1] = 1
    id: str
    kind: Kind
    options: dict[str, OptionValue]
    files: dict[str, str]
    key_name: str
    request_id: str
    created: float
    webhook: str = ""


class Claim(_Record):
    """Which service works on a job.

    Attributes:
        owner: Id of a running service; "" for none.
        starts: How often the job was started, and not ended by a service that was stopped.
        started: When the current start was; None while the job waits.
    """

    owner: str
    starts: int
    started: float | None


class JobStep(_Record):
    """How far a job is: groups of holes one after the other, each from small to large."""

    crop: int = Field(ge=0, description="groups of holes, or tiles of a transfer, that are done")
    crops: int = Field(gt=0, description="of so many")
    scale: int = Field(ge=0, description="scales of the next one that are done")
    scales: int = Field(gt=0, description="of so many")

    @property
    def fraction(self) -> float:
        """As `Step.fraction`, which the page computes, too; at most 1."""
        return min(1.0, Step(self.crop, self.crops, self.scale, self.scales).fraction)


class JobProblem(_Record):
    """Why a job failed: what its problem document says."""

    status: int
    code: str
    detail: str
    hint: str


class Result(_Record):
    """The image of a job that is done.

    Attributes:
        file: Its name; each start writes one of its own.
        sha256: Hexadecimal, of its bytes.
        media_type: Such as ``image/png``.
        model_version: Name and digest of the release that made it.
        notes: What of the photograph it does not hold.
    """

    file: str
    sha256: str
    media_type: str
    model_version: str
    notes: str


class JobOutcome(_Record):
    """How a job ended, written last: with a result it is done, with a problem it failed."""

    finished: float
    result: Result | None = None
    problem: JobProblem | None = None


class BatchRow(_Record):
    """One photograph of a batch: a job, or why there is none.

    Attributes:
        name: As its sender calls the file.
        job: Id; of one that was refused there is no such job.
        problem: Why it was.
    """

    name: str
    job: str = ""
    problem: JobProblem | None = None


class BatchRecord(_Record):
    """Jobs that were sent together, in their order.

    Attributes:
        id: As of a job.
        key_name: Whose API key made it.
        request_id: The request that made it.
        created: When.
    """

    version: Literal[1] = 1
    id: str
    key_name: str
    request_id: str
    created: float
    rows: tuple[BatchRow, ...]


class Mark(_Record):
    """That something was so from a moment on: cancelled, begun, alive.

    Attributes:
        job: Id of the job that it is about; "" where that is clear.
        time: When.
    """

    job: str = ""
    time: float


@dataclass(frozen=True)
class Job:
    """A job as it stands.

    Attributes:
        started: When it was last started; None before that.
        finished: When it ended; None before that.
        expires: When its images are deleted.
        step: How far it is; None while nobody knows.
        outcome: How it ended; None before that, and for one that was cancelled.
    """

    record: JobRecord
    state: State
    started: float | None
    finished: float | None
    expires: float
    step: JobStep | None
    outcome: JobOutcome | None


def is_job_id(text: str) -> bool:
    """Whether this can be an id: nothing else may become part of a path."""
    return _ID.fullmatch(text) is not None


def digest(data: bytes) -> str:
    """SHA-256, hexadecimal."""
    return sha256(data).hexdigest()


def fresh_id() -> str:
    """An id that nobody can guess."""
    return uuid.uuid4().hex


def keyed_id(record: JobRecord, idempotency_key: str) -> str:
    """The id of a job that was sent with an Idempotency-Key.

    It follows from everything that was sent, so that services that get the same request
    at once agree without asking one another. A client that could guess it has the very files,
    the options and the key, and the same API key.
    """
    sent = record.model_dump_json(include={"kind", "options", "files", "key_name"})
    if record.webhook:
        # Only then: one without has the id that it always had.
        sent += f"\n{record.webhook}"
    return digest(f"{idempotency_key}\n{sent}".encode())[:32]


def key_digest(key_name: str, idempotency_key: str) -> str:
    """Name of the file that says which job an Idempotency-Key made."""
    return digest(f"{key_name}\n{idempotency_key}".encode())


def digests(files: Mapping[str, bytes]) -> dict[str, str]:
    """SHA-256 of each file, in the order of their names."""
    return {name: digest(data) for name, data in sorted(files.items())}

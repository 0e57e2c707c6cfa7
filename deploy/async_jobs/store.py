"""Jobs in a folder or a bucket: where each file is, which of them decides; runs nothing.

open/<id>                 a job that has not ended, so that these are found without a search
owners/<owner>            a running service, written again while it runs
keys/<digest>             the job that an Idempotency-Key made
lists/<digest>/<when>-<id> that a job is one of this API key's name
batches/<id>              which jobs were sent together
hooks/<id>                that its webhook is still to be notified of its end
jobs/<id>/record.json     what was asked for; written last when the job is made
jobs/<id>/input-<field>   the files that were sent; deleted when the job ends
jobs/<id>/claim.json      which service works on it
jobs/<id>/step.json       how far it is
jobs/<id>/result-<digits> the image
jobs/<id>/outcome.json    how it ended; written last
jobs/<id>/cancelled.json  that it was given up; counts more than all else

Every call may block for seconds: call it in a thread.
"""

import logging
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

from pydantic import BaseModel, ValidationError

from kintsugi.deploy.async_jobs.records import (
    BatchRecord,
    Claim,
    Job,
    JobOutcome,
    JobRecord,
    JobStep,
    Mark,
    State,
    digest,
    is_job_id,
)
from kintsugi.errors import StorageError
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage

Model = TypeVar("Model", bound=BaseModel)
logger = logging.getLogger(__name__)

RECORD, _CLAIM, _STEP = "record.json", "claim.json", "step.json"
_OUTCOME, _CANCELLED = "outcome.json", "cancelled.json"
_IMAGES = ("input-", "result-")
# Less than what training puts up with: the client waits for it, or tries again by itself.
_RETRY = Retry(total_seconds=3)


class JobDamaged(StorageError):
    """A file of a job is not what was written."""


class JobStore:
    """All jobs of one place; several services may share it.

    Attributes:
        place: Where their files are.
        ttl_seconds: How long images are kept.
    """

    def __init__(
        self, uri: str, *, ttl_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        """Name the place; nothing is opened or created.

        Args:
            uri: As `kintsugi.storage.storage.Storage`.
            ttl_seconds: So long after a job ended its images are kept, and twice as long
                what is known of it; one that never ends counts from when it was made.
            clock: Gives seconds since 1970.

        Raises: ConfigError for a URI that names no place.
        """
        self.place = Storage(uri, retry=_RETRY)
        self.ttl_seconds = ttl_seconds
        self._clock = clock
        self._logged: set[str] = set()

    def now(self) -> float:
        """Seconds since 1970."""
        return self._clock()

    def create(self, record: JobRecord, files: Mapping[str, bytes], owner: str) -> None:
        """Write a job, claimed by ``owner``.

        Args:
            record: What is to be made.
            files: What was sent, by the names of the fields.
            owner: The replica that runs it first.
        """
        # First: what is in no list of those that have begun is swept away.
        self._write(f"open/{record.id}", Mark(time=record.created))
        self._write(_listed(record), Mark(job=record.id, time=record.created))
        if record.webhook:
            self._write(f"hooks/{record.id}", Mark(time=record.created))
        self.claim(record.id, Claim(owner=owner, starts=0, started=None))
        for name, data in files.items():
            self.place.write(f"jobs/{record.id}/input-{name}", data)
        self._write(f"jobs/{record.id}/{RECORD}", record)

    def remove(self, record: JobRecord) -> None:
        """Delete all of a job."""
        self.place.delete(_listed(record))
        self.place.delete_folder(f"jobs/{record.id}")

    def job(self, job_id: str) -> Job | None:
        """A job as it stands; None where there is none. Raises: JobDamaged."""
        names = set(self.place.list(f"jobs/{job_id}"))

        def read(name: str, kind: type[Model]) -> Model | None:
            path = f"jobs/{job_id}/{name}"
            return self._read_if_there(path, kind) if path in names else None

        record = read(RECORD, JobRecord)
        if record is None:
            return None
        claim, outcome = read(_CLAIM, Claim), read(_OUTCOME, JobOutcome)
        cancelled = read(_CANCELLED, Mark)
        finished = cancelled.time if cancelled else outcome.finished if outcome else None
        expires = (record.created if finished is None else finished) + self.ttl_seconds
        state = _state(claim, outcome, cancelled)
        return Job(
            record=record,
            state="expired" if self.now() >= expires else state,
            started=claim.started if claim else None,
            finished=finished,
            expires=expires,
            step=read(_STEP, JobStep),
            outcome=None if cancelled else outcome,
        )

    def listed(self, key_name: str, *, after: str = "") -> list[str]:
        """Names of the jobs of an API key's name in its list, the newest first.

        Args:
            key_name: As in `JobRecord`.
            after: "" for all; else a name of the list: only what is older.
        """
        folder = f"lists/{digest(key_name.encode())}"
        names = (path.removeprefix(f"{folder}/") for path in self.place.list(folder))
        return sorted((name for name in names if not after or name < after), reverse=True)

    def listed_job(self, key_name: str, name: str) -> Job | None:
        """The job of a name of `listed`; None for one that is damaged, or is not there.

        It may be just being made, or just removed; or have expired and been sent again, with
        another place in the list.
        """
        try:
            job = self.job(name.rpartition("-")[2])
        except JobDamaged as error:
            self.log_damaged(error)
            return None
        is_here = job is not None and _listed(job.record) == _list_name(key_name, name)
        return job if is_here else None

    def hooks(self) -> list[str]:
        """Ids of the jobs whose webhooks are still to be notified."""
        names = (name.removeprefix("hooks/") for name in self.place.list("hooks"))
        return [name for name in names if is_job_id(name)]

    def has_hook(self, job_id: str) -> bool:
        """Whether its webhook is still to be notified."""
        return self.place.exists(f"hooks/{job_id}")

    def forget_webhook(self, job_id: str) -> None:
        """Its webhook is not notified any more."""
        self.place.delete(f"hooks/{job_id}")

    def files(self, record: JobRecord) -> dict[str, bytes]:
        """The files that were sent. Raises: JobDamaged when they are others."""
        return {
            name: self._checked(f"jobs/{record.id}/input-{name}", expected)
            for name, expected in record.files.items()
        }

    def claim(self, job_id: str, claim: Claim) -> None:
        """Say which service works on a job; the last one that says so does."""
        self._write(f"jobs/{job_id}/{_CLAIM}", claim)

    def claimed(self, job_id: str) -> Claim | None:
        """The service that works on a job; None where none ever did. Raises: JobDamaged."""
        return self._read_if_there(f"jobs/{job_id}/{_CLAIM}", Claim)

    def report(self, job_id: str, step: JobStep) -> None:
        """Say how far a job is."""
        self._write(f"jobs/{job_id}/{_STEP}", step)

    def finish(self, record: JobRecord, outcome: JobOutcome, image: bytes = b"") -> None:
        """End a job: with its image first, then how it ended; what was sent is deleted."""
        folder = f"jobs/{record.id}"
        if outcome.result is not None:
            self.place.write(f"{folder}/{outcome.result.file}", image)
        self._write(f"{folder}/{_OUTCOME}", outcome)
        self.close(record)

    def close(self, record: JobRecord) -> None:
        """Delete what a job that has ended does not need."""
        folder = f"jobs/{record.id}"
        for name in record.files:
            self.place.delete(f"{folder}/input-{name}")
        self.place.delete(f"open/{record.id}")
        if self.is_cancelled(record.id):
            # Just now, so that nobody else deletes what was just made.
            self.delete_images(record.id, self.place.list(folder))

    def image(self, job: Job) -> bytes:
        """The image of a job that is done. Raises: JobDamaged."""
        assert job.outcome is not None
        assert job.outcome.result is not None
        result = job.outcome.result
        return self._checked(f"jobs/{job.record.id}/{result.file}", result.sha256)

    def cancel(self, job_id: str) -> None:
        """Give a job up, whether it has ended or not, and delete its images."""
        self._write(f"jobs/{job_id}/{_CANCELLED}", Mark(time=self.now()))
        self.delete_images(job_id, self.place.list(f"jobs/{job_id}"))

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody gave it up."""
        return self.place.exists(f"jobs/{job_id}/{_CANCELLED}")

    def open_jobs(self) -> list[str]:
        """Ids of the jobs that have not ended, and of some that are just being made."""
        names = (name.removeprefix("open/") for name in self.place.list("open"))
        return [name for name in names if is_job_id(name)]

    def heartbeat(self, owner: str) -> None:
        """Say that a service runs."""
        self._write(f"owners/{owner}", Mark(time=self.now()))

    def last_heartbeat(self, owner: str) -> float | None:
        """When a service last said that it runs, by its own clock; None after it stopped."""
        mark = self._read_if_there(f"owners/{owner}", Mark) if owner else None
        return None if mark is None else mark.time

    def leave(self, owner: str) -> None:
        """Say that a service has stopped: what it claimed is free at once."""
        self.place.delete(f"owners/{owner}")

    def job_of_key(self, key: str) -> str | None:
        """Id of the job that an Idempotency-Key made, by `key_digest`; None for a fresh key."""
        mark = self._read_if_there(f"keys/{key}", Mark)
        return None if mark is None or self.is_over(mark) else mark.job

    def keep_key(self, key: str, job_id: str) -> None:
        """Say which job an Idempotency-Key makes."""
        self._write(f"keys/{key}", Mark(job=job_id, time=self.now()))

    def keep_batch(self, batch: BatchRecord) -> None:
        """Say which jobs were sent together."""
        self._write(f"batches/{batch.id}", batch)

    def batch(self, batch_id: str) -> BatchRecord | None:
        """A batch; None where there is none. Raises: JobDamaged."""
        return self._read_if_there(f"batches/{batch_id}", BatchRecord)

    def is_over(self, mark: Mark) -> bool:
        """Whether what a mark says is kept no longer."""
        return mark.time + 2 * self.ttl_seconds <= self.now()

    def log_damaged(self, error: JobDamaged) -> None:
        """Log it once: the next look finds it again."""
        if str(error) not in self._logged:
            self._logged.add(str(error))
            logger.error("jobs: %s", error)

    def delete_images(self, job_id: str, paths: list[str]) -> bool:
        """Delete those of these paths of a job that are images. Returns: whether there were any."""
        folder = f"jobs/{job_id}/"
        images = [path for path in paths if path.removeprefix(folder).startswith(_IMAGES)]
        for path in images:
            self.place.delete(path)
        self.place.delete(f"open/{job_id}")
        return bool(images)

    def _checked(self, path: str, expected: str) -> bytes:
        data = self.place.read(path)
        if digest(data) != expected:
            raise JobDamaged(f"{path} in {self.place.uri} was altered: send the job again")
        return data

    def _write(self, path: str, model: BaseModel) -> None:
        self.place.write(path, model.model_dump_json().encode())

    def _read(self, path: str, kind: type[Model]) -> Model:
        try:
            return kind.model_validate_json(self.place.read(path))
        except ValidationError as error:
            raise JobDamaged(
                f"{path} in {self.place.uri} cannot be read"
                f" ({error.error_count()} errors): delete its folder, and send the job again"
            ) from error

    def _read_if_there(self, path: str, kind: type[Model]) -> Model | None:
        # Not asked for first: what is there then may be gone before it is read.
        try:
            return self._read(path, kind)
        except JobDamaged:
            raise
        except StorageError as error:
            if error.may_pass or self.place.exists(path):
                raise
            return None

    def readable(self, path: str, kind: type[Model]) -> Model | None:
        """What a file says; None, and a line in the log, for what is damaged."""
        try:
            return self._read_if_there(path, kind)
        except JobDamaged as error:
            self.log_damaged(error)
            return None


def _listed(record: JobRecord) -> str:
    """Its place among the jobs of its key's name: names in the order of time."""
    return _list_name(record.key_name, f"{round(record.created * 1000):015d}-{record.id}")


def _list_name(key_name: str, name: str) -> str:
    return f"lists/{digest(key_name.encode())}/{name}"


def _state(claim: Claim | None, outcome: JobOutcome | None, cancelled: Mark | None) -> State:
    if cancelled is not None:
        return "cancelled"
    if outcome is not None:
        return "failed" if outcome.result is None else "done"
    return "running" if claim is not None and claim.started is not None else "queued"

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
from collections import defaultdict
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

_RECORD, _CLAIM, _STEP = "record.json", "claim.json", "step.json"
_OUTCOME, _CANCELLED = "outcome.json", "cancelled.json"
_IMAGES = ("input-", "result-")
# Less than what training puts up with: the client waits for it, or tries again by itself.
_RETRY = Retry(total_seconds=3)


class JobDamaged(StorageError):
    """A file of a job is not what was written."""


class JobStore:
    """All jobs of one place; several services may share it."""

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
        self._place = Storage(uri, retry=_RETRY)
        self._ttl_seconds = ttl_seconds
        self._clock = clock
        # When jobs that ended expire, so that a sweep does not read them all again.
        self._expiry: dict[str, float] = {}
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
            self._place.write(f"jobs/{record.id}/input-{name}", data)
        self._write(f"jobs/{record.id}/{_RECORD}", record)

    def remove(self, record: JobRecord) -> None:
        """Delete all of a job."""
        self._place.delete(_listed(record))
        self._place.delete_folder(f"jobs/{record.id}")
        self._expiry.pop(record.id, None)

    def job(self, job_id: str) -> Job | None:
        """A job as it stands; None where there is none. Raises: JobDamaged."""
        names = set(self._place.list(f"jobs/{job_id}"))

        def read(name: str, kind: type[Model]) -> Model | None:
            path = f"jobs/{job_id}/{name}"
            return self._read_if_there(path, kind) if path in names else None

        record = read(_RECORD, JobRecord)
        if record is None:
            return None
        claim, outcome = read(_CLAIM, Claim), read(_OUTCOME, JobOutcome)
        cancelled = read(_CANCELLED, Mark)
        finished = cancelled.time if cancelled else outcome.finished if outcome else None
        expires = (record.created if finished is None else finished) + self._ttl_seconds
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

    def jobs_of(self, key_name: str, *, after: str, limit: int) -> tuple[list[Job], str]:
        """Jobs of an API key's name, the newest first, and what to give as ``after`` for more.

        Args:
            key_name: As in `JobRecord`.
            after: "" for the newest; else what the page before gave.
            limit: The most that are given.

        Returns: the second is "" where there are no more.
        """
        folder = f"lists/{digest(key_name.encode())}"
        names = sorted(
            (path.removeprefix(f"{folder}/") for path in self._place.list(folder)), reverse=True
        )
        names = [name for name in names if not after or name < after]
        found: list[Job] = []
        for number, name in enumerate(names):
            if len(found) == limit:
                return found, names[number - 1]
            try:
                job = self.job(name.rpartition("-")[2])
            except JobDamaged as error:
                self.log_damaged(error)
                continue
            # Just being made, or just removed; or this is the place of one that expired and was
            # sent again.
            if job is not None and _listed(job.record) == f"{folder}/{name}":
                found.append(job)
        return found, ""

    def hooks(self) -> list[str]:
        """Ids of the jobs whose webhooks are still to be notified."""
        names = (name.removeprefix("hooks/") for name in self._place.list("hooks"))
        return [name for name in names if is_job_id(name)]

    def has_hook(self, job_id: str) -> bool:
        """Whether its webhook is still to be notified."""
        return self._place.exists(f"hooks/{job_id}")

    def forget_webhook(self, job_id: str) -> None:
        """Its webhook is not notified any more."""
        self._place.delete(f"hooks/{job_id}")

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
            self._place.write(f"{folder}/{outcome.result.file}", image)
        self._write(f"{folder}/{_OUTCOME}", outcome)
        self.close(record)

    def close(self, record: JobRecord) -> None:
        """Delete what a job that has ended does not need."""
        folder = f"jobs/{record.id}"
        for name in record.files:
            self._place.delete(f"{folder}/input-{name}")
        self._place.delete(f"open/{record.id}")
        if self.is_cancelled(record.id):
            # Just now, so that nobody else deletes what was just made.
            self._delete_images(record.id, self._place.list(folder))

    def image(self, job: Job) -> bytes:
        """The image of a job that is done. Raises: JobDamaged."""
        assert job.outcome is not None
        assert job.outcome.result is not None
        result = job.outcome.result
        return self._checked(f"jobs/{job.record.id}/{result.file}", result.sha256)

    def cancel(self, job_id: str) -> None:
        """Give a job up, whether it has ended or not, and delete its images."""
        self._write(f"jobs/{job_id}/{_CANCELLED}", Mark(time=self.now()))
        self._delete_images(job_id, self._place.list(f"jobs/{job_id}"))

    def is_cancelled(self, job_id: str) -> bool:
        """Whether somebody gave it up."""
        return self._place.exists(f"jobs/{job_id}/{_CANCELLED}")

    def open_jobs(self) -> list[str]:
        """Ids of the jobs that have not ended, and of some that are just being made."""
        names = (name.removeprefix("open/") for name in self._place.list("open"))
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
        self._place.delete(f"owners/{owner}")

    def job_of_key(self, key: str) -> str | None:
        """Id of the job that an Idempotency-Key made, by `key_digest`; None for a fresh key."""
        mark = self._read_if_there(f"keys/{key}", Mark)
        return None if mark is None or self._is_over(mark) else mark.job

    def keep_key(self, key: str, job_id: str) -> None:
        """Say which job an Idempotency-Key makes."""
        self._write(f"keys/{key}", Mark(job=job_id, time=self.now()))

    def keep_batch(self, batch: BatchRecord) -> None:
        """Say which jobs were sent together."""
        self._write(f"batches/{batch.id}", batch)

    def batch(self, batch_id: str) -> BatchRecord | None:
        """A batch; None where there is none. Raises: JobDamaged."""
        return self._read_if_there(f"batches/{batch_id}", BatchRecord)

    def log_damaged(self, error: JobDamaged) -> None:
        """Log it once: the next look finds it again."""
        if str(error) not in self._logged:
            self._logged.add(str(error))
            logger.error("jobs: %s", error)

    def sweep(self) -> int:
        """Delete what has expired, while jobs are sent and end. Returns: of how many jobs."""
        # In this order: a job comes into `open`, then `lists`, then `jobs`, and leaves `open`
        # when all of it is in `jobs`. What is in the first and in neither of the others is over.
        listed = self._place.list("lists")
        batches = self._place.list("batches")
        begun = self._begun()
        files: dict[str, list[str]] = defaultdict(list)
        for path in self._place.list("jobs"):
            files[path.split("/")[1]].append(path)
        known = {*files, *begun}
        for path in listed:
            when, _, job_id = path.rpartition("/")[2].partition("-")
            if job_id not in known and when.isdecimal() and self._is_past(int(when) / 1000):
                self._place.delete(path)
        for path in batches:
            batch = self._readable(path, BatchRecord)
            if batch is None or not self._is_past(batch.created):
                continue
            # As long as one of its jobs is known.
            if known.isdisjoint(row.job for row in batch.rows):
                self._place.delete(path)
        deleted = sum(self._expire(job_id, paths) for job_id, paths in files.items())
        for path in [*self._place.list("keys"), *self._place.list("owners")]:
            mark = self._readable(path, Mark)
            if mark is not None and self._is_over(mark):
                self._place.delete(path)
        return deleted

    def _begun(self) -> set[str]:
        """Those in `open`, without what has been there for too long, which is deleted."""
        begun = set()
        for path in self._place.list("open"):
            mark = self._readable(path, Mark)
            if mark is not None and self._is_past(mark.time):
                self._place.delete(path)
            else:
                begun.add(path.removeprefix("open/"))
        return begun

    def _expire(self, job_id: str, paths: list[str]) -> bool:
        """Delete a job's images when their time is over, and all of it later.

        ``paths`` may be older than the job's last files.
        """
        if self.now() < self._expiry.get(job_id, 0):
            return False
        # One that was being made when it was listed may be whole by now, or have ended: asked
        # before the record is looked for, since it leaves `open` when all else is there.
        was_whole = f"jobs/{job_id}/{_RECORD}" in paths
        is_open = was_whole or self._place.exists(f"open/{job_id}")
        try:
            job = self.job(job_id)
        except JobDamaged as error:
            self.log_damaged(error)
            return False
        if job is None:
            # Left when its making was cut short.
            if not is_open:
                self._place.delete_folder(f"jobs/{job_id}")
            return not is_open
        if job.state != "expired":
            if job.finished is not None:
                self._expiry[job_id] = job.expires
            return False
        if self.now() < job.expires + self._ttl_seconds:
            return self._delete_images(job_id, paths)
        self.remove(job.record)
        return True

    def _delete_images(self, job_id: str, paths: list[str]) -> bool:
        folder = f"jobs/{job_id}/"
        images = [path for path in paths if path.removeprefix(folder).startswith(_IMAGES)]
        for path in images:
            self._place.delete(path)
        self._place.delete(f"open/{job_id}")
        return bool(images)

    def _is_past(self, moment: float) -> bool:
        """Whether what was made then, and is in nobody's hands, is kept no longer."""
        return moment + self._ttl_seconds <= self.now()

    def _is_over(self, mark: Mark) -> bool:
        return mark.time + 2 * self._ttl_seconds <= self.now()

    def _checked(self, path: str, expected: str) -> bytes:
        data = self._place.read(path)
        if digest(data) != expected:
            raise JobDamaged(f"{path} in {self._place.uri} was altered: send the job again")
        return data

    def _write(self, path: str, model: BaseModel) -> None:
        self._place.write(path, model.model_dump_json().encode())

    def _read(self, path: str, kind: type[Model]) -> Model:
        try:
            return kind.model_validate_json(self._place.read(path))
        except ValidationError as error:
            raise JobDamaged(
                f"{path} in {self._place.uri} cannot be read"
                f" ({error.error_count()} errors): delete its folder, and send the job again"
            ) from error

    def _read_if_there(self, path: str, kind: type[Model]) -> Model | None:
        # Not asked for first: what is there then may be gone before it is read.
        try:
            return self._read(path, kind)
        except JobDamaged:
            raise
        except StorageError as error:
            if error.may_pass or self._place.exists(path):
                raise
            return None

    def _readable(self, path: str, kind: type[Model]) -> Model | None:
        """None, and a line in the log, for what is damaged."""
        try:
            return self._read_if_there(path, kind)
        except JobDamaged as error:
            self.log_damaged(error)
            return None


def _listed(record: JobRecord) -> str:
    """Its place among the jobs of its key's name: names in the order of time."""
    when = f"{round(record.created * 1000):015d}"
    return f"lists/{digest(record.key_name.encode())}/{when}-{record.id}"


def _state(claim: Claim | None, outcome: JobOutcome | None, cancelled: Mark | None) -> State:
    if cancelled is not None:
        return "cancelled"
    if outcome is not None:
        return "failed" if outcome.result is None else "done"
    return "running" if claim is not None and claim.started is not None else "queued"

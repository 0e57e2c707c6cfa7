"""The jobs of one service: where they are, who runs them, who may see them; no HTTP routes."""

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path

from fastapi import FastAPI

from kintsugi.deploy.async_jobs.deliveries import Deliveries
from kintsugi.deploy.async_jobs.documents import damaged
from kintsugi.deploy.async_jobs.records import BatchRecord, Job, JobRecord, is_job_id
from kintsugi.deploy.async_jobs.runner import JobLimits, JobRunner, NewJob
from kintsugi.deploy.async_jobs.store import JobDamaged, JobStore
from kintsugi.deploy.async_jobs.store_calls import Breaker, StoreBusy, StoreCalls
from kintsugi.deploy.async_jobs.webhooks import Webhooks
from kintsugi.deploy.async_jobs.work import JobWork
from kintsugi.deploy.engine import Observer
from kintsugi.deploy.http.image_service import ImageService
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.release_files import ROOT
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import ConfigError, InvalidInput, StorageError

logger = logging.getLogger(__name__)

_LONGEST_SWEEP_SECONDS = 3600.0
_CALLER_SECONDS, _BREAKER_SECONDS = 5.0, 5.0
# For those who ask for one job or batch, and for pages; and of either for one API key.
_CALLER_THREADS, _THREADS_OF_ONE = 8, 4
# After so long a page is answered with the jobs that were read by then.
_PAGE_SECONDS = 3.0


class Jobs:
    """All that the routes need.

    Attributes:
        work: Checks what is sent.
        runner: Takes and runs it.
        hooks: Checks the URLs of webhooks.
    """

    def __init__(self, store: JobStore, runner: JobRunner, work: JobWork, hooks: Webhooks) -> None:
        self.hooks = hooks
        self.work = work
        self.runner = runner
        self._store = store
        # A client waits for seconds at most; and not at all once it is known that nobody answers.
        self._calls = StoreCalls(
            "jobs-asked",
            threads=_CALLER_THREADS,
            of_one=_THREADS_OF_ONE,
            seconds=_CALLER_SECONDS,
            breaker=Breaker(open_seconds=_BREAKER_SECONDS, harmless=JobDamaged),
        )
        self._call, self._call_for = self._calls.call, self._calls.call_for
        # A list may be long: it takes no thread of others, and that it is late says nothing of the
        # store.
        self._pages = StoreCalls(
            "jobs-listed",
            threads=_CALLER_THREADS,
            of_one=_THREADS_OF_ONE,
            seconds=_CALLER_SECONDS,
        )

    @asynccontextmanager
    async def lifespan(self, app: FastAPI) -> AsyncIterator[None]:
        """Run jobs while the application runs."""
        try:
            async with self.runner.running():
                yield
        finally:
            self._calls.close()
            self._pages.close()

    async def submit(
        self, jobs: Sequence[NewJob], batch: BatchRecord | None = None, *, is_keyed: bool
    ) -> None:
        """Take jobs of one key, all or none. Raises: as `JobRunner.submit`."""
        await self.runner.submit(jobs, self._call, batch, is_keyed=is_keyed)

    async def cancel(self, job_id: str) -> None:
        """Give a job up, whichever service runs it. Raises: StorageError."""
        await self._call(self._store.cancel, job_id)
        self.runner.stop(job_id)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Around what reads or writes jobs: errors of where they are kept as problems."""
        try:
            yield
        except JobDamaged as error:
            self._store.log_damaged(error)
            raise damaged() from error
        except StoreBusy as error:
            logger.warning("jobs: %s", error)
            raise Problem(
                503,
                "jobs_busy",
                detail=f"this was in line for {_CALLER_SECONDS:g} s: {_THREADS_OF_ONE} looks at"
                " jobs are made at one time for one API key",
                hint="send the same request again in 5 seconds, and fewer at one time",
                headers={"retry-after": "5"},
            ) from error
        except StorageError as error:
            logger.warning("jobs: %s", error)
            raise Problem(
                503,
                "jobs_unavailable",
                detail="the place where jobs are kept does not answer",
                hint="send the same request again in 10 seconds",
                headers={"retry-after": "10"},
            ) from error

    def now(self) -> float:
        """Seconds since 1970."""
        return self._store.now()

    async def find(self, job_id: str, key_name: str) -> Job:
        """A job of the owner of this API key. Raises: Problem 404 `job_unknown`."""
        job = None
        if is_job_id(job_id):
            job = await self._call_for(key_name, self._store.job, job_id)
        # Somebody else's is as unknown as none.
        if job is None or job.record.key_name != key_name:
            raise Problem(
                404,
                "job_unknown",
                detail="there is no job with this id, or not any more",
                hint="take the id from the answer of POST /v1/jobs, and send the same API key",
            )
        return job

    async def page(self, key_name: str, *, after: str, limit: int) -> tuple[list[Job], str]:
        """Jobs of an API key's name, the newest first, and what to give as ``after`` for more.

        Args:
            key_name: As in `JobRecord`.
            after: "" for the newest; else what the page before gave.
            limit: The most that are given; fewer where the store takes long to give them.

        Returns: the second is "" where there are no more.

        Raises: StorageError.
        """
        call, store = self._pages.call_for, self._store
        names = await call(key_name, partial(store.listed, key_name, after=after))
        late = time.monotonic() + _PAGE_SECONDS
        found: list[Job] = []
        looked = 0
        while looked < len(names) and len(found) < limit:
            if looked and time.monotonic() >= late:
                break
            some = names[looked : looked + min(_THREADS_OF_ONE, limit - len(found))]
            jobs = await asyncio.gather(
                *(call(key_name, store.listed_job, key_name, name) for name in some)
            )
            found += [job for job in jobs if job is not None]
            looked += len(some)
        return found, names[looked - 1] if looked < len(names) else ""

    async def made_before(self, record: JobRecord, key: str) -> Job | None:
        """The job that an Idempotency-Key has made of the same content; None for none.

        Args:
            record: The record of this request; its id is the key's, by `keyed_id`.
            key: By `key_digest`.

        Raises: InvalidInput `idempotency_key_reused`: it has made another.
        """
        made = await self._call(self._store.job_of_key, key)
        if made is not None and made != record.id:
            raise _key_reused()
        return await self.unexpired(record.id)

    async def unexpired(self, job_id: str) -> Job | None:
        """A job whose id another of the same content has, too; one that expired is removed."""
        job = await self._call(self._store.job, job_id)
        if job is not None and job.state == "expired":
            await self._call(self._store.remove, job.record)
            return None
        return job

    async def batch_before(self, batch: BatchRecord) -> BatchRecord | None:
        """The batch that an Idempotency-Key has made of the same content; None for none.

        Raises: InvalidInput `idempotency_key_reused`: it has made another.
        """
        before = await self._call(self._store.batch, batch.id)
        if before is not None:
            # A row without a job was refused by a version that did not keep its id.
            pairs = zip(before.rows, batch.rows, strict=False)
            is_same = all(old.job in ("", new.job) for old, new in pairs)
            if len(before.rows) != len(batch.rows) or not is_same:
                raise _key_reused()
        return before

    async def keep_key(self, key: str, job_id: str) -> None:
        """Say which job an Idempotency-Key has made."""
        await self._call(self._store.keep_key, key, job_id)

    async def batch(self, batch_id: str, key_name: str) -> BatchRecord:
        """A batch of the owner of this API key. Raises: Problem 404 `batch_unknown`."""
        batch = None
        if is_job_id(batch_id):
            batch = await self._call_for(key_name, self._store.batch, batch_id)
        if batch is None or batch.key_name != key_name:
            raise Problem(
                404,
                "batch_unknown",
                detail="there is no batch with this id, or not any more",
                hint="take the id from the answer of POST /v1/batches, and send the same API key",
            )
        return batch

    async def image(self, job: Job) -> bytes:
        """The image of a job that is done."""
        return await self._call_for(job.record.key_name, self._store.image, job)


def _key_reused() -> InvalidInput:
    return InvalidInput(
        "this Idempotency-Key came with other files or options before",
        code="idempotency_key_reused",
        hint="choose a new key for everything that is not the same request",
    )


def open_jobs(work: ImageService, args: AppArgs, observer: Observer) -> Jobs | None:
    """What the settings say of jobs; None where there shall be none.

    Raises: ConfigError: `jobs` names no place.
    """
    if not args.jobs:
        return None
    uri = args.jobs if "://" in args.jobs else str(ROOT / Path(args.jobs).expanduser())
    store = JobStore(uri, ttl_seconds=args.jobs_ttl_seconds)
    job_work = JobWork(work)
    limits = JobLimits(
        waiting=args.jobs_waiting,
        running=args.jobs_running,
        lease_seconds=args.jobs_lease_seconds,
        sweep_seconds=min(_LONGEST_SWEEP_SECONDS, args.jobs_ttl_seconds / 24),
    )
    hooks = Webhooks(hosts=args.webhook_hosts.split(), secret=_secret(args.webhook_secret))
    runner = JobRunner(store, job_work, limits, Deliveries(store, hooks), observer)
    return Jobs(store, runner, job_work, hooks)


def _secret(file: str) -> bytes:
    """Raises: ConfigError: the file cannot be read, or is empty."""
    if not file:
        return b""
    path = ROOT / Path(file).expanduser()
    try:
        secret = path.read_bytes().strip()
    except OSError as error:
        raise ConfigError(f"webhook_secret={path} cannot be read: {error}") from error
    if not secret:
        raise ConfigError(f"webhook_secret={path} is empty: write a secret into it")
    return secret

"""Runs jobs, each when its turn comes; claims what is to be run, and writes how it ended."""

import asyncio
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from kintsugi.deploy.async_jobs.claims import Claims
from kintsugi.deploy.async_jobs.deliveries import Deliveries
from kintsugi.deploy.async_jobs.documents import UNENDED, damaged
from kintsugi.deploy.async_jobs.expiry import Expiry
from kintsugi.deploy.async_jobs.forms import job_form
from kintsugi.deploy.async_jobs.job_queue import JobQueue
from kintsugi.deploy.async_jobs.records import (
    BatchRecord,
    Claim,
    JobOutcome,
    JobProblem,
    JobRecord,
    JobStep,
    Result,
    digest,
    fresh_id,
)
from kintsugi.deploy.async_jobs.store import JobDamaged, JobStore
from kintsugi.deploy.async_jobs.store_calls import StoreCalls, every, logged, until_it_can
from kintsugi.deploy.async_jobs.work import JobWork, Reports
from kintsugi.deploy.engine import Observer
from kintsugi.deploy.http.image_service import ImageAnswer
from kintsugi.deploy.http.problems import Problem, to_problem

logger = logging.getLogger(__name__)

Value = TypeVar("Value")
NewJob = tuple[JobRecord, Mapping[str, bytes]]

# Store threads of a store that answers slowly, at one time.
_STORE_THREADS = 4
# A job whose service died this often while it ran is the likely cause.
_MOST_STARTS = 3
# How often it is written how far a job is.
_REPORT_SECONDS = 0.5


@dataclass(frozen=True)
class JobLimits:
    """The limits of one service.

    Attributes:
        waiting: Jobs that wait, at most.
        running: Jobs that run at one time, at most.
        lease_seconds: After so long without a sign of life a service counts as dead.
        sweep_seconds: How often what has expired is deleted.
    """

    waiting: int
    running: int
    lease_seconds: float
    sweep_seconds: float


class JobRunner:
    """One service's share of the jobs of a store."""

    def __init__(
        self,
        store: JobStore,
        work: JobWork,
        limits: JobLimits,
        deliveries: Deliveries,
        observer: Observer,
    ) -> None:
        self._deliveries = deliveries
        self._observer = observer
        self._store = store
        self._work = work
        self._limits = limits
        self._calls = StoreCalls("jobs", threads=_STORE_THREADS)
        self._call = self._calls.call
        self._claims = Claims(store, self._calls, lease_seconds=limits.lease_seconds)
        # Jobs that this service has claimed, those in the queue and those that run.
        self._mine: dict[str, _ClaimedJob] = {}
        self._queue = JobQueue()
        self._running: dict[str, asyncio.Task[None]] = {}
        self._damaged: set[str] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._stopping = False

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """Run jobs until the block ends; those that run then are free for others at once."""
        heartbeat = self._limits.lease_seconds / 3
        loops = [
            every(heartbeat, self._claims.heartbeat),
            every(heartbeat, self._look),
            every(_REPORT_SECONDS, self._observe),
            every(self._limits.sweep_seconds, partial(self._call, Expiry(self._store).sweep)),
            *(self._take_turns() for _ in range(self._limits.running)),
        ]
        async with self._deliveries.running(self._limits.lease_seconds):
            tasks = [asyncio.create_task(loop) for loop in loops]
            try:
                yield
            finally:
                self._stopping = True
                tasks += [*self._running.values(), *self._tasks]
                for task in tasks:
                    task.cancel()
                await asyncio.gather(*tasks, return_exceptions=True)
                await logged(self._claims.leave)
                self._calls.close()

    async def submit(
        self,
        jobs: Sequence[NewJob],
        call: Callable[..., Awaitable[Any]],
        batch: BatchRecord | None = None,
        *,
        is_keyed: bool,
    ) -> None:
        """Take jobs of one key, all or none; each runs when its turn comes.

        Args:
            jobs: The record of each, and its files as they came, by field.
            call: Calls the store for those who wait for the answer.
            batch: Is kept before its jobs: sent again with its key, it goes on.
            is_keyed: The ids follow from an Idempotency-Key. Then what could be written stays when
                the rest could not: the same request, sent again, finds it and makes the rest.
                Otherwise it would make all again, so what was written is given up.

        Raises:
            Problem: As `check_room`; nothing was written then.
            StorageError: One could not be written.
        """
        self.check_room(jobs[0][0].key_name if jobs else "", len(jobs))
        # At once: others come in while these are written.
        mine = {record.id: _ClaimedJob(record.key_name, record.created) for record, _ in jobs}
        self._mine |= mine
        begun: list[JobRecord] = []
        written: list[JobRecord] = []
        try:
            await self._claims.ensure_alive()
            if batch is not None:
                await call(self._store.keep_batch, batch)
            for record, files in jobs:
                begun.append(record)
                await call(self._store.create, record, files, self._claims.owner)
                written.append(record)
        except BaseException:
            # Also of who leaves: a client that was not answered sends it again.
            stays = {record.id for record in (written if is_keyed else begun)}
            for job_id in mine.keys() - stays:
                self._mine.pop(job_id, None)
            if not is_keyed:
                for record in begun:
                    self._in_background(self._take_back(record))
                raise
            await self._line_up(written)
            raise
        await self._line_up(written)

    async def _line_up(self, records: Sequence[JobRecord]) -> None:
        for record in records:
            await self._queue.put(record.key_name, record.id)

    def _in_background(self, work: Coroutine[Any, Any, None]) -> None:
        self._tasks.add(task := asyncio.create_task(work))
        task.add_done_callback(self._tasks.discard)

    async def _take_back(self, record: JobRecord) -> None:
        """Give up a job of which its sender heard that it was not taken.

        It is marked as cancelled, which counts more than all else: a write that was late may still
        come.
        """

        def give_up() -> None:
            self._store.forget_webhook(record.id)
            self._store.cancel(record.id)
            self._store.close(record)

        try:
            await self._kept(record.id, lambda: self._call(give_up))
        finally:
            self._mine.pop(record.id, None)

    def stop(self, job_id: str) -> None:
        """Stop a job that was given up, if this service runs it."""
        if job_id in self._running:
            self._running[job_id].cancel()

    def check_room(self, key: str, count: int) -> None:
        """Whether so many jobs of a key may be sent now.

        Raises: Problem 503 `jobs_full`, for all or for this key; 422 `batch_too_large`: they are
            more than may ever wait.
        """
        if not count:
            return
        # As many as it leaves free for others; one always.
        most = (self._limits.waiting + 1) // 2 if key else self._limits.waiting
        if count > most:
            raise Problem(
                422,
                "batch_too_large",
                detail=f"{count} jobs were sent at once, and {most} of one sender may wait here",
                hint=f"send at most {most} in one batch",
            )
        waiting = Counter(
            mine.key_name for job_id, mine in self._mine.items() if job_id not in self._running
        )
        # What the last of them finds.
        free = self._limits.waiting - waiting.total() - (count - 1)
        if free > 0 and (not key or waiting[key] + count - 1 < max(1, free)):
            return
        of_whom = f"{waiting[key]} jobs of this key" if key else f"{waiting.total()} jobs"
        raise Problem(
            503,
            "jobs_full",
            detail=f"{of_whom} wait already",
            hint="send the same request again in 10 seconds",
            headers={"retry-after": "10"},
        )

    def _has_room(self) -> bool:
        return len(self._mine) - len(self._running) < self._limits.waiting

    async def _observe(self) -> None:
        """Say how many wait and for how long, for who watches the service."""
        oldest = min((mine.created for mine in self._mine.values()), default=None)
        waited = 0.0 if oldest is None else max(0.0, self._store.now() - oldest)
        self._observer.jobs(len(self._mine) - len(self._running), waited)

    async def _look(self) -> None:
        """Stop what was given up elsewhere, and take what nobody works on."""
        for job_id, task in list(self._running.items()):
            if await self._call(self._store.is_cancelled, job_id):
                task.cancel()
        bids: set[str] = set()
        try:
            for job_id in await self._call(self._store.open_jobs):
                known = job_id in self._mine or job_id in self._damaged
                if not known and self._has_room() and await self._bid(job_id):
                    bids.add(job_id)
            if bids:
                await self._claims.settle()
            for job_id in sorted(bids):
                if await self._claims.is_mine(job_id):
                    mine = await self._read_mine(job_id)
                    bids.remove(job_id)
                    self._mine[job_id] = mine
                    await self._queue.put(mine.key_name, job_id)
        finally:
            for job_id in bids:
                self._mine.pop(job_id, None)

    async def _read_mine(self, job_id: str) -> "_ClaimedJob":
        """What is known of a job that was claimed; of one that cannot be read nothing is."""
        try:
            job = await self._call(self._store.job, job_id)
        except JobDamaged:
            # The service that runs it says so.
            job = None
        if job is None:
            return _ClaimedJob("", self._store.now())
        return _ClaimedJob(job.record.key_name, job.record.created)

    async def _bid(self, job_id: str) -> bool:
        self._mine[job_id] = _ClaimedJob("", self._store.now())
        bidden = False
        try:
            bidden = await self._claims.bid(job_id)
        except JobDamaged as error:
            # It will not get better.
            self._damaged.add(job_id)
            self._store.log_damaged(error)
        finally:
            if not bidden:
                self._mine.pop(job_id, None)
        return bidden

    async def _take_turns(self) -> None:
        while True:
            job_id = await self._queue.get()
            task = self._running[job_id] = asyncio.create_task(self._run(job_id))
            try:
                await asyncio.wait([task])
            finally:
                del self._running[job_id]
                self._mine.pop(job_id, None)
            error = None if task.cancelled() else task.exception()
            if isinstance(error, JobDamaged):
                self._damaged.add(job_id)
                self._store.log_damaged(error)
            elif error is not None:
                # Its claim stands, and it is taken again by the service that looks next.
                logger.error("job %s was not ended", job_id, exc_info=error)

    async def _run(self, job_id: str) -> None:
        """Run one job to its end; whatever the store does meanwhile, it is computed once."""
        job = await self._kept(job_id, lambda: self._call(self._store.job, job_id))
        if job is None:
            return
        if job.state not in UNENDED:
            # A service was killed between the last two steps of ending it.
            await self._kept(job_id, lambda: self._call(self._store.close, job.record))
            await self._deliveries.add(job.record)
            return
        claim = await self._kept(job_id, lambda: self._call(self._store.claimed, job_id))
        if claim is None or claim.owner != self._claims.owner:
            return
        try:
            outcome, image = await self._outcome(job.record, claim)
            await self._kept(
                job_id, lambda: self._call(self._store.finish, job.record, outcome, image)
            )
        except _NotOurs:
            return
        except asyncio.CancelledError:
            if self._stopping:
                # A start that was noted by then does not count either.
                await asyncio.shield(logged(partial(self._claims.give_back, job_id, claim)))
            raise
        how = "done" if outcome.problem is None else outcome.problem.code
        self._observer.job_ended(how)
        logger.info("job %s: %s after %.1f s", job_id, how, outcome.finished - job.record.created)
        await self._deliveries.add(job.record)

    async def _outcome(self, record: JobRecord, claim: Claim) -> tuple[JobOutcome, bytes]:
        """How a job ends, and its image. Raises: _NotOurs."""
        try:
            if claim.starts >= _MOST_STARTS:
                raise Problem(
                    500,
                    "job_given_up",
                    detail=f"the service stopped {claim.starts} times while it ran",
                    hint="send a smaller image, or report the job's id",
                )
            made = await self._made(record)
        except _NotOurs:
            raise
        except JobDamaged as error:
            self._store.log_damaged(error)
            return self._failed(damaged()), b""
        except Exception as error:
            problem = to_problem(error)
            if problem.status == 500:
                logger.exception("job %s failed", record.id)
            return self._failed(problem), b""
        return self._done(made), made.answer.body

    async def _made(self, record: JobRecord) -> ImageAnswer:
        files = await self._kept(record.id, lambda: self._call(self._store.files, record))
        form = job_form(record.kind, record.options, files)
        del files
        reports = Reports()
        report = partial(self._report, record.id, reports)
        reporting = asyncio.create_task(every(_REPORT_SECONDS, report))
        try:
            return await self._work.make(
                form, record.key_name, reports.on_progress, partial(self._begin, record.id)
            )
        finally:
            reporting.cancel()

    async def _begin(self, job_id: str) -> None:
        """Note that its turn has come. Raises: _NotOurs: another service has the job by now."""
        now = self._store.now()
        started = await self._kept(job_id, lambda: self._claims.start(job_id, now))
        if started is None:
            raise _NotOurs

    async def _kept(self, job_id: str, action: Callable[[], Awaitable[Value]]) -> Value:
        """What the store must do before the job can go on."""
        return await until_it_can(action, f"job {job_id}", lasting=JobDamaged)

    async def _report(self, job_id: str, reports: Reports) -> None:
        step = reports.news()
        if step is not None:
            await self._call(self._store.report, job_id, JobStep.model_validate(step._asdict()))

    def _done(self, made: ImageAnswer) -> JobOutcome:
        result = Result(
            file=f"result-{fresh_id()}",
            sha256=digest(made.answer.body),
            media_type=f"image/{made.format}",
            model_version=made.model.version,
            notes="; ".join(made.answer.notes),
        )
        return JobOutcome(finished=self._store.now(), result=result)

    def _failed(self, problem: Problem) -> JobOutcome:
        kept = JobProblem(
            status=problem.status, code=problem.code, detail=problem.detail, hint=problem.hint
        )
        return JobOutcome(finished=self._store.now(), problem=kept)


@dataclass(frozen=True)
class _ClaimedJob:
    """A job that this service has claimed: the name of its key, and when it was sent."""

    key_name: str
    created: float


class _NotOurs(Exception):
    """Another service has the job by now."""

"""Webhooks are notified apart from jobs: each host has a line of its own, and none waits for it.

That a webhook is still to be notified stands in the store from when its job is sent. So what is in
line here may be lost: the next look, of this service or of another one, finds it again.
"""

import asyncio
import logging
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kintsugi.deploy.async_jobs.documents import UNENDED, job_document
from kintsugi.deploy.async_jobs.job_queue import JobQueue
from kintsugi.deploy.async_jobs.records import Job, JobRecord
from kintsugi.deploy.async_jobs.store import JobDamaged, JobStore
from kintsugi.deploy.async_jobs.store_calls import StoreCalls, every
from kintsugi.deploy.async_jobs.webhooks import Webhooks
from kintsugi.errors import StorageError

logger = logging.getLogger(__name__)

# One that takes no request now is asked again after so many seconds each, and then whenever the
# service looks for what is left, for so long.
_PAUSES_SECONDS = (1.0, 5.0, 25.0)
_GIVE_UP_SECONDS = 24 * 3600.0
# Of one host: requests at one time, and jobs in line; more are left to the next look.
_AT_ONCE = 2
_MOST_IN_LINE = 1000
_STORE_THREADS = 2


class Deliveries:
    """The notifying of one service."""

    def __init__(self, store: JobStore, hooks: Webhooks) -> None:
        self._store = store
        self._hooks = hooks
        self._calls = StoreCalls("jobs-hooks", threads=_STORE_THREADS)
        self._call = self._calls.call
        self._lines = {host: _Line(host) for host in hooks.hosts}
        # Of those that a look has found: whose line, and whose API key.
        self._found: dict[str, tuple[str, str]] = {}
        self._pauses: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def running(self, look_seconds: float) -> AsyncIterator[None]:
        """Notify until the block ends; what is in line then is found by the next service."""
        loops = [every(look_seconds, self._look)]
        loops += [self._deliver(line) for line in self._lines.values() for _ in range(_AT_ONCE)]
        tasks = [asyncio.create_task(loop) for loop in loops]
        try:
            yield
        finally:
            tasks += self._pauses
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            for line in self._lines.values():
                line.threads.shutdown(wait=False)
            self._calls.close()

    async def add(self, record: JobRecord) -> None:
        """A job has ended: put its webhook, if it has one, in line."""
        if record.webhook:
            await self._put(record.id, self._hooks.host_of(record.webhook), record.key_name)

    async def _put(self, job_id: str, host: str, key_name: str) -> None:
        line = self._lines.get(host)
        if line is None or job_id in line.jobs or len(line.jobs) >= _MOST_IN_LINE:
            return
        line.jobs[job_id] = _InLine(key_name, 0)
        await line.queue.put(key_name, job_id)

    async def _look(self) -> None:
        """Put in line what has ended and is still to be notified."""
        ids = await self._call(self._store.hooks)
        # Afterwards: a job is in here before it is in there, and until it has ended.
        unended = set(await self._call(self._store.open_jobs))
        self._found = {job_id: self._found[job_id] for job_id in ids if job_id in self._found}
        for job_id in ids:
            if job_id in unended:
                continue
            if job_id not in self._found:
                job = await self._ended(job_id)
                if job is None:
                    continue
                host = self._hooks.host_of(job.record.webhook)
                self._found[job_id] = host, job.record.key_name
            await self._put(job_id, *self._found[job_id])

    async def _ended(self, job_id: str) -> Job | None:
        """A job whose webhook may be notified; that of any other is forgotten if none ever may."""
        try:
            job: Job | None = await self._call(self._store.job, job_id)
        except JobDamaged as error:
            self._store.log_damaged(error)
            job = None
        if job is not None and job.state in UNENDED:
            return None
        if job is not None and self._hooks.host_of(job.record.webhook):
            return job
        if job is not None:
            logger.warning("job %s: its webhook is not allowed any more", job_id)
        await self._call(self._store.forget_webhook, job_id)
        return None

    async def _deliver(self, line: "_Line") -> None:
        while True:
            job_id = await line.queue.get()
            is_over = True
            try:
                is_over = await self._is_over_after_try(job_id, line)
            except StorageError as error:
                # The next look finds it.
                logger.warning("jobs: %s", error)
            except Exception:
                # Of this one; the line goes on.
                logger.exception("job %s: its webhook could not be notified", job_id)
            tried = line.jobs.pop(job_id)
            if not is_over and tried.tries < len(_PAUSES_SECONDS):
                line.jobs[job_id] = again = _InLine(tried.key_name, tried.tries + 1)
                pausing = self._put_back(line, job_id, again)
                self._pauses.add(task := asyncio.create_task(pausing))
                task.add_done_callback(self._pauses.discard)

    async def _put_back(self, line: "_Line", job_id: str, again: "_InLine") -> None:
        await asyncio.sleep(_PAUSES_SECONDS[again.tries - 1])
        await line.queue.put(again.key_name, job_id)

    async def _is_over_after_try(self, job_id: str, line: "_Line") -> bool:
        """Notify one webhook. Returns: whether no further try is needed."""
        # Another service, or a try from before the last look, may have notified it.
        is_left = await self._call(self._store.has_hook, job_id)
        job = await self._ended(job_id) if is_left else None
        if job is None:
            return True
        body = job_document(job, f"/v1/jobs/{job_id}").model_dump_json().encode()
        now = self._store.now()
        status = await self._hooks.send(job.record.webhook, body, now, line.threads)
        is_taken = 200 <= status < 300
        if not is_taken:
            logger.warning("job %s: its webhook answered %s", job_id, status or "nothing")
        ended = job.record.created if job.finished is None else job.finished
        if is_taken or now - ended > _GIVE_UP_SECONDS:
            await self._call(self._store.forget_webhook, job_id)
            return True
        return False


@dataclass(frozen=True)
class _InLine:
    """A job whose webhook is to be notified: the name of its key, and how often it was tried."""

    key_name: str
    tries: int


class _Line:
    """What is to be sent to one host.

    Attributes:
        queue: In turns by API key.
        jobs: Those that wait, are being sent, or wait for their next try; by id.
        threads: Of this host's requests alone: one that hangs in the name of a host holds no other.
    """

    def __init__(self, host: str) -> None:
        self.queue = JobQueue()
        self.jobs: dict[str, _InLine] = {}
        self.threads = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix=f"hook-{host}")

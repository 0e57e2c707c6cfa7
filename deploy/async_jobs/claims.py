"""Which service works on which job: signs of life, and what the dead left; computes nothing.

Every service that shares a store says all the while that it runs, and has its jobs
claimed. One that has not said so for `lease_seconds`, by the looking service's clock, is dead:
another claims its jobs. Two that claim the same job at once both wait a moment and look
whose claim stands. Should both run it after all, they make the same image twice.
"""

import asyncio
import time

from kintsugi.deploy.async_jobs.records import Claim, fresh_id
from kintsugi.deploy.async_jobs.store import JobStore
from kintsugi.deploy.async_jobs.store_calls import StoreCalls

_LONGEST_WAIT_SECONDS = 1.0


class Claims:
    """One service among those that share a store.

    Attributes:
        owner: Its id; each start of a service has another.
        store: Where the jobs are.
    """

    def __init__(self, store: JobStore, calls: StoreCalls, *, lease_seconds: float) -> None:
        self.owner = fresh_id()
        self.store = store
        self._call = calls.call
        # Signs of life wait for no other call.
        self._life = StoreCalls("jobs-life", threads=1)
        self._lease_seconds = lease_seconds
        # For each other service: its last sign of life, and when this service first saw it.
        self._others: dict[str, tuple[float, float]] = {}
        self._alive = False

    async def heartbeat(self) -> None:
        """Say that this service runs."""
        await self._life.call(self.store.heartbeat, self.owner)
        self._alive = True

    async def ensure_alive(self) -> None:
        """Have said so at least once: otherwise others would take what it claims."""
        if not self._alive:
            await self.heartbeat()

    async def leave(self) -> None:
        """Say that this service has stopped: what it claimed is free at once."""
        try:
            await self._life.call(self.store.leave, self.owner)
        finally:
            self._life.close()

    async def bid(self, job_id: str) -> bool:
        """Claim a job that nobody alive works on. Returns: whether it is such a job."""
        claim = await self._call(self.store.claimed, job_id)
        if claim is None or not await self._is_dead(claim.owner):
            return False
        starts = claim.starts
        if claim.started is not None and await self._has_left(claim.owner):
            # Its service was stopped, and had no time to say that this start shall not count.
            starts -= 1
        mine = Claim(owner=self.owner, starts=max(0, starts), started=None)
        await self._call(self.store.claim, job_id, mine)
        return True

    async def settle(self) -> None:
        """Wait after bids: others may have bid for the same jobs, and the last one has it."""
        await asyncio.sleep(min(_LONGEST_WAIT_SECONDS, self._lease_seconds / 10))

    async def is_mine(self, job_id: str) -> bool:
        """Whether this service has the job."""
        claim = await self._call(self.store.claimed, job_id)
        return claim is not None and claim.owner == self.owner

    async def start(self, job_id: str, now: float) -> Claim | None:
        """Note that a job is started. Returns: its claim before; None when it is another's."""
        claim = await self._call(self.store.claimed, job_id)
        if claim is None or claim.owner != self.owner:
            return None
        begun = Claim(owner=self.owner, starts=claim.starts + 1, started=now)
        await self._call(self.store.claim, job_id, begun)
        return claim

    async def give_back(self, job_id: str, before: Claim) -> None:
        """Let others have a job whose start shall not count: it did not fail."""
        free = Claim(owner="", starts=before.starts, started=None)
        await self._call(self.store.claim, job_id, free)

    async def _has_left(self, owner: str) -> bool:
        """Whether a service has said that it stopped."""
        return await self._call(self.store.last_heartbeat, owner) is None

    async def _is_dead(self, owner: str) -> bool:
        """Whether a service has stopped, or has shown no sign of life for the lease."""
        if owner == self.owner:
            # It is not among this one's jobs: the store was gone while it ran.
            return True
        heartbeat = await self._call(self.store.last_heartbeat, owner)
        if heartbeat is None:
            return True
        last, since = self._others.get(owner, (None, 0.0))
        if last != heartbeat:
            self._others[owner] = (heartbeat, time.monotonic())
            return False
        return time.monotonic() - since >= self._lease_seconds

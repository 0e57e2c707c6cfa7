"""Jobs that wait, in the order of their keys' turns: the key that had none for longest is next."""

import asyncio
from collections import deque


class JobQueue:
    """First come, first served for each key; among keys, one after the other."""

    def __init__(self) -> None:
        self._waiting: dict[str, deque[str]] = {}
        self._changed = asyncio.Condition()

    async def put(self, key: str, job_id: str) -> None:
        """Add a job of a key."""
        async with self._changed:
            self._waiting.setdefault(key, deque()).append(job_id)
            self._changed.notify()

    async def get(self) -> str:
        """Wait for the next job."""
        async with self._changed:
            await self._changed.wait_for(lambda: self._waiting)
            key, jobs = next(iter(self._waiting.items()))
            job_id = jobs.popleft()
            # To the end: the others' turns come first.
            del self._waiting[key]
            if jobs:
                self._waiting[key] = jobs
            return job_id

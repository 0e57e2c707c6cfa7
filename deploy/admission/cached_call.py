"""A call whose answer serves all callers within a moment; knows not what it calls."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Value = TypeVar("Value")


class CachedCall(Generic[Value]):
    """Calls once, however many ask at one time or shortly after one another."""

    def __init__(self, call: Callable[[], Awaitable[Value]], *, seconds: float) -> None:
        self._call = call
        self._seconds = seconds
        self._until = 0.0
        self._asked: asyncio.Future[Value] | None = None

    async def get(self) -> Value:
        """The answer, at most `seconds` old. Raises: what the call raises."""
        now = time.monotonic()
        if self._asked is None or self._is_over(now):
            self._asked = asyncio.ensure_future(self._call())
            self._until = float("inf")
            self._asked.add_done_callback(self._note)
        # A caller that gives up takes it from no other.
        return await asyncio.shield(self._asked)

    def _is_over(self, now: float) -> bool:
        # A loop that has ended gives no answer any more; each request of a test may have its own.
        assert self._asked is not None
        return now >= self._until or self._asked.get_loop() is not asyncio.get_running_loop()

    def _note(self, asked: "asyncio.Future[Value]") -> None:
        if asked is self._asked:
            failed = asked.cancelled() or asked.exception() is not None
            self._until = 0.0 if failed else time.monotonic() + self._seconds

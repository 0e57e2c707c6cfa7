"""When the request that runs now must be answered: known to whatever it calls; knows no HTTP.

A moment on the clock of `time.time`: it goes with a call to another process, so machines'
clocks must agree to well under a second, as NTP keeps them.
"""

import asyncio
import math
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from contextvars import ContextVar

NEVER = math.inf
_DEADLINE: ContextVar[float] = ContextVar("deadline", default=NEVER)


class DeadlineExceeded(TimeoutError):
    """The request's deadline has passed: nobody waits for the answer any more."""


def current_deadline() -> float:
    """The running request's deadline, on the clock of `time.time`; `NEVER` without one."""
    return _DEADLINE.get()


def check_deadline(deadline: float) -> None:
    """Raises: DeadlineExceeded when it has passed."""
    late = time.time() - deadline
    if late >= 0:
        raise DeadlineExceeded(f"not begun: the request's deadline passed {late:.1f} s ago")


@asynccontextmanager
async def answered_within(seconds: float) -> AsyncIterator[None]:
    """Give the block so long. Raises: TimeoutError when it takes longer."""
    token = _DEADLINE.set(time.time() + seconds)
    try:
        async with asyncio.timeout(seconds):
            yield
    finally:
        _DEADLINE.reset(token)

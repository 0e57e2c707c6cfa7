"""Repeat an operation whose failure may pass; knows no storage and no network library."""

import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")


@dataclass(frozen=True)
class Retry:
    """How often and for how long an operation is tried."""

    tries: int = 6
    # No new try is started later than this after the first one began.
    total_seconds: float = 60.0
    # Longest pause before the second try; doubles with each further one.
    first_seconds: float = 0.2


def call_with_retries(
    operation: Callable[[], Result], *, retry: Retry, is_transient: Callable[[Exception], bool]
) -> Result:
    """Call `operation` until it succeeds; the last error is raised as it came.

    Pauses are drawn between half and the whole of an exponentially growing
    limit, so that clients that failed together do not come back together.
    """
    started = time.monotonic()
    # Seeded by the system on purpose: the pauses of two workers must differ.
    jitter = random.Random()
    for attempt in range(1, retry.tries + 1):
        try:
            return operation()
        except Exception as error:
            pause = retry.first_seconds * 2 ** (attempt - 1) * jitter.uniform(0.5, 1.0)
            late = time.monotonic() - started + pause > retry.total_seconds
            if attempt == retry.tries or late or not is_transient(error):
                raise
            time.sleep(pause)
    raise AssertionError("unreachable: the last try returns or raises")

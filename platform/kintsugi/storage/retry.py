"""Repeat an operation whose failure may pass; knows no storage and no network library."""

import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

Result = TypeVar("Result")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Retry:
    """How often and for how long an operation is tried.

    The defaults outlast a store that is gone for some minutes, and notice within
    seconds that it is back.
    """

    # At most; None = until the time is used up.
    tries: int | None = None
    # No new try is started later than this after the first one began.
    total_seconds: float = 240.0
    # Longest pause before the second try; doubles with each further one, up to longest_seconds.
    first_seconds: float = 0.2
    longest_seconds: float = 5.0
    # What passes sooner is not logged; after that a line is logged once in this time.
    log_seconds: float = 15.0


def call_with_retries(
    operation: Callable[[], Result],
    *,
    retry: Retry,
    is_transient: Callable[[Exception], bool],
    what: str = "",
) -> Result:
    """Call `operation` until it succeeds; the last error is raised as it came.

    Pauses are drawn between half and the whole of an exponentially growing
    limit, so that clients that failed together do not come back together.

    Args:
        operation: Is tried.
        retry: How often and how long.
        is_transient: True for an error that may pass by itself.
        what: Words for the log such as "read s3://bucket/name".
    """
    started = logged = time.monotonic()
    # Seeded by the system on purpose: the pauses of two workers must differ.
    jitter = random.Random()
    limit, attempt = retry.first_seconds, 1
    while True:
        try:
            return operation()
        except Exception as error:
            pause = min(limit, retry.longest_seconds) * jitter.uniform(0.5, 1.0)
            now = time.monotonic()
            late = now - started + pause > retry.total_seconds
            if attempt == retry.tries or late or not is_transient(error):
                raise
            if now - logged >= retry.log_seconds:
                logged = now
                _log.warning(
                    "cannot %s since %.0f s, tried %d times (%s): trying for %.0f s more",
                    what or "go on",
                    now - started,
                    attempt,
                    str(error) or type(error).__name__,
                    retry.total_seconds - (now - started),
                )
            time.sleep(pause)
        limit, attempt = min(2 * limit, retry.longest_seconds), attempt + 1

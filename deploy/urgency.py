"""In which order what waits at a node is computed: small fills, large ones, jobs; no network.

It goes with every call of a request, as its deadline does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from enum import IntEnum


class Urgency(IntEnum):
    """The lower, the sooner."""

    SMALL = 0
    LARGE = 1
    JOB = 2


_URGENCY: ContextVar[Urgency] = ContextVar("urgency", default=Urgency.SMALL)


def current_urgency() -> Urgency:
    """The urgency of the request that runs now."""
    return _URGENCY.get()


@contextmanager
def urgent(urgency: Urgency) -> Iterator[None]:
    """Run the block with it."""
    token = _URGENCY.set(urgency)
    try:
        yield
    finally:
        _URGENCY.reset(token)

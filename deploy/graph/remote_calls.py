"""Calls from one deployment to another: what goes wrong, as the Engine's errors; no torch."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ray.exceptions import (
    ActorUnavailableError,
    ObjectLostError,
    RayActorError,
    RayError,
    RayTaskError,
)
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    RayServeException,
    ReplicaUnavailableError,
)

from kintsugi.deploy.deadline import DeadlineExceeded
from kintsugi.deploy.engine import Busy, WorkerDied
from kintsugi.deploy.graph.request_context import ReleaseChanged
from kintsugi.errors import InputError

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# A request that kills the replica that computes it costs two replicas, and not one after the other.
_TRIES = 2
# A replica whose machine went does not answer for the time until Ray has noticed, which calls that
# are lost at once would not outlast; meanwhile `NodeWatch` says which node it was.
_PAUSES_SECONDS = (0.5, 1.0, *[2.0] * 15)
# The other side works and says so.
_OURS = (InputError, Busy, WorkerDied, DeadlineExceeded, ReleaseChanged)
_FULL = (BackPressureError, DeploymentUnavailableError)
_SILENT = (ActorUnavailableError, ReplicaUnavailableError)
_GONE = (
    RayActorError,
    # What a replica computed went with its machine before it was used.
    ObjectLostError,
)


class ReplicaLost(Busy):
    """A replica or its machine died during a call: the same call can be made again."""


class ReplicaSilent(ReplicaLost):
    """A replica does not answer; whether it died, and of what, is not known yet."""


async def answer_of(response: Any, *before: Any) -> Any:
    """Await a DeploymentResponse; cancelling this call cancels that one.

    Args:
        response: The response of the last call of a chain.
        before: The calls whose results it takes; they are cancelled with it.

    Raises:
        ReplicaLost: A replica or its machine died, there or further on.
        ReplicaSilent: It seems so.
        Busy: A queue was full, or a deployment could not be started.
        InputError, WorkerDied, DeadlineExceeded, ReleaseChanged: As they were raised, without
            the other process's stack trace in their text.
    """
    try:
        return await response
    except asyncio.CancelledError:
        for one in (response, *before):
            one.cancel()
        raise
    except (RayError, RayServeException) as error:
        cause = _cause(error)
        if isinstance(cause, _OURS):
            raise cause from None
        if isinstance(cause, _SILENT):
            raise ReplicaSilent(str(cause)) from error
        if isinstance(cause, _GONE):
            raise ReplicaLost(str(cause)) from error
        if isinstance(cause, _FULL):
            raise Busy(str(cause)) from error
        raise


async def retry_lost(
    attempt: Callable[[], Awaitable[Result]],
    *,
    sleep: Callable[[float], Awaitable[object]] = asyncio.sleep,
) -> Result:
    """Make calls whose result depends on nothing but their arguments; again when one is lost.

    Args:
        attempt: Makes all of them again: what an earlier one returned may be lost as well.
        sleep: Waits so many seconds.

    Raises:
        WorkerDied: The replica that took them died each time.
        ReplicaSilent: None answered for half a minute.
    """
    deaths, pauses = 0, iter(_PAUSES_SECONDS)
    while True:
        try:
            return await attempt()
        except ReplicaSilent as error:
            # No reason to think that the request killed it.
            pause = next(pauses, None)
            if pause is None:
                raise
            logger.warning("no answer, once more in %g s: %s", pause, error)
            await sleep(pause)
        except ReplicaLost as error:
            deaths += 1
            logger.warning("try %d of %d was lost: %s", deaths, _TRIES, error)
            if deaths == _TRIES:
                raise WorkerDied(f"lost {_TRIES} times") from error


def _cause(error: Exception) -> Exception:
    """What an error is about, below what Ray and Serve wrap it in."""
    while isinstance(error, RayTaskError) and isinstance(error.cause, Exception):
        error = error.cause
    # An argument that was to come from another replica.
    of_argument = error.__cause__ if type(error) is RayServeException else None
    return of_argument if isinstance(of_argument, RayActorError) else error

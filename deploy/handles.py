"""Calls from one deployment to another: what goes wrong, as the Engine's errors; no torch."""

import asyncio
from typing import Any

from ray.exceptions import ObjectLostError, RayActorError, RayTaskError
from ray.serve.exceptions import (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
)

from deploy.engine import Busy
from kintsugi.errors import InputError

# What passes when a replica has room again or has been replaced.
_TRY_AGAIN = (
    BackPressureError,
    DeploymentUnavailableError,
    ReplicaUnavailableError,
    RayActorError,
    # What a replica computed went with its machine before it was used.
    ObjectLostError,
)


async def answer_of(response: Any) -> Any:
    """Await a DeploymentResponse; cancelling this call cancels that one.

    Raises:
        Busy: A queue was full, or a replica or its machine died, there or further on.
        InputError: As it was raised, without the other process's stack trace in its text.
    """
    try:
        return await response
    except asyncio.CancelledError:
        response.cancel()
        raise
    except _TRY_AGAIN as error:
        raise Busy(str(error)) from error
    except RayTaskError as error:
        if isinstance(error.cause, (InputError, Busy)):
            raise error.cause from None
        if isinstance(error.cause, _TRY_AGAIN):
            raise Busy(str(error.cause)) from error
        raise

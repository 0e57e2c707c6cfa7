"""deploy.handles: which failures of another process are a reason to try again."""

import asyncio
from collections.abc import Awaitable

import pytest
from ray.exceptions import ObjectLostError, OwnerDiedError, RayTaskError

from deploy.engine import Busy
from deploy.handles import answer_of

LOST = ObjectLostError("0" * 56, "", "")
OWNER_DIED = OwnerDiedError("0" * 56, "", "")


async def failing(error: Exception) -> None:
    raise error


def raised_by(error: Exception) -> Exception:
    async def call() -> None:
        response: Awaitable[None] = failing(error)
        await answer_of(response)

    with pytest.raises(Exception) as caught:  # noqa: PT011
        asyncio.run(call())
    return caught.value


@pytest.mark.parametrize("error", [LOST, OWNER_DIED], ids=["lost", "owner died"])
def test_features_that_went_with_their_machine_are_a_reason_to_try_again(error: Exception) -> None:
    assert isinstance(raised_by(error), Busy)
    in_task = RayTaskError("fill", "the trace", error)
    assert isinstance(raised_by(in_task), Busy)
    assert isinstance(raised_by(in_task.as_instanceof_cause()), Busy)


def test_a_bug_stays_what_it_is() -> None:
    bug = RayTaskError("fill", "the trace", ZeroDivisionError())
    assert raised_by(bug) is bug

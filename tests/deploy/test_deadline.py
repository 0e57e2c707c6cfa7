"""kintsugi.deploy.deadline: a request's deadline goes with it; late work is refused."""

import asyncio
import time

import pytest

from kintsugi.deploy.deadline import (
    NEVER,
    DeadlineExceeded,
    answered_within,
    check_deadline,
    current_deadline,
)


def test_the_deadline_is_known_inside_and_only_there() -> None:
    async def nested() -> tuple[float, float]:
        async with answered_within(60):
            inside = await asyncio.create_task(current())
        return inside, current_deadline()

    async def current() -> float:
        return current_deadline()

    inside, after = asyncio.run(nested())
    assert inside == pytest.approx(time.time() + 60, abs=5)
    assert after == NEVER


def test_what_takes_too_long_is_ended() -> None:
    async def slow() -> None:
        async with answered_within(0.01):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        asyncio.run(slow())


def test_a_deadline_that_has_passed_is_an_error() -> None:
    check_deadline(NEVER)
    check_deadline(time.time() + 60)
    with pytest.raises(DeadlineExceeded, match=r"passed 2\.\d s ago"):
        check_deadline(time.time() - 2)

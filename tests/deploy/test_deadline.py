"""kintsugi.deploy.deadline: a request's deadline goes with it; late work is refused."""

import asyncio
from types import SimpleNamespace

import pytest

from kintsugi.deploy.deadline import (
    NEVER,
    DeadlineExceeded,
    answered_within,
    check_deadline,
    current_deadline,
)


def test_the_deadline_is_known_inside_and_only_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.deploy.deadline.time", SimpleNamespace(time=lambda: 1000.0))

    async def nested() -> tuple[float, float]:
        async with answered_within(60):
            inside = await asyncio.create_task(current())
        return inside, current_deadline()

    async def current() -> float:
        return current_deadline()

    assert asyncio.run(nested()) == (1060.0, NEVER)


def test_what_takes_too_long_is_ended() -> None:
    async def slow() -> None:
        async with answered_within(0.01):
            await asyncio.sleep(10)

    with pytest.raises(TimeoutError):
        asyncio.run(slow())


def test_a_deadline_that_has_passed_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kintsugi.deploy.deadline.time", SimpleNamespace(time=lambda: 1000.0))
    check_deadline(NEVER)
    check_deadline(1000.1)
    with pytest.raises(DeadlineExceeded, match=r"passed 2\.0 s ago"):
        check_deadline(998.0)

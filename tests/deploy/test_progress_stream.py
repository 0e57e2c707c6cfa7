"""Steps of a computation as a stream."""

import asyncio

import pytest

from kintsugi.deploy.progress_stream import ProgressStream, report_progress, stream_progress
from kintsugi.models.progress import Step


async def work(steps: int, *, fails: bool = False) -> str:
    for step in range(steps):
        report_progress(Step(0, 1, step, steps))
        await asyncio.sleep(0)
    if fails:
        raise ValueError("no result")
    return "result"


def test_steps_come_before_the_result() -> None:
    seen: list[Step] = []

    async def run() -> str:
        return await ProgressStream[str](stream_progress(work(3)), seen.append)

    assert asyncio.run(run()) == "result"
    assert seen == [Step(0, 1, scale, 3) for scale in range(3)]


def test_two_at_a_time_report_their_own() -> None:
    async def run() -> list[list[Step]]:
        seen: list[list[Step]] = [[], []]
        pairs = zip((2, 4), seen, strict=True)
        await asyncio.gather(
            *(_await(ProgressStream(stream_progress(work(n)), s.append)) for n, s in pairs)
        )
        return seen

    assert [len(steps) for steps in asyncio.run(run())] == [2, 4]


async def _await(one: ProgressStream[str]) -> str:
    return await one


def test_without_anybody_who_follows_nothing_is_reported() -> None:
    assert asyncio.run(work(2)) == "result"


def test_an_error_comes_after_the_steps() -> None:
    seen: list[Step] = []

    async def run() -> str:
        return await ProgressStream[str](stream_progress(work(2, fails=True)), seen.append)

    with pytest.raises(ValueError, match="no result"):
        asyncio.run(run())
    assert len(seen) == 2


def test_whoever_stops_listening_cancels_the_work() -> None:
    cancelled = False

    async def endless() -> None:
        nonlocal cancelled
        report_progress(Step(0, 1, 0, 1))
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            cancelled = True
            raise

    async def run() -> None:
        stream = stream_progress(endless())
        assert await anext(stream) == Step(0, 1, 0, 1)
        await stream.aclose()  # type: ignore[attr-defined]
        await asyncio.sleep(0)

    asyncio.run(run())
    assert cancelled

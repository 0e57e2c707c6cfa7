"""Turns are shared out by weight and not by who asks most; small ones pass large ones."""

import asyncio
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress

import pytest

from kintsugi.deploy.admission.fair_queue import FairQueue, TurnRequest


class Clock:
    """Seconds that pass when a turn says so."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


async def serve(
    turns: FairQueue, clock: Clock, load: dict[str, int], rounds: int, seconds: dict[str, float]
) -> Counter[str]:
    """Clients of each key that ask again as soon as they had a turn. Returns turns per key."""
    had: Counter[str] = Counter()
    ended = asyncio.Event()

    async def client(key: str) -> None:
        while not ended.is_set():
            async with turns.turn(TurnRequest(key)):
                await asyncio.sleep(0)
                clock.now += seconds.get(key, 1.0)
                had[key] += 1
                if had.total() >= rounds:
                    ended.set()

    tasks = [asyncio.create_task(client(key)) for key, count in load.items() for _ in range(count)]
    await ended.wait()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    assert turns.all_waiting() == turns.running() == 0
    return had


@pytest.mark.parametrize("slots", [1, 3])
def test_who_asks_most_gets_no_more(slots: int) -> None:
    clock = Clock()
    turns = FairQueue(slots, clock=clock)
    had = asyncio.run(serve(turns, clock, {"a": 20, "b": 4}, 400, {}))
    assert 0.45 < had["b"] / 400 < 0.55


def test_shares_are_weighted() -> None:
    clock = Clock()
    turns = FairQueue(2, clock=clock, weight_of=lambda key: {"b": 3.0}.get(key, 1.0))
    had = asyncio.run(serve(turns, clock, {"a": 20, "b": 20}, 400, {}))
    assert 0.7 < had["b"] / 400 < 0.8
    assert turns.share_of("b") == 1.0


def test_time_is_shared_and_not_turns() -> None:
    """Whose turns take ten times as long gets a tenth of them, whatever was estimated."""
    clock = Clock()
    turns = FairQueue(1, clock=clock)
    had = asyncio.run(serve(turns, clock, {"slow": 20, "quick": 5}, 400, {"slow": 10.0}))
    assert 8 < had["quick"] / had["slow"] < 12


def test_who_was_away_has_saved_up_nothing() -> None:
    clock = Clock()
    turns = FairQueue(1, clock=clock)

    async def go() -> Counter[str]:
        await serve(turns, clock, {"a": 2, "b": 2}, 20, {})
        await serve(turns, clock, {"a": 5}, 200, {})
        return await serve(turns, clock, {"a": 5, "b": 5}, 40, {})

    assert asyncio.run(go())["a"] >= 18


async def start(
    turns: FairQueue, request: TurnRequest, order: list[TurnRequest], stack: AsyncExitStack
) -> "asyncio.Task[Callable[[], None]]":
    """Ask for a turn in a task; what it returns ends the turn."""

    async def hold() -> Callable[[], None]:
        done = asyncio.Event()
        began = asyncio.Event()

        async def keep() -> None:
            async with turns.turn(request):
                order.append(request)
                began.set()
                await done.wait()

        task = asyncio.create_task(keep())
        stack.callback(task.cancel)
        try:
            await began.wait()
        except asyncio.CancelledError:
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            raise
        return done.set

    task = asyncio.create_task(hold())
    stack.callback(task.cancel)
    for _ in range(5):
        await asyncio.sleep(0)
    return task


LARGE, SMALL, JOB = (
    TurnRequest("a", megapixels=8.3),
    TurnRequest("a", megapixels=0.3),
    TurnRequest("a", "job"),
)


def test_small_ones_pass_large_ones() -> None:
    async def go() -> None:
        turns, order = FairQueue(3), list[TurnRequest]()
        async with AsyncExitStack() as stack:
            large = [await start(turns, LARGE, order, stack) for _ in range(3)]
            assert order == [LARGE]
            await start(turns, SMALL, order, stack)
            await start(turns, SMALL, order, stack)
            assert order == [LARGE, SMALL, SMALL]
            (await large[0])()
            for _ in range(5):
                await asyncio.sleep(0)
            assert order == [LARGE, SMALL, SMALL, LARGE]

    asyncio.run(go())


def test_large_ones_fit_into_their_megapixels() -> None:
    async def go() -> None:
        turns, order = FairQueue(8, max_megapixels=40), list[TurnRequest]()
        huge = TurnRequest("a", megapixels=100)
        async with AsyncExitStack() as stack:
            for megapixels in (30, 8, 8):
                await start(turns, TurnRequest("a", megapixels=megapixels), order, stack)
            assert [one.megapixels for one in order] == [30, 8]
        async with AsyncExitStack() as stack:
            order.clear()
            # Alone even what is larger than all of it.
            await start(FairQueue(8, max_megapixels=40), huge, order, stack)
            assert order == [huge]

    asyncio.run(go())


def test_a_job_begins_when_no_request_waits_and_is_in_nobodys_way() -> None:
    async def go() -> None:
        turns, order = FairQueue(1), list[TurnRequest]()
        async with AsyncExitStack() as stack:
            first = await start(turns, SMALL, order, stack)
            await start(turns, JOB, order, stack)
            second = await start(turns, SMALL, order, stack)
            (await first)()
            for _ in range(5):
                await asyncio.sleep(0)
            assert order == [SMALL, SMALL]
            (await second)()
            for _ in range(5):
                await asyncio.sleep(0)
            assert order == [SMALL, SMALL, JOB]
            # It runs, and a request begins all the same.
            await start(turns, SMALL, order, stack)
            assert order == [SMALL, SMALL, JOB, SMALL]
            await start(turns, JOB, order, stack)
            assert order == [SMALL, SMALL, JOB, SMALL]

    asyncio.run(go())


def test_a_wait_is_estimated_from_what_is_waited_for() -> None:
    """Not from small ones that took no time: forty large ones behind them do."""

    async def go() -> None:
        clock = Clock()
        turns, order = FairQueue(2, clock=clock), list[TurnRequest]()

        async def take(request: TurnRequest, seconds: float) -> None:
            async with turns.turn(request):
                clock.now += seconds

        for _ in range(20):
            await take(SMALL, 0.1)
        await take(LARGE, 6.0)
        for _ in range(20):
            await take(SMALL, 0.1)
        async with AsyncExitStack() as stack:
            for _ in range(41):
                await start(turns, LARGE, order, stack)
            assert turns.waiting("a") == 40
            # One large one at a time.
            assert turns.wait("a") == pytest.approx(40 * 6)
            # What waits of another is shared with.
            await start(turns, TurnRequest("b", megapixels=0.3), order, stack)
            await start(turns, TurnRequest("b", megapixels=0.3), order, stack)
            assert turns.wait("b") == pytest.approx(0.1 / 2 / 0.5)
            assert turns.wait("c") == 0

    asyncio.run(go())


def test_who_gives_up_leaves_no_trace() -> None:
    async def go() -> None:
        turns, order = FairQueue(1), list[TurnRequest]()
        async with AsyncExitStack() as stack:
            first = await start(turns, SMALL, order, stack)
            second = await start(turns, SMALL, order, stack)
            third = await start(turns, TurnRequest("b"), order, stack)
            second.cancel()
            for _ in range(10):
                await asyncio.sleep(0)
            assert turns.waiting("a") == 0
            (await first)()
            (await third)()
            for _ in range(5):
                await asyncio.sleep(0)
            assert turns.all_waiting() == turns.running() == 0

    asyncio.run(go())

"""Calls of the store: who waits for whom, and what counts as a failure of the store."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress

import pytest

from kintsugi.deploy.async_jobs.store_calls import Breaker, StoreBusy, StoreCalls
from kintsugi.errors import StorageError


class Hanging:
    """Calls that end when they are let go, and who is in one."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self.inside: Counter[str] = Counter()

    def __call__(self, sender: str) -> str:
        self.inside[sender] += 1
        self.go.wait()
        return sender


async def until(condition: Callable[[], bool]) -> None:
    while not condition():
        await asyncio.sleep(0.001)


def test_a_sender_has_part_of_the_threads_and_the_rest_waits() -> None:
    async def go() -> None:
        calls, hanging = StoreCalls("test", threads=4, of_one=3), Hanging()
        asked = [asyncio.create_task(calls.call_for("a", hanging, "a")) for _ in range(20)]
        await until(lambda: hanging.inside["a"] == 3)
        asked.append(asyncio.create_task(calls.call_for("b", hanging, "b")))
        await until(lambda: hanging.inside["b"] == 1)
        assert hanging.inside == {"a": 3, "b": 1}
        hanging.go.set()
        assert Counter(await asyncio.gather(*asked)) == {"a": 20, "b": 1}
        calls.close()

    asyncio.run(go())


def test_a_late_call_holds_its_thread_until_it_ends_and_who_waits_is_refused() -> None:
    async def go() -> None:
        breaker = Breaker(failures=2)
        calls = StoreCalls("test", threads=2, of_one=1, seconds=0.05, breaker=breaker)
        hanging = Hanging()
        with pytest.raises(StorageError, match=r"did not answer in 0\.05 s"):
            await calls.call_for("a", hanging, "a")
        for _ in range(3):
            with pytest.raises(StoreBusy, match=r"was free in 0\.05 s"):
                await calls.call_for("a", hanging, "a")
        assert hanging.inside == {"a": 1}
        # To wait in line is no failure of the store: one more would have opened the breaker.
        breaker.check()
        assert await calls.call_for("b", str, 1) == "1"
        hanging.go.set()
        while True:
            with suppress(StoreBusy):
                assert await calls.call_for("a", str, 2) == "2"
                break
        calls.close()

    asyncio.run(go())

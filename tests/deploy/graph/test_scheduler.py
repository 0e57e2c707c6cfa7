"""kintsugi.deploy.graph.scheduler: one computation a thread, alike calls together."""

import asyncio
import threading
import time
from collections.abc import Callable, Hashable
from typing import Any

import pytest

from kintsugi.deploy.deadline import NEVER, DeadlineExceeded
from kintsugi.deploy.graph.scheduler import ComputeQueue, WorkItem


class Computer:
    """Doubles numbers, and remembers which it got at once."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.used: list[int] = []
        self.threads: set[int] = set()
        self.go_on = threading.Event()
        self.most_at_once = self._at_once = 0

    def double(self, numbers: list[int]) -> list[int]:
        self._at_once += 1
        self.most_at_once = max(self.most_at_once, self._at_once)
        self.batches.append(numbers)
        self.threads.add(threading.get_ident())
        assert self.go_on.wait(10)
        self._at_once -= 1
        if 13 in numbers:
            raise ValueError("13")
        return [2 * number for number in numbers]

    def item(self, number: int, **settings: Any) -> WorkItem[int, int]:
        values: dict[str, Any] = {"deadline": NEVER, "pixels": 10} | settings
        return WorkItem(self.double, number, **values)


def run(
    computer: Computer,
    items: list[WorkItem[int, int]],
    *,
    batch_pixels: int = 0,
    threads: int = 1,
    begun: int = 1,
    side_by_side: bool = True,
    meanwhile: Callable[[list["asyncio.Task[int]"]], None] = lambda tasks: None,
) -> list[Any]:
    """Results or errors of calls that all wait while the first, or so many, are computed."""

    async def all_of_them() -> list[Any]:
        queue = ComputeQueue(
            batch_pixels, threads=threads, side_by_side=side_by_side, use=computer.used.append
        )
        tasks = [asyncio.create_task(queue.compute(item)) for item in items]
        while len(computer.batches) < begun:
            await asyncio.sleep(0.001)
        meanwhile(tasks)
        await asyncio.sleep(0)
        computer.go_on.set()
        return await asyncio.gather(*tasks, return_exceptions=True)

    return asyncio.run(all_of_them())


def test_one_is_computed_at_a_time_in_the_order_of_arrival() -> None:
    computer = Computer()
    assert run(computer, [computer.item(n) for n in range(5)]) == [0, 2, 4, 6, 8]
    assert computer.batches == [[n] for n in range(5)]
    assert computer.most_at_once == 1


def test_a_part_of_the_threads_is_computed_next_to_others() -> None:
    computer = Computer()
    items = [computer.item(n, threads=1) for n in range(5)]
    assert run(computer, items, threads=2, begun=2) == [0, 2, 4, 6, 8]
    assert computer.most_at_once == 2
    assert computer.used == [1] * 5


def test_without_sides_each_has_all_threads_and_one_thread_computes() -> None:
    computer = Computer()
    items = [computer.item(n, threads=1) for n in range(12)]
    assert run(computer, items, threads=4, side_by_side=False) == list(range(0, 24, 2))
    assert computer.most_at_once == 1
    assert computer.used == [4] * 12
    assert len(computer.threads) == 1


def test_who_wants_all_threads_has_them_alone_and_else_those_that_are_free() -> None:
    computer = Computer()
    items = [computer.item(0), computer.item(1), computer.item(2, threads=1)]
    assert run(computer, items, threads=2) == [0, 2, 4]
    assert computer.most_at_once == 1
    assert computer.used == [2, 2, 1]
    computer = Computer()
    items = [computer.item(0, threads=2), computer.item(1), computer.item(2)]
    assert run(computer, items, threads=3, begun=2) == [0, 2, 4]
    assert computer.used[:2] == [2, 1]
    assert computer.most_at_once == 2


def test_what_was_cancelled_is_not_computed() -> None:
    computer = Computer()
    items = [computer.item(n) for n in range(4)]
    results = run(
        computer, items, meanwhile=lambda tasks: [t.cancel() for t in tasks[1:3]] and None
    )
    assert [type(result) for result in results[1:3]] == [asyncio.CancelledError] * 2
    assert computer.batches == [[0], [3]]


def test_a_call_cancelled_while_it_is_computed_keeps_its_turn() -> None:
    computer = Computer()
    items = [computer.item(n) for n in range(2)]
    results = run(computer, items, meanwhile=lambda tasks: tasks[0].cancel() and None)
    assert isinstance(results[0], asyncio.CancelledError)
    assert results[1] == 2
    # The thread cannot be stopped: the next one had to wait for it.
    assert computer.most_at_once == 1


def test_what_is_too_late_is_not_computed() -> None:
    computer = Computer()
    late = computer.item(1, deadline=time.time() + 0.05)
    results = run(computer, [computer.item(0), late], meanwhile=lambda tasks: time.sleep(0.1))
    assert results[0] == 0
    assert isinstance(results[1], DeadlineExceeded)
    assert computer.batches == [[0]]


@pytest.mark.parametrize(
    ("batch_pixels", "batches"),
    [
        (0, [[0], [1], [2], [3], [4], [5]]),
        # 2 is of another shape, 4 is alone; each has 10 pixels.
        (40, [[0, 1, 3, 5], [2], [4]]),
        (30, [[0, 1, 3], [2], [4], [5]]),
        (29, [[0, 1], [2], [3, 5], [4]]),
    ],
)
def test_alike_calls_are_computed_together(batch_pixels: int, batches: list[list[int]]) -> None:
    computer = Computer()
    batch_key: list[Hashable] = ["a", "a", "b", "a", None, "a"]
    items = [computer.item(n, batch_key=shape) for n, shape in enumerate(batch_key)]
    assert run(computer, items, batch_pixels=batch_pixels) == [0, 2, 4, 6, 8, 10]
    assert computer.batches == batches


def test_an_error_is_of_the_call_that_made_it() -> None:
    computer = Computer()
    items = [computer.item(n, batch_key="a") for n in (0, 12, 13, 14)]
    results = run(computer, items, batch_pixels=100)
    assert results[:2] + results[3:] == [0, 24, 28]
    assert isinstance(results[2], ValueError)
    assert computer.batches == [[0, 12, 13, 14], [0], [12], [13], [14]]


def test_who_waits_is_reported_of_results_that_are_lacking() -> None:
    items = [WorkItem(lambda given: [], 1, deadline=NEVER, pixels=1) for _ in range(2)]

    async def ask() -> list[Any]:
        queue = ComputeQueue(0)
        return await asyncio.gather(*map(queue.compute, items), return_exceptions=True)

    assert [type(result) for result in asyncio.run(ask())] == [IndexError] * 2

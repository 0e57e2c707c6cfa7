"""Whose turn it is to be computed, and with how many threads; knows no torch.

Calls wait here and not in threads, so that one whose client has gone, or whose deadline has
passed, is left out; and what waits and is of one shape can be computed together.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from kintsugi.deploy.deadline import DeadlineExceeded, check_deadline

Given = TypeVar("Given")
Made = TypeVar("Made")


@dataclass(frozen=True, eq=False)
class WorkItem(Generic[Given, Made]):
    """One call that wants to be computed.

    Attributes:
        compute: Makes as many results as it is given inputs, in their order.
        given: The input of this call.
        deadline: After which it is not begun; see `kintsugi.deploy.deadline`.
        pixels: How much it is.
        batch_key: Calls that may be computed together have an equal one; None: alone. They must
            not differ in `compute`.
        threads: With how many it is computed among others, or with those that are free; None:
            all.
        urgency: The lowest that waits is next; among equals, the one that came first.
    """

    compute: Callable[[list[Given]], list[Made]]
    given: Given
    deadline: float
    pixels: int
    batch_key: Hashable = None
    threads: int | None = None
    urgency: int = 0


@dataclass(frozen=True, eq=False)
class _Waiting:
    item: WorkItem[Any, Any]
    answer: "asyncio.Future[Any]"


class ComputeQueue:
    """The most urgent first, then first come, first served, while there are threads."""

    def __init__(
        self,
        batch_pixels: int,
        *,
        threads: int = 1,
        side_by_side: bool = False,
        use: Callable[[int], None] = lambda threads: None,
    ) -> None:
        """Start nothing.

        Args:
            batch_pixels: Most pixels that are computed together; 0: each call alone.
            threads: That all computations have together.
            side_by_side: Compute as many at one time as there are threads for; else one.
            use: Called in the thread of each computation before it, with how many it has.
        """
        self._batch_pixels = batch_pixels
        self._threads = self._free = threads
        self._use = use
        self._waiting: deque[_Waiting] = deque()
        self._side_by_side = side_by_side
        # No more than can be needed: each would have threads of its own.
        self._pool = ThreadPoolExecutor(threads if side_by_side else 1, "compute")
        self._running: set[asyncio.Task[None]] = set()

    async def compute(self, item: WorkItem[Given, Made]) -> Made:
        """Wait for the turn and for its result; cancelled before, it is never computed.

        Raises:
            DeadlineExceeded: The turn came too late.
        """
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Made] = loop.create_future()
        self._waiting.append(_Waiting(item, answer))
        # Soon: what comes at the same moment may be computed together.
        loop.call_soon(self._begin)
        return await answer

    def _begin(self) -> None:
        """Start what there are threads for."""
        while self._free and (batch := self._next()):
            wanted = batch[0].item.threads if self._side_by_side else None
            threads = min(wanted or self._threads, self._free)
            self._free -= threads
            running = asyncio.create_task(self._run(batch, threads))
            self._running.add(running)
            running.add_done_callback(self._running.discard)

    async def _run(self, batch: list[_Waiting], threads: int) -> None:
        try:
            await self._answer(batch, threads)
        except BaseException as error:
            # Nobody waits for ever for what failed in here.
            for waiting in batch:
                if not waiting.answer.done():
                    waiting.answer.set_exception(error)
            raise
        finally:
            self._free += threads
            self._begin()

    def _next(self) -> list[_Waiting]:
        while self._waiting:
            first = min(self._waiting, key=lambda waiting: waiting.item.urgency)
            self._waiting.remove(first)
            if _is_wanted(first):
                return [first, *self._take_matching(first.item)]
        return []

    def _take_matching(self, first: WorkItem[Any, Any]) -> list[_Waiting]:
        """Of what waits, what fits together with it."""
        if first.batch_key is None:
            return []
        left = self._batch_pixels - first.pixels
        taken: list[_Waiting] = []
        for waiting in list(self._waiting):
            if waiting.item.batch_key == first.batch_key and waiting.item.pixels <= left:
                self._waiting.remove(waiting)
                if _is_wanted(waiting):
                    taken.append(waiting)
                    left -= waiting.item.pixels
        return taken

    async def _answer(self, batch: list[_Waiting], threads: int) -> None:
        def compute() -> list[Any]:
            self._use(threads)
            return batch[0].item.compute([waiting.item.given for waiting in batch])

        computed = asyncio.get_running_loop().run_in_executor(self._pool, compute)
        await asyncio.wait([computed])
        error = computed.exception()
        if error is not None and len(batch) > 1:
            # One of them may be to blame, or their number: the others must not suffer.
            for waiting in batch:
                await self._answer([waiting], threads)
            return
        for place, waiting in enumerate(batch):
            if waiting.answer.done():
                continue
            if error is not None:
                waiting.answer.set_exception(error)
            else:
                waiting.answer.set_result(computed.result()[place])


def _is_wanted(waiting: _Waiting) -> bool:
    """Whether somebody still waits for it; one that waits in vain gets an error."""
    if waiting.answer.done():
        return False
    try:
        check_deadline(waiting.item.deadline)
    except DeadlineExceeded as late:
        waiting.answer.set_exception(late)
        return False
    return True

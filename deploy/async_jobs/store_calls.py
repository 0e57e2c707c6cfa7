"""Calls of the store: pools of their own, a limit of time, and a breaker; knows no job.

A client over HTTP is answered within seconds, store or no store, and however much others ask.
The runner waits for the store as long as it takes. Signs of life wait for neither.
"""

import asyncio
import logging
import random
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from typing import ParamSpec, TypeVar
from weakref import WeakValueDictionary

from kintsugi.errors import StorageError

logger = logging.getLogger(__name__)

Params = ParamSpec("Params")
Value = TypeVar("Value")

# Between two tries of what must be done; doubles up to the second.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 30.0


class Breaker:
    """Opens when the store fails: then nobody waits for it until it is tried again."""

    def __init__(
        self,
        *,
        failures: int = 3,
        open_seconds: float = 5.0,
        harmless: type[Exception] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Closed at first.

        Args:
            failures: How many one after the other open it.
            open_seconds: After so long one call is let through, to see.
            harmless: An error of a store that answers.
            clock: Gives seconds.
        """
        self._most = failures
        self._open_seconds = open_seconds
        self._harmless = harmless
        self._clock = clock
        self._failures = 0
        self._closed_again = 0.0

    def check(self) -> None:
        """Raises: StorageError while it is open."""
        if self._failures < self._most:
            return
        if self._clock() < self._closed_again:
            raise StorageError("the place where jobs are kept did not answer a moment ago")
        # This one sees how it is; the others still hear no.
        self._closed_again = self._clock() + self._open_seconds

    def note(self, error: Exception | None) -> None:
        """One call has ended, with an error or without."""
        harmless = self._harmless is not None and isinstance(error, self._harmless)
        failed = isinstance(error, StorageError) and not harmless
        self._failures = self._failures + 1 if failed else 0
        if self._failures >= self._most:
            self._closed_again = self._clock() + self._open_seconds


class StoreBusy(StorageError):
    """No thread became free in time: nothing was asked, and the store is not to blame."""


class StoreCalls:
    """Calls in threads that nobody else needs; a sender has part of them at most."""

    def __init__(
        self,
        name: str,
        *,
        threads: int,
        of_one: int | None = None,
        seconds: float | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        """Start nothing.

        Args:
            name: The name of the threads.
            threads: Calls at one time.
            of_one: Calls of one sender at one time; None: all.
            seconds: A call that takes longer has failed, and so long it waits for a thread
                before it begins; None: there is no limit.
            breaker: Is asked first and hears how each ended; None: each is tried.
        """
        self._threads = ThreadPoolExecutor(threads, thread_name_prefix=name)
        self._free = asyncio.Semaphore(threads)
        self._of_one = of_one
        # Those of senders that have calls here.
        self._senders: WeakValueDictionary[str, asyncio.Semaphore] = WeakValueDictionary()
        self._seconds = seconds
        self._breaker = breaker

    async def call(
        self, call: Callable[Params, Value], *args: Params.args, **kwargs: Params.kwargs
    ) -> Value:
        """Call the store for nobody in particular. Raises: as `call_for`."""
        return await self.call_for("", call, *args, **kwargs)

    async def call_for(
        self,
        sender: str,
        call: Callable[Params, Value],
        *args: Params.args,
        **kwargs: Params.kwargs,
    ) -> Value:
        """Call the store for a sender, who has `of_one` of the threads; "" has all of them.

        Raises: StoreBusy; StorageError: the store failed, or was late; whatever else it raises.
        """
        if self._breaker is not None:
            self._breaker.check()
        leave = await self._enter(sender)
        # A call that is given up goes on in its thread, which is free when it ends.
        future = self._threads.submit(partial(call, *args, **kwargs))
        future.add_done_callback(leave)
        try:
            async with asyncio.timeout(self._seconds):
                value = await asyncio.wrap_future(future)
        except TimeoutError as late:
            error = StorageError(
                f"the place where jobs are kept did not answer in {self._seconds:g} s"
            )
            self._note(error)
            raise error from late
        except StorageError as error:
            self._note(error)
            raise
        self._note(None)
        return value

    async def _enter(self, sender: str) -> Callable[[object], None]:
        """Wait for a thread. Returns: what frees it again, from any thread."""
        lanes = [self._free]
        if sender and self._of_one is not None:
            lane = self._senders.get(sender)
            if lane is None:
                lane = self._senders[sender] = asyncio.Semaphore(self._of_one)
            lanes.insert(0, lane)
        entered: list[asyncio.Semaphore] = []
        try:
            async with asyncio.timeout(self._seconds):
                for lane in lanes:
                    await lane.acquire()
                    entered.append(lane)
        except BaseException as error:
            for lane in entered:
                lane.release()
            if isinstance(error, TimeoutError):
                raise StoreBusy(
                    f"no thread for the place where jobs are kept was free in {self._seconds:g} s"
                ) from error
            raise
        loop = asyncio.get_running_loop()

        def leave(_: object) -> None:
            # A loop that has ended has nobody who waits.
            with suppress(RuntimeError):
                for lane in lanes:
                    loop.call_soon_threadsafe(lane.release)

        return leave

    def _note(self, error: Exception | None) -> None:
        if self._breaker is not None:
            self._breaker.note(error)

    def close(self) -> None:
        """End the threads, each after its call."""
        self._threads.shutdown(wait=False)


async def every(seconds: float, action: Callable[[], Awaitable[object]]) -> None:
    """Do it now and so long after each time, as `logged`; never returns."""
    while True:
        await logged(action)
        await asyncio.sleep(seconds)


async def logged(action: Callable[[], Awaitable[object]]) -> None:
    """Go on when the place where jobs are kept does not answer: the next time it may."""
    try:
        await action()
    except StorageError as error:
        logger.warning("jobs: %s", error)


async def until_it_can(
    action: Callable[[], Awaitable[Value]], what: str, *, lasting: type[StorageError]
) -> Value:
    """Try until the store does it, more and more seldom; a store that fails is no failure of a job.

    Args:
        action: Is tried.
        what: For the log.
        lasting: An error that stays, and is raised.
    """
    pause = _FIRST_PAUSE_SECONDS
    # Those that failed together shall not come back together.
    jitter = random.Random()
    while True:
        try:
            return await action()
        except StorageError as error:
            if isinstance(error, lasting):
                raise
            logger.warning("%s: %s; tried again in %.1f s", what, error, pause)
        await asyncio.sleep(pause * jitter.uniform(0.5, 1.0))
        pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

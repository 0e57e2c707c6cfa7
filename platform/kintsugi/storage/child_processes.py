"""A function over many inputs in processes of this machine, each of which may die.

`concurrent.futures` gives up all that is in progress when one process dies, and cannot say whose
doing it was; here each process has one input at a time, so that the guilty one is known.
"""

import multiprocessing
import signal
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


class ProcessDied(Exception):
    """The process that worked on an input ended without an answer."""


def map_in_processes(
    work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item], count: int
) -> Iterator[tuple[Item, Result | ProcessDied]]:
    """Each item with ``work(shared, item)``, or with ProcessDied, in the order of the items.

    Args:
        work: A function of an importable module.
        shared: What all items need; each process gets a copy.
        items: Taken as processes get free.
        count: How many processes, each started when it is first needed.

    Raises: what ``work`` raises.
    """
    waiting = enumerate(items)
    workers = [_Worker(work, shared) for _ in range(count)]
    done: dict[int, tuple[Item, Result | ProcessDied]] = {}
    following = 0
    try:
        while True:
            for worker in workers:
                # What comes is given on in order: nobody runs far ahead of a slow one.
                if worker.is_free and len(done) < 2 * count:
                    worker.take_next(waiting)
            busy = {worker.pipe: worker for worker in workers if not worker.is_free}
            if not busy and not done:
                return
            for pipe in wait(busy) if busy else ():
                number, item, result = busy[pipe].answer()  # type: ignore[index]
                done[number] = item, result
            while following in done:
                yield done.pop(following)
                following += 1
    finally:
        for worker in workers:
            worker.end()


class _Worker(Generic[Shared, Item, Result]):
    """One process at a time, and what it works on."""

    def __init__(self, work: Callable[[Shared, Item], Result], shared: Shared) -> None:
        self._work, self._shared = work, shared
        self._process: Any = None
        self._pipe: Connection | None = None
        self._now: tuple[int, Item] | None = None

    @property
    def is_free(self) -> bool:
        return self._now is None

    @property
    def pipe(self) -> Connection:
        assert self._pipe is not None
        return self._pipe

    def take_next(self, waiting: Iterator[tuple[int, Item]]) -> None:
        now = next(waiting, None)
        if now is None:
            return
        self._now = now
        if self._process is None:
            self._start()
        try:
            self.pipe.send(now[1])
        except (BrokenPipeError, ConnectionResetError):
            # It died between two items: that was none of this one's doing.
            self.end()
            self._start()
            self.pipe.send(now[1])

    def answer(self) -> tuple[int, Item, Result | ProcessDied]:
        """What came of the item. Raises: what ``work`` raised."""
        assert self._now is not None
        number, item = self._now
        self._now = None
        try:
            succeeded, result = self.pipe.recv()
        except (EOFError, ConnectionResetError):
            self._process.join()
            code = self._process.exitcode
            self.end()
            how = f"signal {signal.Signals(-code).name}" if code < 0 else f"exit code {code}"
            return number, item, ProcessDied(f"the process that worked on it died ({how})")
        if not succeeded:
            raise result
        return number, item, result

    def end(self) -> None:
        if self._process is None:
            return
        self.pipe.close()
        self._process.kill()
        self._process.join()
        self._process = None

    def _start(self) -> None:
        # Not by a fork: PyTorch's threads do not survive one.
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        process = context.Process(
            target=_serve, args=(theirs, self._work, self._shared), daemon=True
        )
        process.start()
        # Only now: what did not start cannot be ended.
        self._process = process
        # Held by the child alone, it ends with the child, and the pipe says so.
        theirs.close()


def _serve(pipe: Connection, work: Callable[[Any, Any], Any], shared: Any) -> None:
    """Answer items until the other side is gone."""
    # Ctrl-C is for the parent, which ends this process.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        try:
            item = pipe.recv()
        except EOFError:
            return
        try:
            answer = True, work(shared, item)
        except Exception as error:
            answer = False, error
            pipe.send(answer)
            raise
        pipe.send(answer)

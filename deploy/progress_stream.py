"""A computation's steps, told as they begin, as a stream whose last item is its result.

What computes calls `tell`; only where somebody follows does that reach anyone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Generator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from models.progress import Progress, Step, untold

Result = TypeVar("Result")
_TELL: ContextVar[Progress] = ContextVar("progress", default=untold)


def tell(step: Step) -> None:
    """Say how far the computation is that runs now."""
    _TELL.get()(step)


async def followed(work: Awaitable[Result]) -> AsyncIterator[Step | Result]:
    """Compute, and give every step that is told meanwhile, then the result.

    Whoever stops listening cancels the work.
    """
    steps: asyncio.Queue[Step | None] = asyncio.Queue()

    async def compute() -> Result:
        _TELL.set(steps.put_nowait)
        try:
            return await work
        finally:
            steps.put_nowait(None)

    task = asyncio.create_task(compute())
    try:
        while (step := await steps.get()) is not None:
            yield step
        yield await task
    finally:
        task.cancel()


class Followed(Generic[Result]):
    """The stream of `followed` from another process, as what is awaited for its result."""

    def __init__(self, stream: Any, progress: Progress) -> None:
        """Take a DeploymentResponseGenerator, and tell ``progress`` of each step."""
        self._stream = stream
        self._progress = progress

    def __await__(self) -> Generator[Any, None, Result]:
        return self._last().__await__()

    def cancel(self) -> None:
        """Cancel the work."""
        self._stream.cancel()

    async def _last(self) -> Result:
        async for item in self._stream:
            if isinstance(item, Step):
                self._progress(item)
            else:
                result: Result = item
        return result

"""A computation's steps, reported as they begin, as a stream whose last item is its result.

What computes calls `report_progress`; only where somebody follows does that reach anyone.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Generator
from contextvars import ContextVar
from typing import Any, Generic, TypeVar

from kintsugi.models.progress import Progress, Step, no_progress

Result = TypeVar("Result")
_ON_PROGRESS: ContextVar[Progress] = ContextVar("progress", default=no_progress)


def report_progress(step: Step) -> None:
    """Say how far the computation is that runs now."""
    _ON_PROGRESS.get()(step)


async def stream_progress(work: Awaitable[Result]) -> AsyncIterator[Step | Result]:
    """Compute, and give every step that is reported meanwhile, then the result.

    A listener that stops cancels the work.
    """
    steps: asyncio.Queue[Step | None] = asyncio.Queue()

    async def compute() -> Result:
        _ON_PROGRESS.set(steps.put_nowait)
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


class ProgressStream(Generic[Result]):
    """The stream of `stream_progress` from another process, as what is awaited for its result."""

    def __init__(self, stream: Any, progress: Progress) -> None:
        """Take a DeploymentResponseGenerator, and call ``progress`` with each step."""
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

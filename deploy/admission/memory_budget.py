"""How many megapixels are open at one time where nothing waits for a turn; knows no file."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from kintsugi.deploy.admission.fair_queue import LARGE_MEGAPIXELS


@dataclass(eq=False)
class _Holder:
    megapixels: float
    begin: "asyncio.Future[None]"
    has_begun: bool = False


class MemoryBudget:
    """Lets in what fits, in the order in which it came."""

    def __init__(self, megapixels: float) -> None:
        """Begin with nothing.

        Args:
            megapixels: The limit for all large ones together; one alone may have more.
        """
        self._most = megapixels
        self._held: set[_Holder] = set()
        self._waiting: deque[_Holder] = deque()

    @property
    def held(self) -> float:
        """Megapixels of the large ones that are open."""
        return sum(each.megapixels for each in self._held)

    @asynccontextmanager
    async def room(self, megapixels: float) -> AsyncIterator[None]:
        """Wait until so many fit in, and hold them while the block runs; a small one never waits.

        Args:
            megapixels: Of the picture; more of one of which each pixel takes more memory.
        """
        if megapixels < LARGE_MEGAPIXELS:
            yield
            return
        holder = _Holder(megapixels, asyncio.get_running_loop().create_future())
        self._waiting.append(holder)
        try:
            self._let_in()
            await holder.begin
            yield
        finally:
            self._held.discard(holder)
            if not holder.has_begun:
                self._waiting.remove(holder)
            self._let_in()

    def _let_in(self) -> None:
        for holder in list(self._waiting):
            if holder.begin.done():
                # It was cancelled, and leaves by itself.
                continue
            if self._held and self.held + holder.megapixels > self._most:
                return
            self._waiting.remove(holder)
            self._held.add(holder)
            holder.has_begun = True
            holder.begin.set_result(None)

"""Memory of large requests, given back to the system soon after them; knows no request."""

import asyncio
import ctypes

_SOON_SECONDS = 5.0


class MemoryReturn:
    """Trims the heap of this process some seconds after it was asked to, once for many.

    The C library keeps what was freed for later: megabytes for each picture that was ever open.
    So it is asked for where a request ends. What is asked for while one trim is ahead has another
    one after it: a moment later that request's memory may still be in use.
    """

    def __init__(self, *, seconds: float = _SOON_SECONDS) -> None:
        self._seconds = seconds
        self._pending: asyncio.TimerHandle | None = None
        self._again = False

    def soon(self) -> None:
        """Ask for it; in the loop that runs."""
        if self._pending is None:
            loop = asyncio.get_running_loop()
            self._pending = loop.call_later(self._seconds, self._trim, loop)
        else:
            self._again = True

    def _trim(self, loop: asyncio.AbstractEventLoop) -> None:
        self._pending = None
        if self._again:
            self._again = False
            self.soon()
        # It may take a moment: others are answered meanwhile.
        loop.run_in_executor(None, trim_heap)


def trim_heap() -> None:
    """Give free memory back to the system; does nothing where the C library cannot."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)

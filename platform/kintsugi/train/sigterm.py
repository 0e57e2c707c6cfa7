"""The first SIGTERM as a question to stop; knows no Ray and no training."""

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


@contextmanager
def on_first_sigterm(ask: Callable[[], None]) -> Iterator[None]:
    """While inside, call ``ask`` at the first SIGTERM; a second one ends the process at once.

    Outside the main thread no signal can be caught, and nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    # None: not set from Python, and so not to be set from there.
    before: Any = signal.getsignal(signal.SIGTERM) or signal.SIG_DFL

    def handle(number: int, frame: FrameType | None) -> None:
        signal.signal(signal.SIGTERM, before)
        ask()

    signal.signal(signal.SIGTERM, handle)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)

"""Shows a run to its driver while it trains, by reading the rows it leaves; knows no Ray.

The processes that train may be anywhere and may be lost. Their rows in storage outlive
them, so what shows a run reads those: nothing of this can slow or end it.
"""

import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Protocol

from kintsugi.errors import StorageError
from kintsugi.runs.metrics_log import read_rows
from kintsugi.storage.storage import Storage

logger = logging.getLogger(__name__)

# Between two looks. The rows themselves reach storage every few seconds.
POLL_SECONDS = 1.0
# A look that storage holds up is given so long to end with the run.
CLOSE_SECONDS = 10.0

Row = dict[str, Any]


class Watcher(Protocol):
    """Something that shows a run: lines, a bar, metrics. Is called from one thread at a time."""

    def begin(self, rows: Sequence[Row]) -> None:
        """What earlier submissions left, in the order of steps; called once, before all else."""
        ...

    def show(self, rows: Sequence[Row]) -> None:
        """What is new. A step that was shown before was trained again after a failure."""
        ...

    def close(self) -> None:
        """The run has ended, whether well or not."""
        ...


class Follower:
    """Finds the rows that a run wrote since the last look."""

    def __init__(self, storage: Storage) -> None:
        """Args: ``storage``: the run's `metrics` folder, which need not be there yet."""
        self.storage = storage
        self._sizes: dict[str, int] = {}
        self._seen: dict[str, list[Row]] = {}

    def poll(self) -> list[Row]:
        """New rows in the order of steps. Raises: StorageError."""
        sizes = self.storage.sizes()
        changed = [name for name in sorted(sizes) if sizes[name] != self._sizes.get(name)]
        # All are read before any counts as seen: where one fails, none is lost.
        read = {name: read_rows(self.storage, name) for name in changed}
        new: list[Row] = []
        for name, rows in read.items():
            new += rows[_common(rows, self._seen.get(name, [])) :]
            self._seen[name], self._sizes[name] = rows, sizes[name]
        # A resumed run deletes parts that it will write again.
        for name in self._sizes.keys() - sizes.keys():
            del self._seen[name], self._sizes[name]
        return new


@contextmanager
def following(storage: Storage, watchers: Sequence[Watcher]) -> Iterator[None]:
    """While inside, call ``watchers`` with each new row in a run's `metrics` folder.

    Storage that fails while inside is logged and tried again: to show a run must not end it. A
    watcher that fails otherwise is logged and left out, and the others go on.

    Raises: StorageError when it fails at the beginning.
    """
    follower = Follower(storage)
    earlier = follower.poll()
    for watcher in watchers:
        watcher.begin(earlier)
    ended = threading.Event()
    thread = threading.Thread(target=_follow, args=(follower, watchers, ended), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(CLOSE_SECONDS)
        for watcher in watchers:
            _ask(watcher, watcher.close)


def _follow(follower: Follower, watchers: Sequence[Watcher], ended: threading.Event) -> None:
    last, failed = False, list[Watcher]()
    while not last:
        # Once more after the end, for the rows of the last steps.
        last = ended.wait(POLL_SECONDS)
        rows: list[Row] = []
        with _storage_may_fail():
            rows = follower.poll()
        for watcher in watchers if rows else ():
            if watcher not in failed and not _ask(watcher, partial(watcher.show, rows)):
                failed.append(watcher)


def _ask(watcher: Watcher, action: Callable[[], None]) -> bool:
    """Whether a watcher can be asked again."""
    try:
        with _storage_may_fail():
            action()
    except Exception:
        logger.exception("the run goes on, but %s shows no more of it", type(watcher).__name__)
        return False
    return True


@contextmanager
def _storage_may_fail() -> Iterator[None]:
    try:
        yield
    except StorageError as error:
        logger.warning("the run goes on, but what is shown of it is late: %s", error)


def _common(rows: list[Row], seen: list[Row]) -> int:
    """How many rows both begin with."""
    for index, (one, other) in enumerate(zip(rows, seen, strict=False)):
        if one != other:
            return index
    return min(len(rows), len(seen))

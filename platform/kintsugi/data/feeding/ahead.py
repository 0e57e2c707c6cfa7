"""What an iterator gives, made in a thread before it is asked for; knows no photographs."""

import threading
from collections import deque
from collections.abc import Iterator
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Ahead(Generic[Item]):
    """The items of an iterator in their order, at most so many of them ahead.

    The thread ends with the iterator, with an error, or when this is closed; what the iterator
    holds open is closed in that thread.
    """

    def __init__(self, items: Iterator[Item], most: int) -> None:
        """
        Args:
            items: Used by the thread alone from now on.
            most: Items that wait at one time.
        """
        self._items = items
        self._most = most
        self._made: deque[Item] = deque()
        self._changed = threading.Condition()
        self._ended = self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._make, name="batches", daemon=True)
        self._thread.start()

    def __iter__(self) -> "Ahead[Item]":
        return self

    def __next__(self) -> Item:
        """Raises: StopIteration, or what the iterator raised, after all that came before."""
        with self._changed:
            self._changed.wait_for(lambda: self._made or self._ended)
            if self._made:
                self._changed.notify_all()
                return self._made.popleft()
            if self._error is not None:
                raise self._error
            raise StopIteration

    def close(self) -> None:
        """Make no more; returns at once."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _make(self) -> None:
        try:
            for item in self._items:
                with self._changed:
                    self._made.append(item)
                    self._changed.notify_all()
                    self._changed.wait_for(lambda: len(self._made) < self._most or self._closed)
                    if self._closed:
                        break
        except BaseException as error:  # noqa: BLE001
            # Raised where the items are used.
            self._error = error
        finally:
            close = getattr(self._items, "close", None)
            if close is not None:
                close()
            with self._changed:
                self._ended = True
                self._changed.notify_all()

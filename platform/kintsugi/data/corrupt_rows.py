"""Counting the rows of shards that do not decode, up to a limit; knows no shard and no Ray."""

import logging
import threading
from collections.abc import Iterable

from kintsugi.errors import StorageError

# How many of them an error names.
_MOST_NAMED = 20
_log = logging.getLogger(__name__)


class CorruptRows:
    """The corrupt rows that the readers of a data set have met, each counted once.

    Each worker counts what it reads, and learns at every checkpoint what the others have met.
    Safe to use from several threads.
    """

    def __init__(self, uri: str, rows: int, share: float) -> None:
        """
        Args:
            uri: The data set, for messages.
            rows: The rows of the data set.
            share: The share of ``rows`` that may be corrupt (data.max_corrupt_share).
        """
        self.uri = uri
        self.rows = rows
        self.share = share
        self.limit = int(rows * share)
        self._found: set[str] = set()
        # Of these, what no other reader has been given yet.
        self._new: set[str] = set()
        self._lock = threading.Lock()

    def note(self, row: str) -> None:
        """Count a row, given as "shard: id (reason)"; "" is none.

        Raises: StorageError naming shards and ids when there are more than the limit.
        """
        if not row:
            return
        with self._lock:
            if row in self._found:
                return
            self._found.add(row)
            self._new.add(row)
            count = len(self._found)
        self._check()
        _log.warning(
            "%s/%s does not decode: another of its shard takes its place (%d of %d allowed)",
            self.uri,
            row,
            count,
            self.limit,
        )

    def found(self) -> list[str]:
        """The rows that are known to be corrupt."""
        with self._lock:
            return sorted(self._found)

    def take_new(self) -> list[str]:
        """The rows that this reader has met since the last call; what grows is sent once."""
        with self._lock:
            new, self._new = sorted(self._new), set()
        return new

    def learn(self, rows: Iterable[str]) -> None:
        """Count what other readers have met. Raises: StorageError as `note`."""
        with self._lock:
            self._found |= set(rows)
        self._check()

    def _check(self) -> None:
        if len(self._found) > self.limit:
            found = self.found()
            named = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
            raise StorageError(
                f"{self.uri}: {len(found)} photographs do not decode; data.max_corrupt_share="
                f"{self.share:g} of {self.rows} allows {self.limit}: {named}: pack the"
                " photographs again with --overwrite, or raise data.max_corrupt_share"
            )

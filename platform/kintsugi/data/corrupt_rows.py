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
        self._lock = threading.Lock()

    def note(self, row: str) -> None:
        """Count a row, given as "shard: id (reason)"; "" is none.

        Raises: StorageError naming shards and ids when there are more than the limit.
        """
        if not row:
            return
        with self._lock:
            known = row in self._found
            self._found.add(row)
            found = sorted(self._found)
        if known:
            return
        self._check(found)
        _log.warning(
            "%s/%s does not decode: another of its shard takes its place (%d of %d allowed)",
            self.uri,
            row,
            len(found),
            self.limit,
        )

    def found(self) -> list[str]:
        """The rows that are known to be corrupt."""
        with self._lock:
            return sorted(self._found)

    def learn(self, rows: Iterable[str]) -> None:
        """Count what other readers have met. Raises: StorageError as `note`."""
        with self._lock:
            self._found |= set(rows)
            found = sorted(self._found)
        self._check(found)

    def _check(self, found: list[str]) -> None:
        if len(found) > self.limit:
            named = ", ".join(found[:_MOST_NAMED]) + (", ..." if len(found) > _MOST_NAMED else "")
            raise StorageError(
                f"{self.uri}: {len(found)} photographs do not decode; data.max_corrupt_share="
                f"{self.share:g} of {self.rows} allows {self.limit}: {named}: pack the"
                " photographs again with --overwrite, or raise data.max_corrupt_share"
            )

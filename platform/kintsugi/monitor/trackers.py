"""A run's rows for experiment trackers: each in a thread of its own, and none can end a run.

What a tracker holds of a run stands in the run's folder, so the next submission goes on with the
same run of the tracker, where that one left off. Knows no tracker.
"""

import itertools
import json
import logging
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, Literal, Protocol

from kintsugi.errors import StorageError
from kintsugi.monitor.tail import Row
from kintsugi.storage.storage import Storage

logger = logging.getLogger(__name__)

# Below the run's folder.
FOLDER = "trackers"
# A tracker that does not answer is given so long to end with the run.
CLOSE_SECONDS = 60.0
# How a submission ends: its run is finished; was asked to end before, and can go on; or failed.
Ending = Literal["finished", "stopped", "failed"]


class Tracker(Protocol):
    """A tracker of experiments. Every method may take long and raise anything.

    Attributes:
        name: In messages, and of its file in the run's folder.
        place: Of its runs, such as a server and an experiment: another one has none of them. It
            is written into the run's folder.
        secrets: What its errors may hold and nobody may read.
    """

    name: str
    place: str
    secrets: tuple[str, ...]

    def open(self, identity: str) -> str:
        """Go on with its run of this identity; "": begin one. Returns: the identity."""
        ...

    def send(self, rows: Sequence[Row]) -> None:
        """Add rows, in the order of steps."""
        ...

    def close(self, ending: Ending) -> None:
        """The submission ends."""
        ...


@dataclass(frozen=True)
class Tracked:
    """What a tracker holds of a run.

    Attributes:
        place: See `Tracker`.
        identity: Of its run.
        step: Of the last row.
        rows: How many of that step's.
    """

    place: str
    identity: str
    step: int = 0
    rows: int = 0

    def after(self, rows: Sequence[Row]) -> "Tracked":
        """The same when these were added."""
        if not rows:
            return self
        step = rows[-1]["step"]
        # The last ones alone: the same step may stand further up, trained before a failure.
        count = sum(1 for _ in itertools.takewhile(lambda row: row["step"] == step, rows[::-1]))
        before = self.rows if count == len(rows) and step == self.step else 0
        return Tracked(self.place, self.identity, step, before + count)

    def missing(self, rows: Sequence[Row]) -> list[Row]:
        """Of all rows of a run those that it does not hold."""
        later = [row for row in rows if row["step"] > self.step]
        return [row for row in rows if row["step"] == self.step][self.rows :] + later


class TrackerWatcher:
    """Gives a tracker the rows of a run, as a `Watcher`; nobody waits for it but the end.

    The tracker is opened when there is something new: a submission that is refused leaves no trace
    there. A row that was trained again after a failure is sent again.
    """

    def __init__(self, tracker: Tracker, run: Storage) -> None:
        """Args: ``run``: the run's folder."""
        self._tracker = tracker
        self._storage = run.join(FOLDER)
        self._rows: queue.SimpleQueue[list[Row] | None] = queue.SimpleQueue()
        self._earlier: list[Row] = []
        self._ending: Ending = "finished"
        self._held: Tracked | None = None
        self._is_open = False
        self._thread = threading.Thread(target=self._work, name=tracker.name, daemon=True)

    def begin(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        self._earlier = list(rows)
        self._thread.start()

    def show(self, rows: Sequence[Row]) -> None:
        """See Watcher."""
        self._rows.put(list(rows))

    def end_as(self, ending: Ending) -> None:
        """How the submission ends, where its run is not finished; before `close`."""
        self._ending = ending

    def close(self) -> None:
        """See Watcher."""
        self._rows.put(None)
        if self._thread.ident is None:
            return
        self._thread.join(CLOSE_SECONDS)
        if self._thread.is_alive():
            logger.warning(
                "%s did not answer for %.0f s at the end: it may lack the last rows",
                self._tracker.name,
                CLOSE_SECONDS,
            )

    def _work(self) -> None:
        goes_on = True
        while (rows := self._rows.get()) is not None:
            goes_on = goes_on and self._try(partial(self._send, rows))
        if goes_on and self._held is None and self._ending != "failed":
            # Nothing is new, but it may lack what there was.
            goes_on = self._try(partial(self._send, []))
        if self._is_open:
            # Whatever failed before: to the tracker, too, the run ends as the submission does.
            self._try(partial(self._tracker.close, self._ending))

    def _try(self, work: Callable[[], None]) -> bool:
        """Do what may raise anything. Returns: whether it was done; if not, a warning says why."""
        try:
            work()
        # What it raises is its own affair.
        except Exception as error:  # noqa: BLE001
            logger.warning(
                "the run goes on without %s: %s: %s; submit the run again to send it what it lacks"
                " (%s/%s.json says which run there it is: delete it to begin another)",
                self._tracker.name,
                type(error).__name__,
                _without(self._tracker.secrets, str(error)),
                self._storage.uri,
                self._tracker.name,
            )
            return False
        return True

    def _send(self, rows: list[Row]) -> None:
        """Send what it lacks, opened first if it is not; without any it is not opened."""
        if self._held is None:
            before = self._read()
            rows = (before.missing(self._earlier) if before else self._earlier) + rows
            if not rows:
                return
            identity = self._tracker.open(before.identity if before else "")
            self._is_open = True
            self._held = before or Tracked(self._tracker.place, identity)
            # Before anything is sent: cut off here, the next submission goes on with it.
            self._write(self._held)
        self._tracker.send(rows)
        self._held = self._held.after(rows)
        self._write(self._held)

    def _read(self) -> Tracked | None:
        try:
            text = self._storage.read(f"{self._tracker.name}.json")
        except StorageError as error:
            if isinstance(error.__cause__, FileNotFoundError):
                return None
            raise
        held = Tracked(**json.loads(text))
        return held if held.place == self._tracker.place else None

    def _write(self, held: Tracked) -> None:
        self._storage.write(f"{self._tracker.name}.json", json.dumps(asdict(held)).encode())


def _without(secrets: Sequence[str], text: str) -> str:
    """A text with dots for secrets; the longest first, as one may be a part of another."""
    for secret in sorted(secrets, key=len, reverse=True):
        text = text.replace(secret, "...")
    return text


def scalars(row: Row) -> dict[str, Any]:
    """A row's figures by the names under which trackers show them."""
    return {
        key if "/" in key else f"speed/{key}": value for key, value in row.items() if key != "step"
    }

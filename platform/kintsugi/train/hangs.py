"""Where a rank stands, and what is left of a step that does not end: every rank's stacks.

A step fails when a rank is waited for longer than `workers.timeout_s`, and then the processes are
ended: what they waited for would never be known. So before that each writes what its threads do
into the run's folder. Knows no loop and no Ray.
"""

import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import Self

from pydantic import TypeAdapter

from kintsugi.errors import StorageError
from kintsugi.storage.retry import Retry
from kintsugi.storage.storage import Storage

# Below the run's folder.
FOLDER = "stacks"
# Shares of the time after which a step has failed: when stacks are written, and when it is said
# whose are there. What is left is for storage.
_WRITE_AT, _JUDGE_AT = 0.7, 0.8
_LOOKS = 50


class Place:
    """Where a rank is in its run: it says so itself, and a thread of its reads it.

    All ranks pass the same places in the same order. So the rank that the others wait for is the
    one that has passed fewest.

    Args: ``now``: a clock in seconds.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self.step = 0
        self.doing = "starting"
        self.passed = 0
        # Passes forward and exchanges of gradients that were begun: inside a step, where ranks wait
        # for one another in both, they say who is behind.
        self.joint = 0
        self._now = now
        self.since = now()

    def enter(self, doing: str) -> None:
        """Do something else now, for the step that is being done."""
        self.doing = doing
        self.passed += 1

    def arrive(self, step: int) -> None:
        """What all ranks do together is done: the time that others may be waited for begins."""
        self.step = step
        self.since = self._now()

    def seconds(self) -> float:
        """Since all ranks were last at one place."""
        return self._now() - self.since


@dataclass(frozen=True)
class Stand:
    """Where a rank stood when it wrote its stacks: the first line of its file.

    Attributes:
        rank: From 0.
        host: Of its process.
        pid: Its number there.
        at: When, UTC.
        step: Steps that were done.
        doing: In words.
        passed: Places that it has passed.
        joint: Passes forward and exchanges of gradients that it has begun.
        seconds: Since all ranks were last at one place.
    """

    rank: int
    host: str
    pid: int
    at: str
    step: int
    doing: str
    passed: int
    joint: int
    seconds: float

    @classmethod
    def of(cls, place: Place, rank: int) -> Self:
        """Where this process stands now."""
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        return cls(
            rank,
            socket.gethostname(),
            os.getpid(),
            now,
            place.step,
            place.doing,
            place.passed,
            place.joint,
            round(place.seconds(), 3),
        )

    @property
    def order(self) -> tuple[int, int]:
        """How far it has come among the others."""
        return self.passed, self.joint

    def is_of_the_time_of(self, other: "Stand", limit_s: float) -> bool:
        """Whether both were written for one hang; files of earlier ones are still there."""
        apart = datetime.fromisoformat(self.at) - datetime.fromisoformat(other.at)
        return abs(apart.total_seconds()) < limit_s / 2


@contextmanager
def hang_watch(
    run: Storage, place: Place, *, rank: int, workers: int, limit_s: float
) -> Iterator[None]:
    """While inside, write this rank's stacks when it stays at one step for too long.

    What cannot be written is said, and neither ends nor keeps the rank.

    Args:
        run: The run's folder.
        place: Where this rank is.
        rank: From 0.
        workers: How many ranks there are.
        limit_s: Seconds after which the step has failed.
    """
    over = threading.Event()
    # The time until the step fails is short.
    patience_s = limit_s / _LOOKS
    folder = Storage(run.join(FOLDER).uri, retry=Retry(total_seconds=patience_s))
    watch = _Watch(folder, place, rank, workers, limit_s, over)
    thread = threading.Thread(target=watch.run, name="hang watch", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        # Storage may hang as well, and a rank that fails must fail: the thread may stay behind.
        thread.join(patience_s)
        if thread.is_alive():
            print(
                f"rank {rank} does not wait for its stacks: {folder.uri} has not answered for"
                f" {patience_s:g} s",
                flush=True,
            )


class _Watch:
    """The thread of one rank."""

    def __init__(
        self,
        folder: Storage,
        place: Place,
        rank: int,
        workers: int,
        limit_s: float,
        over: threading.Event,
    ) -> None:
        self._folder = folder
        self._place = place
        self._rank = rank
        self._workers = workers
        self._limit_s = limit_s
        self._over = over
        # Files that say nothing, which was said.
        self._strange: set[str] = set()

    def run(self) -> None:
        written_for = None
        while not self._over.wait(self._limit_s / _LOOKS):
            since = self._place.since
            late = self._place.seconds() > _WRITE_AT * self._limit_s
            if not late or since == written_for:
                continue
            written_for = since
            lacking = "its stacks are not kept"
            try:
                mine = self._write()
                lacking = "who has not arrived is not known"
                self._judge(mine, since)
            except (StorageError, OSError) as error:
                print(
                    f"rank {self._rank} hangs, and {lacking}: {type(error).__name__}: {error}",
                    flush=True,
                )

    def _write(self) -> Stand:
        """Write what every thread of this process does."""
        mine = Stand.of(self._place, self._rank)
        text = f"{json.dumps(asdict(mine))}\n{_stacks()}"
        self._folder.write(_name(self._rank), text.encode())
        return mine

    def _judge(self, mine: Stand, since: float) -> None:
        """Say who is waited for, once: the lowest rank that could write does."""
        while True:
            names = self._folder.list()
            # Of many ranks each asks for few files: the first of a lower one is enough.
            lower = (name for name in names if name < _name(self._rank))
            if any(self._stand(name, mine) for name in lower):
                return
            stands = [self._stand(name, mine) for name in names if name != _name(self._rank)]
            found = {each.rank: each for each in stands if each} | {self._rank: mine}
            late = self._place.seconds() > _JUDGE_AT * self._limit_s
            if late or len(found) == self._workers:
                print(describe_hang(found, self._workers, self._folder, self._limit_s), flush=True)
                return
            if self._over.wait(self._limit_s / _LOOKS) or self._place.since != since:
                # It is over, or it went on.
                return

    def _stand(self, name: str, mine: Stand) -> Stand | None:
        """Where a rank stood by its file; None: it was written for another hang, or says nothing
        of one, which is said once.
        """
        line = self._folder.read(name).split(b"\n", 1)[0]
        try:
            stand = TypeAdapter(Stand).validate_json(line, strict=True)
            return stand if stand.is_of_the_time_of(mine, self._limit_s) else None
        # Of a time without a zone a TypeError.
        except (ValueError, TypeError) as error:
            if name not in self._strange:
                self._strange.add(name)
                print(
                    f"{self._folder.uri}/{name} does not say where a rank stood, and counts as"
                    f" absent: {type(error).__name__}: {error}",
                    flush=True,
                )
            return None


def _stacks() -> str:
    """What every thread of this process does, the main one first, innermost call last.

    Rejected: `faulthandler.dump_traceback`. It leaves out what comes after a hundred threads, and
    the main one comes last.
    """
    names = {thread.ident: thread.name for thread in threading.enumerate()}
    main = threading.main_thread().ident
    frames = sorted(sys._current_frames().items(), key=lambda item: (item[0] != main, item[0]))
    # Without the lines' text: sources may lie on a disk that does not answer.
    return "".join(
        f"\nThread {number} ({names.get(number, 'not of Python')}):\n"
        + "".join(
            f'  File "{frame.f_code.co_filename}", line {line}, in {frame.f_code.co_name}\n'
            for frame, line in reversed(list(traceback.walk_stack(frame)))
        )
        for number, frame in frames
    )


def describe_hang(found: dict[int, Stand], workers: int, folder: Storage, limit_s: float) -> str:
    """Who has not arrived, since when and in which file that is seen, in one line.

    Args:
        found: Where those ranks stand that have written; at least one.
        workers: How many ranks there are.
        folder: Of the files.
        limit_s: Seconds after which the step fails.
    """
    furthest = max(stand.order for stand in found.values())
    behind = [stand for _, stand in sorted(found.items()) if stand.order < furthest]
    silent = [rank for rank in range(workers) if rank not in found]
    parts = [
        f"rank {each.rank} has not arrived ({each.doing} on {each.host}):"
        f" {folder.uri}/{_name(each.rank)}"
        for each in behind
    ]
    parts += [
        f"rank {rank} has not arrived and writes nothing: it is stopped, or its node is gone"
        for rank in silent
    ]
    if not parts:
        doing = next(iter(found.values())).doing
        parts = [f"all ranks are at one place ({doing}): {folder.uri}"]
    first = min(found.values(), key=lambda stand: stand.rank)
    return (
        f"no step for {first.seconds:.0f} s after step {first.step}; it fails after {limit_s:g} s"
        f" (workers.timeout_s): {'; '.join(parts)}"
    )


def _name(rank: int) -> str:
    return f"rank-{rank:04d}.txt"

"""A weighted fair queue: each key gets its share of the turns, however much any of them asks.

Every key has a virtual time, what it has used divided by its weight; the next turn is that of
the key whose virtual time is furthest behind. What a turn will take is estimated from its size, and
corrected when it has ended. A key that was away gains no time by that.
"""

import asyncio
import bisect
import itertools
import time
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Literal

Kind = Literal["request", "job"]

# From here on a picture is a large one: more than 2048x2048.
LARGE_MEGAPIXELS = 4.2
# Sizes from which on a turn takes longer; what it will take is learnt for each class between
# them. Proportional to the size it is not: the smallest fill takes its time, too.
_CLASSES = [1.0, LARGE_MEGAPIXELS, 16.0, 64.0]
# What a new measurement counts among the earlier ones.
_NEWEST_SHARE = 0.1
# Before anything was measured.
_FIRST_SECONDS = 2.0


@dataclass(frozen=True)
class TurnRequest:
    """A request for a turn.

    Attributes:
        key: Name of the key; "" where none is asked for.
        kind: A job gives way to every request.
        megapixels: The picture's, as its header says.
        held: As which it counts while it is open: more, where a pixel takes more memory than one
            of eight bits without transparency. None: as it has.
    """

    key: str = ""
    kind: Kind = "request"
    megapixels: float = 0.0
    held: float | None = None

    @property
    def memory(self) -> float:
        """In megapixels of a picture of eight bits without transparency."""
        return self.megapixels if self.held is None else self.held

    @property
    def is_large(self) -> bool:
        """Whether it must leave room for small ones."""
        return self.megapixels >= LARGE_MEGAPIXELS


@dataclass(eq=False)
class _Turn:
    request: TurnRequest
    number: int
    begin: "asyncio.Future[None]"
    charged: float = 0.0
    began: float = 0.0


@dataclass
class _Key:
    used: float = 0.0
    waiting: list[_Turn] = field(default_factory=list)
    running: int = 0

    @property
    def is_away(self) -> bool:
        return not self.waiting and not self.running


class FairQueue:
    """So many turns at one time."""

    def __init__(
        self,
        slots: int,
        *,
        max_megapixels: float = float("inf"),
        max_jobs: int = 1,
        weight_of: Callable[[str], float] = lambda key: 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Begin with nobody.

        Args:
            slots: Requests at one time. Half of them, one at least, may be large ones; a job
                takes one that no request waits for, and then counts as none.
            max_megapixels: The limit for all large ones that have a turn, together; one alone may
                have more.
            max_jobs: Jobs at one time.
            weight_of: Share of a key in relation to others.
            clock: Gives seconds.
        """
        self.slots = slots
        self._max_large = max(1, slots // 2)
        self._max_megapixels = max_megapixels
        self._max_jobs = max_jobs
        self._weight_of = weight_of
        self._clock = clock
        self._keys: defaultdict[str, _Key] = defaultdict(_Key)
        self._running: set[_Turn] = set()
        self._now = 0.0
        self._numbers = itertools.count()
        self.mean_seconds = _FIRST_SECONDS
        # Of the classes that were measured.
        self._means: dict[int, float] = {}

    @asynccontextmanager
    async def turn(self, request: TurnRequest) -> AsyncIterator[None]:
        """Wait for a turn, and hold it while the block runs; cancelled, it leaves no trace."""
        turn = _Turn(request, next(self._numbers), asyncio.get_running_loop().create_future())
        key = self._keys[request.key]
        if key.is_away:
            # Time that was not asked for is not saved up.
            key.used = max(key.used, self._now)
        key.waiting.append(turn)
        self._begin()
        try:
            await turn.begin
        except asyncio.CancelledError:
            if turn in self._running:
                self._end(turn, 0.0)
            else:
                key.waiting.remove(turn)
                self._forget(request.key)
            raise
        began = self._clock()
        try:
            yield
        finally:
            self._end(turn, self._clock() - began)

    def waiting(self, key: str) -> int:
        """Turns that this key waits for."""
        return len(self._keys[key].waiting) if key in self._keys else 0

    def running(self, kind: Kind = "request") -> int:
        """Turns of a kind that are held now."""
        return sum(turn.request.kind == kind for turn in self._running)

    def all_waiting(self) -> int:
        """Turns that are waited for."""
        return sum(len(key.waiting) for key in self._keys.values())

    def share_of(self, key: str) -> float:
        """What this key gets of all turns while others want theirs: 0 to 1."""
        active = {name for name, other in self._keys.items() if not other.is_away} | {key}
        return self._weight_of(key) / sum(self._weight_of(name) for name in active)

    def wait(self, key: str) -> float:
        """Seconds, about, until all that this key waits for has begun, as large as that is."""
        if key not in self._keys:
            return 0.0
        waiting = [turn.request for turn in self._keys[key].waiting]
        all_of_it = sum(self._as_now(request) for request in waiting) / self.slots
        large = sum(self._as_now(request) for request in waiting if request.is_large)
        return max(all_of_it, large / self._max_large) / self.share_of(key)

    def seconds_a_turn(self, key: str) -> float:
        """How long it takes, about, until this key gets one more turn."""
        return self.mean_seconds / (self.slots * self.share_of(key))

    def _begin(self) -> None:
        """Give away every turn that can be had."""
        while (turn := self._next()) is not None:
            key = self._keys[turn.request.key]
            key.waiting.remove(turn)
            key.running += 1
            self._now = max(self._now, key.used)
            turn.began = self._clock()
            turn.charged = self._estimate(turn.request)
            key.used += turn.charged / self._weight_of(turn.request.key)
            self._running.add(turn)
            turn.begin.set_result(None)

    def _next(self) -> _Turn | None:
        found = [
            (self._keys[turn.request.key].used, turn.number, turn)
            for key in self._keys.values()
            for turn in _firsts(key)
            if not turn.begin.done() and self._has_room(turn.request)
        ]
        requests = [one for one in found if one[2].request.kind == "request"]
        if requests:
            return min(requests)[2]
        # Nor does a job begin while a request waits that has no room just now.
        if any(t.request.kind == "request" for key in self._keys.values() for t in key.waiting):
            return None
        return min(found)[2] if found else None

    def _has_room(self, request: TurnRequest) -> bool:
        if request.kind == "job":
            if self.running("job") >= self._max_jobs or len(self._running) >= self.slots:
                return False
        elif self.running() >= self.slots:
            return False
        if not request.is_large:
            return True
        large = [turn.request for turn in self._running if turn.request.is_large]
        if not large:
            return True
        held = sum(other.memory for other in large)
        fits = held + request.memory <= self._max_megapixels
        return fits and len(large) < self._max_large

    def _estimate(self, request: TurnRequest) -> float:
        """Of its class; else of the next smaller one that was measured, or the next larger."""
        own = bisect.bisect(_CLASSES, request.megapixels)
        smaller = [size for size in self._means if size <= own]
        larger = [size for size in self._means if size > own]
        if not smaller and not larger:
            return self.mean_seconds
        return max(0.01, self._means[max(smaller) if smaller else min(larger)])

    def _as_now(self, request: TurnRequest) -> float:
        """As `_estimate`, and not less than one of its class takes already, which has not ended.

        A machine that grows slow is noticed by those, and not when the first of them has ended.
        """
        own = bisect.bisect(_CLASSES, request.megapixels)
        ages = [
            self._clock() - turn.began
            for turn in self._running
            if turn.request.kind == "request"
            and bisect.bisect(_CLASSES, turn.request.megapixels) == own
        ]
        return max(self._estimate(request), *ages, 0.0)

    def _end(self, turn: _Turn, seconds: float) -> None:
        self._running.discard(turn)
        key = self._keys[turn.request.key]
        key.running -= 1
        key.used += (seconds - turn.charged) / self._weight_of(turn.request.key)
        if seconds and turn.request.kind == "request":
            self.mean_seconds += _NEWEST_SHARE * (seconds - self.mean_seconds)
            size = bisect.bisect(_CLASSES, turn.request.megapixels)
            before = self._means.setdefault(size, seconds)
            self._means[size] = before + _NEWEST_SHARE * (seconds - before)
        self._begin()
        self._forget(turn.request.key)

    def _forget(self, name: str) -> None:
        """Names come from outside: those of whom nothing is owed are not kept."""
        key = self._keys[name]
        if key.is_away and key.used <= self._now:
            del self._keys[name]


def _firsts(key: _Key) -> list[_Turn]:
    """The first of each lane: a large one or a job does not hold up what is behind it."""
    firsts: dict[tuple[Kind, bool], _Turn] = {}
    for turn in key.waiting:
        firsts.setdefault((turn.request.kind, turn.request.is_large), turn)
    return list(firsts.values())

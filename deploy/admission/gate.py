"""Which requests are let in before their body is read, and when a client shall come again; no HTTP.

A key may fill so much of the places as are left free, however many there are, and a heavy one its
weight times as much; but what the next key needs, no weight takes. So there is room for one
more key, and none alone can shut the others out.
"""

import math
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from kintsugi.deploy.admission.fair_queue import FairQueue
from kintsugi.deploy.engine import Busy

# More than this part of the deadline is not spent in a queue.
PATIENCE_SHARE = 0.5
# Waits are estimates: nobody comes again sooner, nor is sent away for longer.
_SOONEST_SECONDS, _LATEST_SECONDS = 1, 120


@dataclass(frozen=True)
class GateLimits:
    """The limits of one replica of the Ingress.

    Attributes:
        places: Requests that are here at one time, those that are computed among them.
        body_bytes: The size of all their bodies.
        largest_body_bytes: That of one, at most.
        deadline_seconds: Within which each is answered.
    """

    places: int
    body_bytes: int
    largest_body_bytes: int
    deadline_seconds: float


@dataclass(eq=False)
class Ticket:
    """One request that was let in. Leaving gives its place back."""

    key: str
    body_bytes: int
    _left: Callable[["Ticket"], None] = field(repr=False)
    _inside: bool = True

    def leave(self) -> None:
        """Give the place back; once is enough."""
        if self._inside:
            self._inside = False
            self._left(self)


class Gate:
    """Counts the requests that are inside."""

    def __init__(
        self,
        limits: GateLimits,
        turns: FairQueue,
        *,
        weight_of: Callable[[str], float] = lambda key: 1.0,
    ) -> None:
        self._limits = limits
        self._turns = turns
        self._weight_of = weight_of
        self._places: Counter[str] = Counter()
        self._bytes: Counter[str] = Counter()

    @property
    def inside(self) -> int:
        """Requests that are here."""
        return self._places.total()

    def enter(self, key: str, body_bytes: int) -> Ticket:
        """Let a request in.

        Args:
            key: Name of its key; "" where none is asked for.
            body_bytes: As its header says; without one, as many as there may be.

        Raises:
            Busy: With the seconds after which there will be room.
        """
        self._check(key, body_bytes)
        self._places[key] += 1
        self._bytes[key] += body_bytes
        return Ticket(key, body_bytes, self._leave)

    def _leave(self, ticket: Ticket) -> None:
        for counted, by in ((self._places, 1), (self._bytes, ticket.body_bytes)):
            counted[ticket.key] -= by
            if counted[ticket.key] <= 0:
                del counted[ticket.key]

    def _check(self, key: str, body_bytes: int) -> None:
        of_this = self._places[key]
        wait = self._turns.wait(key)
        patience = PATIENCE_SHARE * self._limits.deadline_seconds
        if of_this and wait > patience:
            raise self._busy(
                f"a wait of {wait:.0f} s would leave no time to answer", wait - patience
            )
        free = self._limits.places - self._places.total()
        weight = self._weight_of(key)
        if free <= 0 or of_this + 1 > max(1.0, _held_back(weight, free - 1, 1) * free):
            raise self._busy(
                f"{of_this} requests of this key are here already", self._turns.seconds_a_turn(key)
            )
        free_bytes = self._limits.body_bytes - self._bytes.total()
        of_this_bytes = self._bytes[key] + body_bytes
        alone = body_bytes <= free_bytes and not of_this
        rest = free_bytes - body_bytes
        weight = _held_back(weight, rest, self._limits.largest_body_bytes)
        if not alone and of_this_bytes > weight * rest:
            raise self._busy(
                f"{self._bytes[key]} bytes of this key are here already",
                self._turns.seconds_a_turn(key),
            )

    def _busy(self, why: str, seconds: float) -> Busy:
        return Busy(why, retry_after=retry_after(seconds))


def _held_back(weight: float, left: int, needed: int) -> float:
    """What of a weight counts where so much would be left, and the next key needs so much."""
    return weight if left >= needed else min(weight, 1.0)


def retry_after(seconds: float) -> int:
    """Whole seconds after which to come again, for a wait that is estimated."""
    return min(_LATEST_SECONDS, max(_SOONEST_SECONDS, math.ceil(seconds)))

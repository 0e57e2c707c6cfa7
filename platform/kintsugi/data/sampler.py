"""Which worker sees which photographs in which order; numpy only, no Ray and no PyTorch.

The order of an epoch is a pure function of (seed, epoch): shards are permuted, and rows
mixed inside windows of a few shards, so that a window is one read of whole files. Each
worker takes one contiguous share of what is left of the epoch.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kintsugi.errors import ConfigError

Rows = NDArray[np.int64]
Counts = NDArray[np.integer[Any]]
# From place to before place in an order.
Span = tuple[int, int]
# Shards of a data set whose order is drawn from its beginning: a million photographs or so.
MOST_PARTS = 4096


@dataclass(frozen=True)
class Used:
    """A part of an epoch that is done: ``steps`` steps of ``workers`` workers."""

    workers: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Position:
    """Where a run stands in its data: an epoch and what of it is used."""

    epoch: int = 0
    used: tuple[Used, ...] = ()


@dataclass(frozen=True)
class Read:
    """Rows of one window that one worker reads at once, in this order.

    Attributes:
        epoch: Keys crop, flip and hole.
        rows: Indices into all rows of all shards, in the manifest's order.
    """

    epoch: int
    rows: Rows


@dataclass(frozen=True)
class SampleOrder:
    """The order of samples for a data set, a seed and a number of workers.

    Attributes:
        rows_per_part: Photographs of each shard.
        seed: Decides the order.
        shuffle_parts: Shards whose rows are mixed with one another.
        workers, batch_size: Who takes a step, and how many photographs each.
        together: The workers share each step's photographs out, and not the epoch's: a step has
            the same ones whatever their number. Each then reads every shard, and decodes its part.
    """

    rows_per_part: Sequence[int] | Counts
    seed: int
    shuffle_parts: int
    workers: int
    batch_size: int
    together: bool = False

    def __post_init__(self) -> None:
        if self.total < self.workers * self.batch_size:
            raise ConfigError(
                f"data.shards holds {self.total} photographs, fewer than one step of"
                f" {self.workers} workers x loop.batch_size={self.batch_size}:"
                " pack more, or lower one of the two"
            )

    @cached_property
    def total(self) -> int:
        """Photographs."""
        return int(np.sum(self.rows_per_part, dtype=np.int64))

    def reads(self, start: Position, rank: int) -> Iterator[Iterator[Read]]:
        """The reads of one worker, epoch by epoch, without end; drawn as they are asked for."""
        position = start
        while True:
            share = self._steps_left(position) * self.batch_size
            if share:
                left = self._left(position)
                mine = (
                    self._of_each_step(left, rank)
                    if self.together
                    else _cut(left, rank * share, (rank + 1) * share)
                )
                yield self._reads(position.epoch, mine)
            position = Position(position.epoch + 1)

    def _of_each_step(self, left: list[Span], rank: int) -> Iterator[Span]:
        whole = self.workers * self.batch_size
        for step in range(sum(last - first for first, last in left) // whole):
            first = step * whole + rank * self.batch_size
            yield from _cut(left, first, first + self.batch_size)

    def _reads(self, epoch: int, spans: Iterable[Span]) -> Iterator[Read]:
        windows = EpochWindows(self.rows_per_part, self.seed, epoch, self.shuffle_parts)
        for window, pieces in windows.split(spans):
            rows = windows.rows(window)
            yield Read(epoch, np.concatenate([rows[first:last] for first, last in pieces]))

    def advance(self, start: Position, steps: int) -> Position:
        """The position after ``steps`` more steps of all workers; arithmetic alone."""
        left = self._steps_left(start)
        if steps < left:
            return self._use(start, steps)
        epochs, rest = divmod(steps - left, self._steps_left(Position()))
        return self._use(Position(start.epoch + 1 + epochs), rest)

    def _steps_left(self, position: Position) -> int:
        """Whole steps of all workers that an epoch still has."""
        used = sum(each.workers * each.batch_size * each.steps for each in position.used)
        return (self.total - used) // (self.workers * self.batch_size)

    def _use(self, position: Position, steps: int) -> Position:
        if not steps:
            return position
        earlier = position.used
        # Together they are as one.
        shares = 1 if self.together else self.workers
        size = self.workers * self.batch_size // shares
        if earlier and (earlier[-1].workers, earlier[-1].batch_size) == (shares, size):
            # The same workers go on where they stood: one part, not two.
            steps += earlier[-1].steps
            earlier = earlier[:-1]
        return Position(position.epoch, (*earlier, Used(shares, size, steps)))

    def _left(self, position: Position) -> list[Span]:
        """Stretches of the epoch's order that are not used yet."""
        spans = [(0, self.total)]
        for used in position.used:
            length = sum(last - first for first, last in spans)
            share = length // (used.workers * used.batch_size) * used.batch_size
            done = used.steps * used.batch_size
            # What each worker has left of its share, and what was nobody's.
            starts = [worker * share + done for worker in range(used.workers)]
            ends = [*((worker + 1) * share for worker in range(used.workers - 1)), length]
            spans = [
                piece
                for first, last in zip(starts, ends, strict=True)
                for piece in _cut(spans, first, last)
            ]
        return spans


def _cut(spans: Sequence[Span], first: int, last: int) -> list[Span]:
    """The stretches, one after the other, from place ``first`` to before ``last``."""
    pieces, before = [], 0
    for start, end in spans:
        low, high = max(first - before, 0), min(last - before, end - start)
        if low < high:
            pieces.append((start + low, start + high))
        before += end - start
    return pieces


class EpochWindows:
    """The order of one epoch, window by window.

    Up to `MOST_PARTS` shards a window is drawn after all windows before it, as it always was;
    of more shards each has a draw of its own, so that none before it need be drawn.
    """

    def __init__(
        self, rows_per_part: Sequence[int] | Counts, seed: int, epoch: int, shuffle_parts: int
    ) -> None:
        # Millions of shards are held as they come, and no number of them twice.
        counts = np.asarray(rows_per_part)
        self._key = [seed, epoch]
        self._rng = np.random.default_rng(self._key)
        self._shuffle_parts = shuffle_parts
        self._counts = counts
        self._offsets = np.cumsum(counts, dtype=np.int64)
        self._offsets -= counts
        self._parts = self._rng.permutation(np.arange(len(counts), dtype=np.int32))
        self._keyed = order_version(len(counts)) > 1
        self._drawn: list[Rows] = []
        of_windows = np.add.reduceat(
            counts[self._parts], np.arange(0, len(counts), shuffle_parts), dtype=np.int64
        )
        # Where each window ends in the epoch's order.
        self.ends = np.cumsum(of_windows)

    def rows(self, window: int) -> Rows:
        """The rows of a window in their order."""
        if self._keyed:
            return self._draw(window, np.random.default_rng([*self._key, window]))
        while len(self._drawn) <= window:
            self._drawn.append(self._draw(len(self._drawn), self._rng))
        return self._drawn[window]

    def _draw(self, window: int, rng: np.random.Generator) -> Rows:
        first = window * self._shuffle_parts
        chosen = self._parts[first : first + self._shuffle_parts]
        starts, counts = self._offsets[chosen], self._counts[chosen]
        return rng.permutation(
            np.concatenate([np.arange(s, s + n) for s, n in zip(starts, counts, strict=True)])
        )

    def split(self, spans: Iterable[Span]) -> Iterator[tuple[int, list[Span]]]:
        """Stretches of the epoch by the windows they lie in, as stretches of each window."""
        window, pieces = -1, list[Span]()
        for first, last in spans:
            at = int(np.searchsorted(self.ends, first, side="right"))
            while first < last:
                begin = int(self.ends[at - 1]) if at else 0
                end = min(last, int(self.ends[at]))
                if at != window and pieces:
                    yield window, pieces
                    pieces = []
                window = at
                if first < end:
                    pieces.append((first - begin, end - begin))
                first, at = end, at + 1
        if pieces:
            yield window, pieces


def order_version(parts: int) -> int:
    """The kind of order for this number of shards; a run keeps the one it began with."""
    return 1 if parts <= MOST_PARTS else 2


def epoch_order(
    rows_per_part: Sequence[int], seed: int, epoch: int, shuffle_parts: int
) -> tuple[Rows, Rows]:
    """All rows in the order of one epoch, and for each the window that it belongs to."""
    windows = EpochWindows(rows_per_part, seed, epoch, shuffle_parts)
    rows = [windows.rows(window) for window in range(len(windows.ends))]
    numbers = np.repeat(np.arange(len(rows)), [len(each) for each in rows])
    return np.concatenate(rows), numbers

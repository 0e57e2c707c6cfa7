"""Which worker sees which photographs in which order; numpy only, no Ray and no PyTorch.

The order of an epoch is a pure function of (seed, epoch): shards are permuted, and rows
mixed inside windows of a few shards, so that a window is one read of whole files. Each
worker takes one contiguous share of what is left of the epoch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from kintsugi.errors import ConfigError

Rows = NDArray[np.int64]


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
    """The order of samples for a data set, a seed and a number of workers."""

    rows_per_part: tuple[int, ...]
    seed: int
    shuffle_parts: int
    workers: int
    batch_size: int

    def __post_init__(self) -> None:
        total = sum(self.rows_per_part)
        if total < self.workers * self.batch_size:
            raise ConfigError(
                f"data.shards holds {total} photographs, fewer than one step of"
                f" {self.workers} workers x loop.batch_size={self.batch_size}:"
                " pack more, or lower one of the two"
            )

    def reads(self, start: Position, rank: int) -> Iterator[list[Read]]:
        """The reads of one worker, one list per epoch, without end."""
        position = start
        while True:
            rows, windows = self._left(position)
            share = len(rows) // (self.workers * self.batch_size) * self.batch_size
            mine = slice(rank * share, (rank + 1) * share)
            cuts = np.flatnonzero(np.diff(windows[mine])) + 1
            if share:
                yield [Read(position.epoch, part) for part in np.split(rows[mine], cuts)]
            position = Position(position.epoch + 1)

    def advance(self, start: Position, steps: int) -> Position:
        """The position after ``steps`` more steps of all workers."""
        position = start
        while True:
            rows, _ = self._left(position)
            whole = len(rows) // (self.workers * self.batch_size)
            if steps < whole:
                return self._use(position, steps)
            steps -= whole
            position = Position(position.epoch + 1)

    def _use(self, position: Position, steps: int) -> Position:
        if not steps:
            return position
        earlier = position.used
        if earlier and (earlier[-1].workers, earlier[-1].batch_size) == (
            self.workers,
            self.batch_size,
        ):
            # The same workers go on where they stood: one part, not two.
            steps += earlier[-1].steps
            earlier = earlier[:-1]
        return Position(position.epoch, (*earlier, Used(self.workers, self.batch_size, steps)))

    def _left(self, position: Position) -> tuple[Rows, Rows]:
        """Rows of the epoch that are not used yet, and the window of each."""
        rows, windows = epoch_order(
            self.rows_per_part, self.seed, position.epoch, self.shuffle_parts
        )
        for used in position.used:
            share = len(rows) // (used.workers * used.batch_size) * used.batch_size
            left = np.ones(len(rows), dtype=bool)
            for worker in range(used.workers):
                left[worker * share : worker * share + used.steps * used.batch_size] = False
            rows, windows = rows[left], windows[left]
        return rows, windows


def epoch_order(
    rows_per_part: Sequence[int], seed: int, epoch: int, shuffle_parts: int
) -> tuple[Rows, Rows]:
    """All rows in the order of one epoch, and for each the window that it belongs to."""
    rng = np.random.default_rng([seed, epoch])
    offsets = np.concatenate([[0], np.cumsum(rows_per_part)])
    parts = rng.permutation(len(rows_per_part))
    rows: list[Rows] = []
    windows: list[Rows] = []
    for window, first in enumerate(range(0, len(parts), shuffle_parts)):
        chosen = parts[first : first + shuffle_parts]
        joined = np.concatenate([np.arange(offsets[p], offsets[p + 1]) for p in chosen])
        rows.append(rng.permutation(joined))
        windows.append(np.full(len(joined), window))
    return np.concatenate(rows), np.concatenate(windows)

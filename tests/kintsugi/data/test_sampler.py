"""Every photograph once per epoch, with any number of workers and of resumptions."""

import tracemalloc
from itertools import chain, islice

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kintsugi.data import ray_pipeline, sampler
from kintsugi.data.sampler import EpochWindows, Position, SampleOrder, Used, epoch_order
from kintsugi.errors import ConfigError

PARTS = (7, 5, 9, 4, 6, 8, 3)


def make_order(
    workers: int = 2, batch_size: int = 3, parts: tuple[int, ...] = PARTS
) -> SampleOrder:
    return SampleOrder(parts, seed=11, shuffle_parts=2, workers=workers, batch_size=batch_size)


def rows_of_epoch(order: SampleOrder, start: Position, rank: int) -> list[int]:
    reads = next(iter(order.reads(start, rank)))
    return [int(row) for read in reads for row in read.rows]


def steps(order: SampleOrder, start: Position, count: int) -> list[list[int]]:
    """The rows of each of ``count`` steps, all workers together."""
    streams = []
    for rank in range(order.workers):
        rows: list[int] = []
        for epoch in order.reads(start, rank):
            rows += [int(row) for read in epoch for row in read.rows]
            if len(rows) >= count * order.batch_size:
                break
        streams.append(rows)
    size = order.batch_size
    return [
        [row for stream in streams for row in stream[step * size : (step + 1) * size]]
        for step in range(count)
    ]


def test_an_epoch_holds_every_row_once() -> None:
    rows, windows = epoch_order(PARTS, seed=1, epoch=0, shuffle_parts=2)
    assert sorted(rows.tolist()) == list(range(sum(PARTS)))
    assert windows.tolist() == sorted(windows.tolist())


def test_epochs_and_seeds_differ_and_repeat() -> None:
    def order(seed: int, epoch: int) -> list[int]:
        return epoch_order(PARTS, seed, epoch, 2)[0].tolist()

    assert order(1, 0) == order(1, 0)
    assert order(1, 0) != order(1, 1)
    assert order(1, 0) != order(2, 0)


def test_a_window_mixes_its_shards_and_no_others() -> None:
    rows, windows = epoch_order((10, 10, 10, 10), seed=0, epoch=0, shuffle_parts=2)
    for window in (0, 1):
        parts = {int(row) // 10 for row in rows[windows == window]}
        assert len(parts) == 2
        assert not np.array_equal(rows[windows == window], np.sort(rows[windows == window]))


def test_a_read_stays_inside_one_window() -> None:
    order = make_order(workers=1)
    rows, windows = epoch_order(PARTS, order.seed, 0, order.shuffle_parts)
    window_of = dict(zip(rows.tolist(), windows.tolist(), strict=True))
    for read in next(iter(order.reads(Position(), 0))):
        assert len({window_of[int(row)] for row in read.rows}) == 1


def test_workers_share_an_epoch_without_overlap_and_drop_less_than_a_step() -> None:
    order = make_order(workers=3, batch_size=4)
    shares = [rows_of_epoch(order, Position(), rank) for rank in range(3)]
    used = [row for share in shares for row in share]
    assert len({len(share) for share in shares}) == 1
    assert len(used) == len(set(used))
    assert 0 <= sum(PARTS) - len(used) < 3 * 4


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    workers=st.integers(1, 4),
    batch_size=st.integers(1, 5),
    before=st.integers(0, 25),
    after=st.integers(1, 10),
)
def test_resuming_with_the_same_workers_changes_no_step(
    workers: int, batch_size: int, before: int, after: int
) -> None:
    order = make_order(workers, batch_size)
    whole = steps(order, Position(), before + after)
    resumed = steps(order, order.advance(Position(), before), after)
    assert resumed == whole[before:]


def test_advancing_twice_is_advancing_once() -> None:
    order = make_order()
    assert order.advance(order.advance(Position(), 2), 3) == order.advance(Position(), 5)


@settings(deadline=None, derandomize=True, max_examples=60)
@given(first=st.integers(1, 4), second=st.integers(1, 4), data=st.data())
def test_resuming_with_other_workers_uses_exactly_what_was_left(
    first: int, second: int, data: st.DataObject
) -> None:
    one, two = make_order(first), make_order(second)
    whole = sum(PARTS) // (first * one.batch_size)
    done = data.draw(st.integers(0, whole - 1))
    used = {row for step in steps(one, Position(), done) for row in step}
    position = one.advance(Position(), done)
    left = len(range(sum(PARTS))) - len(used)
    count = left // (second * two.batch_size)
    rest = [row for step in steps(two, position, count) for row in step]
    assert len(rest) == len(set(rest)) == count * second * two.batch_size
    assert not used & set(rest)
    assert left - len(rest) < second * two.batch_size


@settings(deadline=None, derandomize=True, max_examples=60)
@given(
    changes=st.lists(
        st.tuples(st.integers(1, 4), st.integers(1, 4), st.integers(0, 4)), min_size=2, max_size=5
    )
)
def test_however_often_the_workers_change_no_photograph_is_lost_or_used_twice(
    changes: list[tuple[int, int, int]],
) -> None:
    """Each change is (workers, batch size, steps until the next); one at a time finishes."""
    position, used = Position(), list[int]()
    for workers, batch_size, count in changes:
        order = make_order(workers, batch_size)
        # One whole step must be left to them: else they would begin the next epoch.
        count = min(count, (sum(PARTS) - len(used)) // (workers * batch_size) - 1)
        if count > 0:
            used += [row for step in steps(order, position, count) for row in step]
            position = order.advance(position, count)
    alone = make_order(1, 1)
    used += [row for step in steps(alone, position, sum(PARTS) - len(used)) for row in step]
    assert sorted(used) == list(range(sum(PARTS)))


def test_a_remainder_too_small_for_a_step_starts_the_next_epoch() -> None:
    one, two = make_order(workers=1, batch_size=1), make_order(workers=4, batch_size=3)
    position = one.advance(Position(), sum(PARTS) - 5)
    reads = next(iter(two.reads(position, 0)))
    assert {read.epoch for read in reads} == {1}


def test_epochs_follow_one_another() -> None:
    order = make_order()
    assert [next(epoch).epoch for epoch in islice(order.reads(Position(), 0), 3)] == [0, 1, 2]


def test_fewer_photographs_than_a_step_are_refused_with_the_numbers() -> None:
    with pytest.raises(ConfigError, match=r"holds 5 photographs.*2 workers x loop\.batch_size=3"):
        make_order(parts=(3, 2))


def drawn_whole(parts: tuple[int, ...], seed: int, epoch: int, shuffle_parts: int) -> list[int]:
    """The order of an epoch as it was always drawn: all of it, from one generator."""
    rng = np.random.default_rng([seed, epoch])
    offsets = np.concatenate([[0], np.cumsum(parts)])
    chosen = rng.permutation(len(parts))
    rows: list[int] = []
    for first in range(0, len(parts), shuffle_parts):
        window = [np.arange(offsets[p], offsets[p + 1]) for p in chosen[first:][:shuffle_parts]]
        rows += rng.permutation(np.concatenate(window)).tolist()
    return rows


@pytest.mark.parametrize("epoch", range(3))
def test_the_order_of_a_seed_is_what_it_always_was(epoch: int) -> None:
    assert epoch_order(PARTS, 5, epoch, 2)[0].tolist() == drawn_whole(PARTS, 5, epoch, 2)


def test_of_many_shards_a_window_is_drawn_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """And their order keeps all that is promised of one."""
    monkeypatch.setattr(sampler, "MOST_PARTS", len(PARTS) - 1)
    rows, _ = epoch_order(PARTS, 1, 0, 2)
    assert sorted(rows.tolist()) == list(range(sum(PARTS)))
    assert rows.tolist() != drawn_whole(PARTS, 1, 0, 2)
    order = make_order(1, 3)
    whole = steps(order, Position(), 30)
    assert steps(order, order.advance(Position(), 17), 13) == whole[17:]


def test_a_billion_photographs_cost_their_shards_alone() -> None:
    """Four million shards: counted by what is held, and by how few windows are drawn."""
    parts = np.full(4_000_000, 256)
    order = SampleOrder(parts, seed=0, shuffle_parts=4, workers=64, batch_size=16)
    position = order.advance(Position(epoch=3), 12_345_678)
    assert position == Position(15, (Used(64, 16, 345_678),))
    drawn: list[int] = []
    draw = EpochWindows._draw

    def counted(self: EpochWindows, window: int, rng: np.random.Generator) -> np.ndarray:
        drawn.append(window)
        return draw(self, window, rng)

    tracemalloc.start()
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(EpochWindows, "_draw", counted)
        reads = list(islice(next(order.reads(position, 63)), 3))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(drawn) == 3
    assert sum(len(read.rows) for read in reads[1:]) == 2 * 1024
    assert peak < 200 * 2**20


def test_advancing_over_a_billion_steps_draws_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sampler, "EpochWindows", None)
    order = make_order()
    whole = sum(PARTS) // 6
    assert order.advance(Position(), 10**9 * whole + 2) == Position(10**9, (Used(2, 3, 2),))


@settings(deadline=None, derandomize=True, max_examples=40)
@given(size=st.integers(1, 9), steps=st.integers(1, 12), at_once=st.integers(1, 4))
def test_pipelines_hold_whole_batches_and_lose_no_row(size: int, steps: int, at_once: int) -> None:
    order = make_order(workers=1, batch_size=1)
    every = [row for read in islice(chain.from_iterable(order.reads(Position(), 0)), 99)
             for row in read.rows]  # fmt: skip
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(ray_pipeline, "READS_PER_PIPELINE", at_once)
        reads = chain.from_iterable(order.reads(Position(), 0))
        groups = list(ray_pipeline.whole_batches(reads, size, steps))
    lengths = [sum(len(read.rows) for read in group) for group in groups]
    assert all(length and length % size == 0 for length in lengths)
    assert sum(lengths) >= steps * size > sum(lengths[:-1])
    got = [row for group in groups for read in group for row in read.rows]
    assert got == every[: len(got)]


def together(workers: int) -> SampleOrder:
    return SampleOrder(PARTS, 11, 2, workers=workers, batch_size=8 // workers, together=True)


@pytest.mark.parametrize("workers", [1, 2, 4])
def test_together_a_step_has_the_same_photographs_for_any_number_of_workers(workers: int) -> None:
    assert steps(together(workers), Position(), 12) == steps(together(8), Position(), 12)


def test_a_run_whose_workers_come_and_go_takes_the_same_steps() -> None:
    whole = steps(together(1), Position(), 9)
    position, taken = Position(), list[list[int]]()
    for workers in (2, 1, 2):
        taken += steps(together(workers), position, 3)
        position = together(workers).advance(position, 3)
    assert taken == whole
    assert position == together(1).advance(Position(), 9)

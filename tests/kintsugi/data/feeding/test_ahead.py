"""kintsugi.data.feeding.ahead: the same items, errors in their place, and an end that is one."""

import threading
from collections.abc import Iterator

import pytest

from kintsugi.data.feeding.ahead import Ahead

PATIENCE = 120.0


def test_items_come_in_their_order() -> None:
    assert list(Ahead(iter(range(100)), 2)) == list(range(100))


def test_no_more_than_so_many_wait() -> None:
    made: list[int] = []
    reached = threading.Event()

    def items() -> Iterator[int]:
        for number in range(100):
            made.append(number)
            if number == 2:
                reached.set()
            yield number

    ahead = Ahead(items(), 3)
    assert reached.wait(PATIENCE)
    assert next(ahead) == 0
    # One more is made for one that was taken.
    while len(made) < 4:
        threading.Event().wait(0.01)
    assert len(made) == 4
    ahead.close()


def test_an_error_comes_after_what_came_before_it() -> None:
    def items() -> Iterator[int]:
        yield 1
        yield 2
        raise ValueError("three")

    ahead = Ahead(items(), 9)
    assert [next(ahead), next(ahead)] == [1, 2]
    for _ in range(2):
        with pytest.raises(ValueError, match="three"):
            next(ahead)


def test_closed_it_closes_what_it_reads() -> None:
    closed = threading.Event()

    def items() -> Iterator[int]:
        try:
            while True:
                yield 0
        finally:
            closed.set()

    ahead = Ahead(items(), 2)
    assert next(ahead) == 0
    ahead.close()
    assert closed.wait(PATIENCE)
    ahead._thread.join(PATIENCE)
    assert not ahead._thread.is_alive()

"""The same function over many inputs: order, laziness and errors, here and in Ray."""

from collections.abc import Iterator

import pytest

from kintsugi.errors import InvalidInput
from kintsugi.storage.parallel import map_tasks


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)


def scale(factor: int, value: int) -> int:
    if value < 0:
        raise InvalidInput(f"{value} is negative", code="negative", hint="take another")
    return factor * value


@pytest.mark.usefixtures("_no_ray")
def test_maps_in_order_and_takes_items_as_they_are_needed() -> None:
    taken = []

    def items() -> Iterator[int]:
        for value in range(100):
            taken.append(value)
            yield value

    results = map_tasks(scale, 3, items())
    assert [next(results) for _ in range(4)] == [0, 3, 6, 9]
    assert len(taken) == 4


@pytest.mark.usefixtures("_no_ray")
def test_errors_come_as_they_were_raised() -> None:
    with pytest.raises(InvalidInput, match="-1 is negative"):
        list(map_tasks(scale, 3, [1, -1]))


@pytest.mark.ray
def test_in_ray_it_is_the_same(local_ray: object) -> None:
    taken = []

    def items() -> Iterator[int]:
        for value in range(40):
            taken.append(value)
            yield value

    results = map_tasks(scale, 3, items())
    assert next(results) == 0
    # Two for each of eight CPUs, and the next one.
    assert len(taken) <= 17
    assert list(results) == [3 * value for value in range(1, 40)]
    with pytest.raises(InvalidInput, match="-1 is negative") as caught:
        list(map_tasks(scale, 3, [1, -1]))
    assert caught.value.code == "negative"


@pytest.mark.ray
def test_a_cluster_that_grows_gets_more_to_do(
    local_ray: object, monkeypatch: pytest.MonkeyPatch
) -> None:
    taken, cpus = [], [1]

    def items() -> Iterator[int]:
        for value in range(40):
            taken.append(value)
            yield value

    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": float(cpus[0])})
    results = map_tasks(scale, 3, items())
    assert (next(results), len(taken)) == (0, 2)
    cpus[0] = 4
    # Seven more than those two; one of them is done.
    assert (next(results), len(taken)) == (3, 9)
    assert list(results) == [3 * value for value in range(2, 40)]

"""The same function over many inputs: order, laziness and errors, here and in Ray."""

from collections.abc import Iterator

import numpy as np
import pytest

from kintsugi.errors import InvalidInput
from kintsugi.evaluation import Comparison, Photo, evaluate, evaluate_photo, parse_mask_set
from kintsugi.images import encode_image
from kintsugi.methods import CLASSICAL, ReleaseMethod
from kintsugi.metrics import VggDistance
from kintsugi.tasks import map_tasks
from models.build import ModelConfig, build_inpainter
from models.vgg import Vgg19Relu3


@pytest.fixture
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.tasks.ray_is_running", lambda: False)


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
def test_an_evaluation_in_ray_is_the_same(local_ray: object) -> None:
    encoder = Vgg19Relu3.random(0)
    ours = ReleaseMethod(build_inpainter(ModelConfig("tiny"), encoder, seed=0))
    comparison = Comparison(
        {"ours": ours, **CLASSICAL}, [parse_mask_set("thick-64")], vgg=VggDistance(encoder)
    )
    pixels = np.random.default_rng(0).integers(0, 256, (3, 70, 90, 3), np.uint8)
    photos = [Photo(str(i), encode_image(each), i == 0) for i, each in enumerate(pixels)]
    there = list(evaluate([*photos, Photo("bad", b"no image")], comparison))
    assert there[3].reject
    for photo, result in zip(photos, there, strict=False):
        here = evaluate_photo(comparison, photo)
        # On another number of threads sums come out in another order.
        for method, figures in here.filled[0].figures.items():
            assert result.filled[0].figures[method] == pytest.approx(figures, rel=1e-3)
        assert list(result.filled[0].pictures) == list(here.filled[0].pictures)

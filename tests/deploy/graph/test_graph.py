"""The serving graph on a local Ray cluster: it answers what the Inpainter answers."""

import asyncio
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kintsugi.deploy.client import Client, ClientError
from kintsugi.deploy.engine import Filled
from kintsugi.deploy.options import InpaintOptions
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.models.progress import Step
from tests.deploy.conftest import decode, draw_mask, draw_photo, encode
from tests.deploy.graph.running_graph import (
    Service,
    expected,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("same_threads")]


@pytest.mark.parametrize(("side", "scales"), [(256, 1), (512, 2)])
def test_the_graph_answers_what_the_inpainter_answers(
    service: Service, inpainter: Inpainter, side: int, scales: int
) -> None:
    photo, mask = draw_photo(side, side), draw_mask(side, side)
    before = service.calls()

    answer = Client(service.url).inpaint(encode(photo), encode(mask))

    np.testing.assert_array_equal(decode(answer.data), expected(inpainter, photo, mask))
    np.testing.assert_array_equal(decode(answer.data)[~mask], photo[~mask])
    assert answer.model_version == service.version
    calls = {node: count - before[node] for node, count in service.calls().items()}
    assert calls == {
        "Image2Feature": scales,
        "PatchSwap": scales,
        "Feature2Image": scales,
        "Refiner": 1,
    }


def test_the_graph_answers_for_holes_far_apart_as_the_inpainter_does(
    service: Service, inpainter: Inpainter
) -> None:
    photo, mask = draw_photo(64, 4000), np.zeros((64, 4000), np.bool_)
    mask[20:40, 10:40] = mask[20:40, 3960:3990] = True
    before = service.calls()

    answer = Client(service.url).inpaint(encode(photo), encode(mask))

    np.testing.assert_array_equal(decode(answer.data), expected(inpainter, photo, mask))
    calls = {node: count - before[node] for node, count in service.calls().items()}
    # Two crops of one scale, each by itself.
    assert calls == {"Image2Feature": 2, "PatchSwap": 2, "Feature2Image": 2, "Refiner": 1}


@pytest.mark.parametrize(("side", "scales"), [(96, 1), (256, 2), (512, 3)])
def test_the_graph_searches_pixels_as_the_inpainter_does(
    service: Service, searching: Inpainter, side: int, scales: int
) -> None:
    """The networks draw the first scale alone, and the match searches each."""
    photo, mask = draw_photo(side, side), draw_mask(side, side)
    before = service.calls()
    steps: list[Step] = []
    options = InpaintOptions(seed=3, model="other")

    async def follow() -> Filled:
        engine = service.engine()
        return await engine.inpaint(photo, mask, options, progress=steps.append)

    answer = asyncio.run(follow())

    image, hole = image_to_tensor(photo), mask_to_tensor(mask)
    wanted = tensor_to_image(searching.inpaint(image, hole, FillOptions(seed=3)))
    np.testing.assert_array_equal(answer.pixels, wanted)
    np.testing.assert_array_equal(answer.pixels[~mask], photo[~mask])
    assert steps == [Step(0, 1, level, scales) for level in range(scales)]
    calls = {node: count - before[node] for node, count in service.calls().items()}
    assert calls == {
        "Image2Feature": 1,
        "PatchSwap": 1 + scales,
        "Feature2Image": 1,
        "Refiner": 1,
    }


def test_concurrent_searches_each_get_their_own_answer(
    service: Service, searching: Inpainter
) -> None:
    sizes = [(96, 64), (130, 257), (320, 200)]
    cases = [
        (draw_photo(height, width, seed=seed), draw_mask(height, width, seed=seed))
        for seed, (height, width) in enumerate(sizes)
    ]

    async def ask() -> list[Filled]:
        engine = service.engine()
        options = InpaintOptions(model="other")
        return await asyncio.gather(*(engine.inpaint(*case, options) for case in cases))

    for case, answer in zip(cases, asyncio.run(ask()), strict=True):
        np.testing.assert_array_equal(answer.pixels, expected(searching, *case))


def test_the_graph_stylizes_as_the_inpainter_does(service: Service, inpainter: Inpainter) -> None:
    # Wide enough for two tiles.
    content, style = draw_photo(64, 1100), draw_photo(90, 75, seed=3)
    before = service.calls()

    answer = Client(service.url).stylize(encode(content), encode(style), strength=0.7)

    stylized = inpainter.stylize(image_to_tensor(content), image_to_tensor(style), strength=0.7)
    np.testing.assert_array_equal(decode(answer.data), tensor_to_image(stylized))
    assert answer.model_version == service.version
    calls = {node: count - before[node] for node, count in service.calls().items()}
    assert calls == {"Image2Feature": 3, "PatchSwap": 2, "Feature2Image": 2, "Refiner": 1}


def test_concurrent_requests_each_get_their_own_answer(
    service: Service, inpainter: Inpainter
) -> None:
    sizes = [(96, 64), (64, 96), (130, 257), (320, 200), (256, 256), (97, 101), (300, 410)]
    cases = [
        (draw_photo(height, width, seed=seed), draw_mask(height, width, seed=seed))
        for seed, (height, width) in enumerate(sizes)
    ]
    client = Client(service.url)
    with ThreadPoolExecutor(len(cases)) as pool:
        answers = list(pool.map(lambda c: client.inpaint(encode(c[0]), encode(c[1])), cases))

    for (photo, mask), answer in zip(cases, answers, strict=True):
        np.testing.assert_array_equal(decode(answer.data), expected(inpainter, photo, mask))


def test_a_request_picks_one_of_several_releases(
    service: Service, inpainter: Inpainter, searching: Inpainter
) -> None:
    client = Client(service.url)
    photo, mask = draw_photo(96, 112), draw_mask(96, 112)
    for name, networks in (("", inpainter), ("other", searching), ("tiny", inpainter)):
        answer = client.inpaint(encode(photo), encode(mask), model=name)
        np.testing.assert_array_equal(decode(answer.data), expected(networks, photo, mask))
        assert answer.model_version.partition("@")[0] == (name or "tiny")
    with pytest.raises(ClientError, match="one of tiny, other"):
        client.inpaint(encode(photo), encode(mask), model="third")

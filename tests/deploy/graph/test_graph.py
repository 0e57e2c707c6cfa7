"""The serving graph on a local Ray cluster: it answers what the Inpainter answers."""

import asyncio
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest
import ray
import torch
from ray import serve

from kintsugi.deploy.app import build_app
from kintsugi.deploy.client import Client, ClientError
from kintsugi.deploy.deadline import DeadlineExceeded, answered_within
from kintsugi.deploy.engine import Busy, Filled
from kintsugi.deploy.graph.ingress import GraphEngine
from kintsugi.deploy.graph.remote_calls import answer_of
from kintsugi.deploy.graph.request_context import Release, RequestContext
from kintsugi.deploy.options import InpaintOptions
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import InvalidInput
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.models.progress import Step
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.deploy.conftest import Mask, Pixels, decode, draw_mask, draw_photo, encode

pytestmark = pytest.mark.ray

ROOT = Path(__file__).parents[3]
NODES = ("Image2Feature", "PatchSwap", "Feature2Image", "Refiner")
# The same in the nodes and here: how a sum is split among threads changes its last bits.
THREADS = 1


@dataclass(frozen=True)
class Service:
    """A running graph."""

    url: str
    version: str
    release: str
    app: str = "kintsugi"

    def handle(self, node: str) -> Any:
        return serve.get_deployment_handle(node, self.app)

    def engine(self) -> GraphEngine:
        return GraphEngine({node: self.handle(node) for node in NODES})

    def calls(self) -> dict[str, int]:
        """Requests that each node has computed (one replica of each runs here)."""
        return {node: self.handle(node).ready.remote().result().calls for node in NODES}


MODEL = ModelConfig("tiny", translator_input="features+pixels")
MATCHING = MatchingConfig(keys="matched-standardised", guard=1, repeats=1, colour=0.25)


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    """It matches again, and by pixels too: every node must do its part."""
    return build_inpainter(MODEL, Vgg19Relu3.random(0), seed=1, matching=MATCHING)


@pytest.fixture(scope="module")
def searching(inpainter: Inpainter) -> Inpainter:
    """The same, but that it fills holes with copied pixels."""
    parts = inpainter.image2feature, inpainter.feature2image
    return Inpainter(*parts, replace(MATCHING, pixels=True))


def _save(folder: Path, inpainter: Inpainter) -> str:
    """Returns: the digest."""
    config = ReleaseConfig("tiny", MODEL, "random (seed 0)", matching=inpainter.matching)
    return save_release(folder, inpainter, config, card="For tests.").digest


@pytest.fixture(scope="module")
def service(inpainter: Inpainter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("release")
    digest = _save(folder, inpainter)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        # The replicas' processes inherit it.
        environment.setenv("PYTHONPATH", str(ROOT / "platform"))
        # One for each node of two graphs, and to spare.
        ray.init(address="local", num_cpus=16, include_dashboard=False)
        try:
            yield _serve(AppArgs(release=str(folder), threads=THREADS), digest)
        finally:
            serve.shutdown()
            ray.shutdown()


def _serve(args: AppArgs, digest: str) -> Service:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 90})
    serve.run(build_app(args), name="kintsugi", route_prefix="/")
    return Service(f"http://127.0.0.1:{port}", f"tiny@{digest[:19]}", args.release)


@pytest.fixture(scope="module")
def searching_service(
    service: Service, searching: Inpainter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """A second graph on the same cluster."""
    folder = tmp_path_factory.mktemp("searching")
    digest = _save(folder, searching)
    args = AppArgs(release=str(folder), threads=THREADS)
    serve.run(build_app(args), name="searching", route_prefix="/searching")
    yield replace(service, version=f"tiny@{digest[:19]}", release=str(folder), app="searching")
    serve.delete("searching")


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)


def expected(inpainter: Inpainter, photo: Pixels, mask: Mask) -> Pixels:
    answer: Pixels = tensor_to_image(
        inpainter.inpaint(image_to_tensor(photo), mask_to_tensor(mask))
    )
    return answer


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
    searching_service: Service, searching: Inpainter, side: int, scales: int
) -> None:
    """The networks draw the first scale alone, and the match searches each."""
    photo, mask = draw_photo(side, side), draw_mask(side, side)
    before = searching_service.calls()
    steps: list[Step] = []
    options = InpaintOptions(seed=3)

    async def follow() -> Filled:
        engine = searching_service.engine()
        return await engine.inpaint(photo, mask, options, progress=steps.append)

    answer = asyncio.run(follow())

    image, hole = image_to_tensor(photo), mask_to_tensor(mask)
    wanted = tensor_to_image(searching.inpaint(image, hole, FillOptions(seed=3)))
    np.testing.assert_array_equal(answer.pixels, wanted)
    np.testing.assert_array_equal(answer.pixels[~mask], photo[~mask])
    assert steps == [Step(0, 1, level, scales) for level in range(scales)]
    calls = {node: count - before[node] for node, count in searching_service.calls().items()}
    assert calls == {
        "Image2Feature": 1,
        "PatchSwap": 1 + scales,
        "Feature2Image": 1,
        "Refiner": 1,
    }


def test_concurrent_searches_each_get_their_own_answer(
    searching_service: Service, searching: Inpainter
) -> None:
    sizes = [(96, 64), (130, 257), (320, 200)]
    cases = [
        (draw_photo(height, width, seed=seed), draw_mask(height, width, seed=seed))
        for seed, (height, width) in enumerate(sizes)
    ]

    async def ask() -> list[Filled]:
        engine = searching_service.engine()
        return await asyncio.gather(*(engine.inpaint(*case, InpaintOptions()) for case in cases))

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


def test_readiness_and_the_model(service: Service) -> None:
    client = Client(service.url)
    assert client.ready() == dict.fromkeys(NODES, True)
    response = httpx2.get(f"{service.url}/v1/models")
    assert response.headers["x-model-version"] == service.version


def test_a_bad_image_is_a_problem_document(service: Service) -> None:
    with pytest.raises(ClientError) as caught:
        Client(service.url).inpaint(b"no image", encode(draw_mask(64, 64)))
    assert (caught.value.status, caught.value.code) == (415, "image_format_not_allowed")


def test_an_error_of_the_refiner_is_a_problem_document(service: Service) -> None:
    photo, mask = draw_photo(96, 96), draw_mask(96, 96)
    with pytest.raises(ClientError) as caught:
        Client(service.url).inpaint(encode(photo), encode(mask), scales=9)
    assert (caught.value.status, caught.value.code) == (422, "options_do_not_fit")
    assert "Traceback" not in caught.value.detail


def test_a_request_has_one_id(service: Service) -> None:
    response = httpx2.get(f"{service.url}/healthz", headers={"x-request-id": "mine-1"})
    assert response.headers.get_list("x-request-id") == ["mine-1"]
    assert httpx2.get(f"{service.url}/healthz").headers["x-request-id"]


def test_a_request_given_up_is_cancelled(service: Service) -> None:
    photo, mask = draw_photo(512, 512), draw_mask(512, 512)
    before = service.calls()

    async def give_up() -> None:
        async with asyncio.timeout(0.2):
            await service.engine().inpaint(photo, mask, InpaintOptions())

    with pytest.raises(TimeoutError):
        asyncio.run(give_up())

    # Longer than the whole fill would take: what had begun ends, nothing else begins.
    time.sleep(4)
    after = service.calls()
    assert after["Refiner"] == before["Refiner"]
    assert after["Image2Feature"] - before["Image2Feature"] <= 1


def test_a_fill_that_is_followed_tells_its_scales(service: Service, inpainter: Inpainter) -> None:
    photo, mask = draw_photo(512, 512), draw_mask(512, 512)
    steps: list[Step] = []

    async def follow() -> Filled:
        return await service.engine().inpaint(photo, mask, InpaintOptions(), progress=steps.append)

    np.testing.assert_array_equal(asyncio.run(follow()).pixels, expected(inpainter, photo, mask))
    assert steps == [Step(0, 1, 0, 2), Step(0, 1, 1, 2)]
    with pytest.raises(InvalidInput):
        asyncio.run(
            service.engine().inpaint(photo, mask, InpaintOptions(scales=9), progress=steps.append)
        )


def test_work_behind_a_computation_is_not_done_for_those_who_left(service: Service) -> None:
    photo, mask = draw_photo(512, 512), draw_mask(512, 512)
    before = service.calls()

    async def most_leave() -> None:
        engine = service.engine()
        asked = [
            asyncio.create_task(engine.inpaint(photo, mask, InpaintOptions())) for _ in range(5)
        ]
        # All have arrived, none is done.
        await asyncio.sleep(0.3)
        for task in asked[1:]:
            task.cancel()
        results = await asyncio.gather(*asked, return_exceptions=True)
        assert [type(result) for result in results] == [Filled] + [asyncio.CancelledError] * 4

    asyncio.run(most_leave())
    calls = {node: count - before[node] for node, count in service.calls().items()}
    assert calls["Refiner"] == 1
    # Two scales of the one that stayed, and what others may have begun.
    assert 2 <= calls["Image2Feature"] <= 4
    assert 2 <= calls["Feature2Image"] <= 4


def test_what_is_too_late_is_not_begun(service: Service) -> None:
    photo, mask = draw_photo(96, 96), draw_mask(96, 96)
    before = service.calls()

    async def ask_too_late() -> None:
        refiner = service.handle("Refiner")
        await answer_of(refiner.inpaint.remote(photo, mask, InpaintOptions(), time.time() - 1))

    with pytest.raises(DeadlineExceeded, match="not begun"):
        asyncio.run(ask_too_late())
    assert service.calls() == before


def test_the_deadline_goes_with_the_request(service: Service) -> None:
    photo, mask = draw_photo(96, 96), draw_mask(96, 96)
    status = service.handle("Image2Feature").ready.remote().result()
    call = RequestContext(Release(service.release, status.model), deadline=time.time() - 1)
    array, hole = np.zeros((1, 3, 64, 64), np.float32), np.ones((1, 1, 64, 64), np.bool_)

    async def ask_too_late() -> None:
        node = service.handle("Image2Feature")
        await answer_of(node.infer.remote(call, array, hole))

    with pytest.raises(DeadlineExceeded):
        asyncio.run(ask_too_late())

    async def ask_in_time() -> Filled:
        async with answered_within(60):
            return await service.engine().inpaint(photo, mask, InpaintOptions())

    assert asyncio.run(ask_in_time()).model == status.model


def test_readiness_holds_behind_a_queue_while_fills_succeed(
    service: Service, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kintsugi.deploy.graph.ingress._READY_TIMEOUT_SECONDS", 0)
    engine = service.engine()

    async def ready_then_fill_then_ready() -> tuple[dict[str, bool], dict[str, bool]]:
        first = await engine.ready()
        await engine.inpaint(draw_photo(64, 64), draw_mask(64, 64), InpaintOptions())
        return first, await engine.ready()

    first, then = asyncio.run(ready_then_fill_then_ready())
    assert first == dict.fromkeys(NODES, False)
    assert then == dict.fromkeys(NODES, True)


def test_an_error_comes_back_as_it_was_raised(service: Service) -> None:
    photo, mask = draw_photo(96, 96), draw_mask(96, 96)
    fill = service.engine().inpaint(photo, mask, InpaintOptions(scales=9))
    with pytest.raises(InvalidInput, match=r"^scales=9") as caught:
        asyncio.run(fill)
    assert type(caught.value) is InvalidInput


def test_a_replica_that_dies_is_a_reason_to_try_again(service: Service) -> None:
    class Mortal:
        def die(self) -> None:
            os._exit(1)

    handle = serve.run(serve.deployment(Mortal).bind(), name="mortal", route_prefix=None)

    async def die() -> None:
        await answer_of(handle.die.remote())

    with pytest.raises(Busy):
        asyncio.run(die())
    serve.delete("mortal")

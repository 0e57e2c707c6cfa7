"""The serving graph on a local Ray cluster: errors, deadlines, those who leave, readiness."""

import asyncio
import os
import time

import httpx2
import numpy as np
import pytest
from ray import serve

from kintsugi.deploy.client import Client, ClientError
from kintsugi.deploy.deadline import DeadlineExceeded, answered_within
from kintsugi.deploy.engine import Busy, Filled
from kintsugi.deploy.graph.remote_calls import answer_of
from kintsugi.deploy.graph.request_context import Release, RequestContext
from kintsugi.deploy.options import InpaintOptions
from kintsugi.errors import InvalidInput
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.progress import Step
from tests.deploy.conftest import draw_mask, draw_photo, encode
from tests.deploy.graph.running_graph import (
    NODES,
    Service,
    expected,
)

pytestmark = [pytest.mark.ray, pytest.mark.usefixtures("same_threads")]


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


def test_a_client_who_leaves_is_cancelled(service: Service) -> None:
    """By Serve, and by nothing of ours in addition."""
    files = {"image": encode(draw_photo(1024, 1024)), "mask": encode(draw_mask(1024, 1024))}
    before = service.calls()
    with httpx2.Client(timeout=0.5) as leaving, pytest.raises(httpx2.ReadTimeout):
        leaving.post(f"{service.url}/v1/inpaint", files=files)
    # Its answer would end the wait, too, but with a call more.
    while httpx2.get(f"{service.url}/readyz", timeout=60).json()["requests"]:
        time.sleep(0.05)
    assert service.calls()["Refiner"] == before["Refiner"]


def test_a_fill_that_is_followed_reports_its_scales(service: Service, inpainter: Inpainter) -> None:
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

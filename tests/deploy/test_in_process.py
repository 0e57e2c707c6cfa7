"""The engine in this process: who gives up does not hold the next one up."""

import asyncio
import threading
from collections.abc import Awaitable, Callable

import numpy as np
import pytest
from torch import Tensor

from kintsugi.deploy import in_process
from kintsugi.deploy.engine import Filled
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.progress import Step
from tests.deploy.conftest import MASK, MODEL, PHOTO, STYLE

Call = Callable[[LocalEngine], Awaitable[Filled]]


def fill(engine: LocalEngine) -> Awaitable[Filled]:
    return engine.inpaint(PHOTO, MASK, InpaintOptions())


def transfer(engine: LocalEngine) -> Awaitable[Filled]:
    return engine.stylize(PHOTO, STYLE, StylizeOptions())


class HeldEncoder:
    """The encoder's call, which waits until it is let go; counts what is translated after."""

    def __init__(self, inpainter: Inpainter, monkeypatch: pytest.MonkeyPatch) -> None:
        self.reached, self.let_go, self.translated = threading.Event(), threading.Event(), 0
        features, translate = Inpainter.features, Inpainter.translate

        def held(image: Tensor, *colours: Tensor) -> Tensor:
            self.reached.set()
            assert self.let_go.wait(30)
            return features(inpainter, image, *colours)

        def counted(*args: Tensor) -> Tensor:
            self.translated += 1
            return translate(inpainter, *args)

        monkeypatch.setattr(inpainter, "features", held)
        monkeypatch.setattr(inpainter, "translate", counted)


@pytest.mark.parametrize("call", [fill, transfer])
def test_a_call_that_is_cancelled_ends_at_its_next_step(
    inpainter: Inpainter, monkeypatch: pytest.MonkeyPatch, call: Call
) -> None:
    expected = asyncio.run(_answer(LocalEngine(inpainter, MODEL), call))
    trimmed: list[None] = []
    monkeypatch.setattr(in_process, "trim_heap", lambda: trimmed.append(None))
    encoder = HeldEncoder(inpainter, monkeypatch)

    async def give_up_then_ask() -> Filled:
        engine = LocalEngine(inpainter, MODEL)
        given_up = asyncio.ensure_future(call(engine))
        await asyncio.to_thread(encoder.reached.wait, 30)
        in_the_queue = asyncio.ensure_future(call(engine))
        await asyncio.sleep(0)
        for task in (given_up, in_the_queue):
            task.cancel()
        await asyncio.wait([given_up, in_the_queue])
        assert given_up.cancelled()
        assert in_the_queue.cancelled()
        encoder.let_go.set()
        return await call(engine)

    answer = asyncio.run(give_up_then_ask())

    assert encoder.translated == 1
    # Once: what was in the queue had no memory.
    assert len(trimmed) == 1
    np.testing.assert_array_equal(answer.pixels, expected.pixels)


async def _answer(engine: LocalEngine, call: Call) -> Filled:
    return await call(engine)


def test_both_say_how_far_they_are(inpainter: Inpainter) -> None:
    engine = LocalEngine(inpainter, MODEL)
    of_fill: list[Step] = []
    of_transfer: list[Step] = []
    asyncio.run(_all(engine.inpaint(PHOTO, MASK, InpaintOptions(), progress=of_fill.append)))
    asyncio.run(_all(engine.stylize(PHOTO, STYLE, StylizeOptions(), progress=of_transfer.append)))
    assert of_fill[0].fraction == of_transfer[0].fraction == 0


async def _all(work: Awaitable[Filled]) -> Filled:
    return await work

"""Memory of requests is given back after them, however long they took and however they ended."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy import memory
from kintsugi.deploy.engine import Filled
from kintsugi.deploy.memory import MemoryReturn
from tests.deploy.conftest import MODEL, PHOTO, encode, post


@pytest.fixture
def trims(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """When the heap was trimmed, which it is."""
    moments: list[float] = []
    trim = memory.trim_heap

    def noted() -> None:
        trim()
        moments.append(time.monotonic())

    monkeypatch.setattr(memory, "trim_heap", noted)
    return moments


class SlowEngine:
    """Takes longer than a trim is waited for."""

    def __init__(self, error: Exception | None = None) -> None:
        self.ended = 0.0
        self._error = error

    async def inpaint(self, pixels: Any, mask: Any, options: Any, **_: Any) -> Filled:
        await asyncio.sleep(0.4)
        self.ended = time.monotonic()
        if self._error is not None:
            raise self._error
        return Filled(np.full_like(pixels[..., :3], 9), MODEL)


@pytest.mark.parametrize("error", [None, RuntimeError("a bug")])
def test_the_heap_is_trimmed_after_a_request_that_took_long(
    make_client: Callable[..., TestClient],
    monkeypatch: pytest.MonkeyPatch,
    trims: list[float],
    error: Exception | None,
) -> None:
    monkeypatch.setattr(memory.MemoryReturn.__init__, "__kwdefaults__", {"seconds": 0.1})
    engine = SlowEngine(error)
    with make_client(engine) as client:
        assert post(client).status_code == (200 if error is None else 500)
        _wait_for(lambda: bool(trims) and trims[-1] > engine.ended)


def test_the_heap_is_trimmed_after_a_preview(
    make_client: Callable[..., TestClient], monkeypatch: pytest.MonkeyPatch, trims: list[float]
) -> None:
    monkeypatch.setattr(memory.MemoryReturn.__init__, "__kwdefaults__", {"seconds": 0.1})
    with make_client() as client:
        assert client.post("/v1/preview", files={"image": encode(PHOTO)}).status_code == 200
        _wait_for(lambda: bool(trims))


def test_what_ends_shortly_before_a_trim_has_another_one(trims: list[float]) -> None:
    async def go() -> list[float]:
        given_back, asked = MemoryReturn(seconds=0.2), []
        for _ in range(3):
            given_back.soon()
            asked.append(time.monotonic())
            await asyncio.sleep(0.05)
        await asyncio.sleep(1.0)
        return asked

    asked = asyncio.run(go())
    # One for the first, and one for those that came meanwhile.
    assert len(trims) == 2
    assert trims[-1] >= asked[-1] + 0.2


def _wait_for(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.02)

"""Many who ask at one time cost one call."""

import asyncio
from types import SimpleNamespace

import pytest

from kintsugi.deploy.admission.cached_call import CachedCall


class Counted:
    def __init__(self) -> None:
        self.calls = 0
        self.fails = False

    async def __call__(self) -> int:
        self.calls += 1
        await asyncio.sleep(0)
        if self.fails:
            raise ValueError("no")
        return self.calls


def test_many_ask_and_one_call_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr(
        "kintsugi.deploy.admission.cached_call.time", SimpleNamespace(monotonic=lambda: now)
    )

    async def go() -> list[int]:
        nonlocal now
        counted = Counted()
        cached = CachedCall(counted, seconds=0.2)
        answers = await asyncio.gather(*(cached.get() for _ in range(50)))
        now += 0.1
        answers.append(await cached.get())
        now += 0.2
        answers.append(await cached.get())
        return answers

    assert asyncio.run(go()) == [1] * 51 + [2]


def test_a_failure_is_not_kept() -> None:
    counted = Counted()
    cached = CachedCall(counted, seconds=60)

    async def go() -> int:
        counted.fails = True
        with pytest.raises(ValueError, match="no"):
            await cached.get()
        counted.fails = False
        return await cached.get()

    assert asyncio.run(go()) == 2


def test_it_outlives_a_loop() -> None:
    cached = CachedCall(Counted(), seconds=60)
    assert [asyncio.run(cached.get()) for _ in range(2)] == [1, 2]

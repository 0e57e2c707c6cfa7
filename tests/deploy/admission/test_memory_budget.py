"""Large files that wait for no turn are open one after the other; small ones never wait."""

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kintsugi.deploy.admission.memory_budget import MemoryBudget
from kintsugi.deploy.engine import Observer
from kintsugi.deploy.http.access_log import AccessRecord
from kintsugi.deploy.http.codec import (
    AnyForm,
    decode_photo,
    encode_answer,
    files_of,
    make_preview,
    memory_megapixels,
    save_edited,
)
from kintsugi.deploy.http.image_service import ImageService
from kintsugi.deploy.http.request_kinds import InpaintForm, PreviewForm, SaveForm
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.options import FileOptions, InpaintOptions
from kintsugi.deploy.sandbox.codec_pool import CodecPool
from kintsugi.deploy.settings import AppArgs
from kintsugi.imaging.codec import ImageLimits
from kintsugi.imaging.encoders.deep_samples import write_deep_png
from kintsugi.imaging.limits import check_header
from kintsugi.models.inpainter import Inpainter
from tests.deploy.conftest import MODEL, encode

SIDE = 1200
LIMITS = ImageLimits()


def picture(bits: int, *, clear: bool, side: int = SIDE) -> bytes:
    pixels = np.zeros((side, side, 4 if clear else 3), np.uint8)
    pixels[..., 0] = np.arange(side) % 251
    pixels[9:, :, 3:] = 255
    if bits == 8:
        return encode(pixels, compress_level=1)
    return write_deep_png(pixels.astype(np.uint16) * 257)


def price(form: AnyForm) -> float:
    return memory_megapixels(
        form, [check_header(data, LIMITS, name)[1] for name, data in files_of(form).items()]
    )


def test_what_does_not_fit_waits_and_what_is_small_does_not() -> None:
    async def go() -> None:
        budget, open_now = MemoryBudget(20), []

        async def hold(name: str, megapixels: float, until: asyncio.Event) -> None:
            async with budget.room(megapixels):
                open_now.append(name)
                await until.wait()
                open_now.remove(name)

        ends = [asyncio.Event() for _ in range(5)]
        sizes = [("a", 12.0), ("b", 100.0), ("c", 8.0), ("d", 4.0), ("e", 8.0)]
        tasks = []
        for (name, size), end in zip(sizes, ends, strict=True):
            tasks.append(asyncio.create_task(hold(name, size, end)))
            await asyncio.sleep(0)
        # Those behind one that is too large do not pass it: it would wait for ever.
        assert open_now == ["a", "d"]
        assert budget.held == 12
        tasks[2].cancel()
        ends[0].set()
        await asyncio.sleep(0.01)
        assert open_now == ["d", "b"], "one alone may have more"
        tasks[1].cancel()
        await asyncio.sleep(0.01)
        assert open_now == ["d", "b", "e"]
        for end in ends:
            end.set()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert budget.held == 0

    asyncio.run(go())


@pytest.mark.parametrize(("size", "together"), [(SIDE, 1), (300, 2)])
def test_two_large_saves_are_not_open_at_one_time(
    inpainter: Inpainter, monkeypatch: pytest.MonkeyPatch, size: int, together: int
) -> None:
    args = AppArgs(release="unused", max_large_megapixels=10, codec_processes=2)
    service = ImageService(LocalEngine(inpainter, MODEL), args, Observer())
    edited = picture(16, clear=True, side=size)
    form = SaveForm(edited, edited, FileOptions())
    running, most, exchange = 0, 0, CodecPool.exchange

    async def counted(pool: CodecPool, *given: Any) -> Any:
        nonlocal running, most
        running += 1
        most = max(most, running)
        try:
            await asyncio.sleep(0.3)
            return await exchange(pool, *given)
        finally:
            running -= 1

    monkeypatch.setattr(CodecPool, "exchange", counted)

    async def go() -> None:
        await asyncio.gather(*(service.rewrite(form, AccessRecord()) for _ in range(2)))

    assert (2 * price(form) > 10) == (together == 1)
    try:
        asyncio.run(go())
    finally:
        service.close()
    assert most == together


def save(form: SaveForm) -> None:
    save_edited(form, LIMITS)


def preview(form: PreviewForm) -> None:
    make_preview(form, LIMITS)


def fill(form: InpaintForm) -> None:
    opened = decode_photo(form, LIMITS)
    pixels = opened.image.seen.copy()
    pixels[opened.mask] = 9
    encode_answer(opened.image, pixels, form.options, original=opened.original)


@pytest.mark.parametrize("clear", [False, True])
@pytest.mark.parametrize("bits", [8, 16])
def test_nothing_takes_more_than_its_price(bits: int, clear: bool) -> None:
    data = picture(bits, clear=clear)
    # What is loaded late is loaded here, as in the fork server.
    save(SaveForm(*2 * (picture(bits, clear=clear, side=64),), FileOptions()))
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[50:90, 50:90] = True
    assert peak(lambda: preview(PreviewForm(data))) < 1.1 * allowed(PreviewForm(data))
    form = SaveForm(data, data, FileOptions())
    assert peak(lambda: save(form)) < 1.1 * allowed(form)
    asked = InpaintForm(data, encode(mask), InpaintOptions())
    assert peak(lambda: fill(asked)) < 1.1 * allowed(asked)


def allowed(form: AnyForm) -> float:
    """Bytes; and a few megabytes that follow no size."""
    return price(form) * 14e6 + 16e6


def peak(work: Callable[[], None]) -> int:
    """Bytes that it takes beyond what there was, in a process of its own."""
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            # The peak up to here counts no more.
            Path("/proc/self/clear_refs").write_text("5")
            before = resident("VmRSS")
            work()
            os.write(writer, str(resident("VmHWM") - before).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as said:
        taken = said.read()
    os.waitpid(pid, 0)
    return int(taken)


def resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * next(int(line.split()[1]) for line in lines if line.startswith(name))

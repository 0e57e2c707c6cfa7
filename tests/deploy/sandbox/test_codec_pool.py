"""Bombs, crashes and impatience end one process, and nobody else's request."""

import asyncio
import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import pytest

from kintsugi.deploy.engine import Observer, WorkerDied
from kintsugi.deploy.http.codec import decode_photo
from kintsugi.deploy.http.request_kinds import InpaintForm, StylizeForm
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.deploy.sandbox import codec_pool, fork_client, worker
from kintsugi.deploy.sandbox.codec_pool import CodecPool
from kintsugi.deploy.sandbox.fork_client import CodecProcess, ForkServer
from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import ImageLimits
from tests.deploy.conftest import MASK, PHOTO, STYLE, decode, encode
from tests.kintsugi import bombs

Value = TypeVar("Value")

FORM = InpaintForm(encode(PHOTO), encode(MASK), InpaintOptions())
LENIENT = ImageLimits(max_scans=10**6, max_segments=10**6, max_scan_megapixels=1e12)


@pytest.fixture(scope="module")
def server() -> Iterator[ForkServer]:
    started = ForkServer()
    yield started
    started.stop()


@pytest.fixture
def make_pool(server: ForkServer) -> Callable[..., CodecPool]:
    def make(limits: ImageLimits = ImageLimits(), **settings: Any) -> CodecPool:
        given = {"processes": 2, "max_content_pixels": 10**6, "server": server, **settings}
        return CodecPool(limits, Observer(), **given)

    return make


def children(server: ForkServer) -> list[int]:
    """Processes that the server has forked and that live."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == server.pid and fields[0] != "Z":
            found.append(int(stat.parent.name))
    return found


def ended(server: ForkServer) -> bool:
    return comes_true(lambda: not children(server))


def comes_true(condition: Callable[[], bool]) -> bool:
    """Whether it does in two minutes: nothing here takes a tenth of that."""
    give_up = time.monotonic() + 120
    while not (holds := condition()) and time.monotonic() < give_up:
        time.sleep(0.01)
    return holds


async def fill(pool: CodecPool, form: InpaintForm = FORM, shade: int = 9) -> np.ndarray:
    async with pool.opened(form) as files:
        photo = await files.photo()
        answer = await files.write(np.full_like(photo.pixels, shade))
    return decode(answer.body)


def test_a_photograph_goes_in_and_an_answer_comes_out(
    make_pool: Callable[..., CodecPool], server: ForkServer
) -> None:
    async def go() -> None:
        async with make_pool().opened(FORM) as files:
            photo = await files.photo()
            expected = decode_photo(FORM, ImageLimits())
            np.testing.assert_array_equal(photo.pixels, expected.image.pixels)
            np.testing.assert_array_equal(photo.mask, expected.mask)
            assert photo.hole_share == MASK.mean()
            answer = await files.write(photo.pixels)
        np.testing.assert_array_equal(decode(answer.body), PHOTO)

    asyncio.run(go())
    assert ended(server)


def test_of_a_large_photograph_only_a_part_is_given(make_pool: Callable[..., CodecPool]) -> None:
    pixels = np.random.default_rng(0).integers(0, 255, (1500, 3000, 3), np.uint8)
    mask = np.zeros((1500, 3000), np.bool_)
    mask[700:731, 2000:2031] = True

    async def go() -> None:
        form = InpaintForm(encode(pixels, compress_level=1), encode(mask), InpaintOptions())
        async with make_pool().opened(form) as files:
            photo = await files.photo()
            assert photo.pixels.size < pixels.size / 2
            assert (photo.height, photo.width) == (1500, 3000)
            rows, columns = np.nonzero(photo.mask)
            photo.pixels[photo.mask] = 7
            answer = decode((await files.write(photo.pixels)).body)
        assert len(rows) == len(columns) == 31 * 31
        expected = pixels.copy()
        expected[mask] = 7
        np.testing.assert_array_equal(answer, expected)

    asyncio.run(go())


def test_a_pair(make_pool: Callable[..., CodecPool]) -> None:
    async def go() -> None:
        form = StylizeForm(encode(PHOTO), encode(STYLE), StylizeOptions())
        async with make_pool().opened(form) as files:
            pair = await files.pair()
            np.testing.assert_array_equal(pair.content, PHOTO)
            np.testing.assert_array_equal(pair.style, STYLE)
            np.testing.assert_array_equal(decode((await files.write(PHOTO)).body), PHOTO)

    asyncio.run(go())


def test_what_is_wrong_is_said_as_it_would_be_here(make_pool: Callable[..., CodecPool]) -> None:
    bad = InpaintForm(encode(PHOTO), encode(MASK[:-1]), InpaintOptions())
    with pytest.raises(InvalidInput) as caught:
        asyncio.run(fill(make_pool(), bad))
    assert caught.value.code == "size_mismatch"
    assert caught.value.hint.startswith("send both at the same size")


def test_a_bomb_that_no_header_shows_uses_no_more_than_its_time(
    make_pool: Callable[..., CodecPool], server: ForkServer
) -> None:
    """As if the headers were not read: a lie must do no more harm than this."""
    bomb = InpaintForm(bombs.scan_bomb(60_000, 1400, 1400), encode(MASK), InpaintOptions())
    began = time.monotonic()
    with pytest.raises(InvalidInput) as caught:
        asyncio.run(fill(make_pool(LENIENT), bomb))
    assert caught.value.code == "image_too_costly"
    # It was killed, and not done: its time was used up.
    assert time.monotonic() - began > 2
    assert ended(server)


def test_memory_is_limited(
    make_pool: Callable[..., CodecPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A process of its own, so that its limit is this test's."""
    monkeypatch.setattr(worker, "_MEMORY_BYTES", 2**20)
    monkeypatch.setattr(worker, "_MEMORY_BYTES_A_PIXEL", 0)
    large = InpaintForm(bombs.scan_bomb(1), encode(MASK), InpaintOptions())
    state = worker._State()
    head = {**make_pool().request_of(large)[0], "check": True}
    reader, writer = os.pipe()
    if not (pid := os.fork()):
        try:
            reply, _ = worker._answer(state, head, [bytearray(large.image), bytearray()])
            os.write(writer, str(reply).encode())
        finally:
            os._exit(0)
    os.waitpid(pid, 0)
    os.close(writer)
    with os.fdopen(reader) as said:
        # Which of the two depends on who asked for it, the decoder or Python.
        reply = said.read()
    assert "exhausted" in reply or "image_undecodable" in reply


def test_who_gives_up_kills_the_process(
    make_pool: Callable[..., CodecPool], server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    bomb = InpaintForm(bombs.scan_bomb(4_000, 2_500, 2_500), encode(MASK), InpaintOptions())
    # Otherwise its own limit of processor time might be what ends it.
    monkeypatch.setattr(worker, "_OPEN_SECONDS", 600.0)
    own = ForkServer()
    statuses: list[int | None] = []
    end = CodecProcess.end

    def noted(process: CodecProcess, *, grace: float = 0.0) -> int | None:
        statuses.append(end(process, grace=grace))
        return statuses[-1]

    monkeypatch.setattr(CodecProcess, "end", noted)

    async def go() -> None:
        pool = make_pool(LENIENT, server=own)
        asked = asyncio.create_task(fill(pool, bomb))
        while not children(own):
            await asyncio.sleep(0.01)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        assert [os.WTERMSIG(status or 0) for status in statuses] == [signal.SIGKILL]
        # Its turn is free again.
        assert (await fill(pool)).shape == PHOTO.shape

    try:
        asyncio.run(go())
        assert ended(own)
    finally:
        own.stop()


def test_who_gives_up_while_it_is_forked_leaves_none(
    make_pool: Callable[..., CodecPool], server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    fork, forking, given_up, forked = server.fork, *(threading.Event() for _ in range(3))

    def slow() -> Any:
        forking.set()
        given_up.wait()
        try:
            return fork()
        finally:
            forked.set()

    monkeypatch.setattr(server, "fork", slow)

    async def go() -> None:
        asked = asyncio.create_task(fill(make_pool()))
        await asyncio.to_thread(forking.wait)
        asked.cancel()
        with pytest.raises(asyncio.CancelledError):
            await asked
        given_up.set()
        await asyncio.to_thread(forked.wait)

    asyncio.run(go())
    assert ended(server)


def test_few_use_a_processor_at_one_time(make_pool: Callable[..., CodecPool]) -> None:
    pool, running, most = make_pool(processes=2), 0, 0
    lock = threading.Lock()
    exchange = pool.exchange

    async def counted(*given: Any) -> Any:
        nonlocal running, most
        with lock:
            running += 1
            most = max(most, running)
        try:
            return await exchange(*given)
        finally:
            running -= 1

    pool.exchange = counted  # type: ignore[method-assign]

    async def go() -> list[np.ndarray]:
        return await asyncio.gather(*(fill(pool) for _ in range(8)))

    assert len(asyncio.run(go())) == 8
    assert most == 2


def kill_children(server: ForkServer) -> None:
    for pid in children(server):
        os.kill(pid, signal.SIGKILL)


def test_a_process_that_is_killed_is_replaced(
    make_pool: Callable[..., CodecPool], server: ForkServer
) -> None:
    async def go(kill: Callable[[], None]) -> np.ndarray:
        async with make_pool().opened(FORM) as files:
            photo = await files.photo()
            kill()
            return decode((await files.write(photo.pixels)).body)

    np.testing.assert_array_equal(asyncio.run(go(lambda: kill_children(server))), PHOTO)

    def kill_server() -> None:
        assert server.pid is not None
        os.kill(server.pid, signal.SIGKILL)

    np.testing.assert_array_equal(asyncio.run(go(kill_server)), PHOTO)


def test_one_that_is_killed_each_time_is_given_up(
    make_pool: Callable[..., CodecPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool()

    async def killed(process: Any, *_: Any) -> Any:
        process.sock.close()
        raise codec_pool.BrokenMessage("it ended early")

    monkeypatch.setattr(pool, "exchange", killed)
    monkeypatch.setattr(codec_pool, "_GRACE_SECONDS", 0.0)
    with pytest.raises(WorkerDied):
        asyncio.run(fill(pool))


def test_no_secret_is_in_its_environment(
    make_pool: Callable[..., CodecPool], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "very-secret")
    own = ForkServer()
    own.start()
    try:
        environment = Path(f"/proc/{own.pid}/environ").read_bytes()
        assert b"PYTHONPATH" in environment
        assert b"very-secret" not in environment
    finally:
        own.stop()


def test_it_cannot_write_files(server: ForkServer, tmp_path: Path) -> None:
    process = server.fork()
    try:
        limits = Path(f"/proc/{children(server)[0]}/limits")
        assert comes_true(lambda: "Max file size             0 " in limits.read_text())
    finally:
        process.end()


@pytest.fixture
def own_server(monkeypatch: pytest.MonkeyPatch) -> Iterator[ForkServer]:
    """One that is not waited for, and that a test may spoil."""
    monkeypatch.setattr(fork_client, "_ANSWER_SECONDS", 0.5)
    own = ForkServer()
    own.start()
    yield own
    own.stop()


@pytest.mark.parametrize("at", ["fork", "end"])
def test_an_answer_that_comes_late_is_not_taken_for_the_next_one(
    make_pool: Callable[..., CodecPool], own_server: ForkServer, at: str
) -> None:
    pool, late = make_pool(server=own_server), own_server.pid
    assert late is not None

    async def go() -> None:
        async with pool.opened(FORM) as files:
            if at == "fork":
                os.kill(late, signal.SIGSTOP)
            photo = await files.photo()
            if at == "end":
                os.kill(late, signal.SIGSTOP)
        # It may be gone by now.
        with contextlib.suppress(ProcessLookupError):
            os.kill(late, signal.SIGCONT)
        assert photo.pixels.shape == PHOTO.shape
        for shade in range(3):
            assert (await fill(pool, shade=shade))[MASK].max() == shade

    asyncio.run(go())
    assert own_server.pid not in (None, late)
    assert ended(own_server)


def test_it_is_known_when_no_file_can_be_opened(
    make_pool: Callable[..., CodecPool], own_server: ForkServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = make_pool(server=own_server)

    async def go() -> None:
        assert await pool.works()
        with monkeypatch.context() as broken:
            broken.setattr(fork_client.sys, "executable", "/bin/false")
            own_server.stop()
            with pytest.raises(fork_client.ServerGone):
                await fill(pool)
            assert not await pool.works()
        assert await pool.works()
        assert not pool.is_in_doubt

    asyncio.run(go())

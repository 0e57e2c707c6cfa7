"""Photographs opened and answers written in processes that are killed when nobody waits.

A request has one process, from its files to its answer: cancelling the request, by its deadline
or because its client has gone, kills the process and gives its memory back.
"""

import asyncio
import logging
import os
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from kintsugi.deploy.engine import Observer, Pixels, WorkerDied
from kintsugi.deploy.http.codec import AnyForm, EncodedAnswer, files_of
from kintsugi.deploy.http.request_kinds import InpaintForm, PreviewForm, SaveForm, StylizeForm
from kintsugi.deploy.sandbox.fork_client import SHARED, CodecProcess, ForkServer, ServerGone
from kintsugi.deploy.sandbox.wire import (
    Blob,
    BrokenMessage,
    Message,
    array,
    contents,
    receive_message,
    samples,
    send_message,
)
from kintsugi.deploy.sandbox.worker import too_costly
from kintsugi.errors import InputError, InvalidInput, TooLarge, UnsupportedFormat
from kintsugi.imaging.codec import ImageLimits, encode_image

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

_KINDS = {kind.__name__: kind for kind in (InvalidInput, TooLarge, UnsupportedFormat)}
_DOES: dict[type, str] = {
    InpaintForm: "fill",
    StylizeForm: "style",
    PreviewForm: "preview",
    SaveForm: "save",
}
# A process that somebody else killed: its request is taken up by another one so often.
_TRIES = 3
# How long a process may take to die whose socket is closed.
_GRACE_SECONDS = 2.0
_MOST_THREADS = 64
# A try, by which it is found out whether files can be opened; what probes ask waits for it.
_PROBE = PreviewForm(encode_image(np.zeros((16, 16, 3), np.uint8)))
_PROBE_SECONDS = 2.0


class _ProcessLost(Exception):
    """The process was killed by somebody else: another one can do the same."""


class _ProcessFailed(RuntimeError):
    """The process ended by a bug: its log says which."""


@dataclass
class OpenedPhoto:
    """What a fill needs of an opened photograph.

    Attributes:
        height, width: Of the whole photograph.
        hole_share: Part of it that is hole, 0-1.
        pixels: As `Engine.inpaint` takes them: the part of it that decides the fill.
        mask: bool h w, True = hole.
    """

    height: int
    width: int
    hole_share: float
    pixels: Pixels
    mask: npt.NDArray[np.bool_]


@dataclass
class OpenedPair:
    """Content (H W 3, RGB, of 8 or 16 bits) and style (uint8 H2 W2 3) of a transfer."""

    content: Pixels
    style: npt.NDArray[np.uint8]


class Opened:
    """The files of one request, opened in a process of their own; see `CodecPool.opened`."""

    def __init__(self, pool: "CodecPool", form: AnyForm) -> None:
        self._pool = pool
        self._form = form
        self._process: CodecProcess | None = None
        self._closed = False
        self._changing = threading.Lock()

    async def photo(self) -> OpenedPhoto:
        """Open image and mask. Raises: InputError, as `decode_photo`; WorkerDied."""
        head, (pixels, mask) = await self._pool.observed("decode", self._open)
        height, width = head["size"]
        shape = head["shape"]
        return OpenedPhoto(
            height,
            width,
            head["holes"] / (height * width),
            samples(pixels, (*shape, head["channels"]), head["bits"]),
            array(mask, shape).view(np.bool_),
        )

    async def pair(self) -> OpenedPair:
        """Open content and style. Raises: InputError, as `decode_pair`; WorkerDied."""
        head, (content, style) = await self._pool.observed("decode", self._open)
        pixels = samples(content, (*head["size"], 3), head["bits"])
        return OpenedPair(pixels, array(style, (*head["style"], 3)))

    async def rewritten(self) -> tuple[EncodedAnswer, tuple[int, int]]:
        """What a preview or a save asks for, and its height and width.

        Raises: InputError, as `make_preview` and `save_edited`; WorkerDied.
        """
        head, (body,) = await self._pool.observed("decode", self._open)
        height, width = head["size"]
        notes = tuple(str(note) for note in head["notes"])
        return EncodedAnswer(bytes(body), notes, str(head["format"])), (height, width)

    async def probe(self) -> None:
        """Open all, without waiting for a turn. Raises: as above; ServerGone."""
        await self._open()

    async def check(self) -> None:
        """Open all and give nothing back. Raises: as above."""
        await self._pool.observed("decode", lambda: self._open(check=True))

    async def write(self, pixels: Pixels) -> EncodedAnswer:
        """The answer's file, with these pixels where `photo` or `pair` gave some.

        Raises: InvalidInput `image_too_costly`; WorkerDied.
        """
        head, (body,) = await self._pool.observed("encode", lambda: self._finish(pixels))
        notes = tuple(str(note) for note in head["notes"])
        return EncodedAnswer(bytes(body), notes, str(head["format"]))

    async def close(self) -> None:
        """Kill the process."""
        with self._changing:
            self._closed = True
        await self._end()

    async def _end(self) -> None:
        process, self._process = self._process, None
        if process is not None:
            await self._pool.in_thread(process.end)

    def _fork(self) -> None:
        """In a thread, which a request that is given up does not stop."""
        process = self._pool.forked()
        with self._changing:
            if not self._closed:
                self._process = process
                return
        process.end()

    async def _open(self, *, check: bool = False) -> Message:
        for _ in range(_TRIES):
            try:
                return await self._opened_once(check)
            except _ProcessLost as lost:
                last = lost
        raise WorkerDied(f"codec processes were lost {_TRIES} times") from last

    async def _opened_once(self, check: bool) -> Message:
        await self._end()
        await self._pool.in_thread(self._fork)
        head, files = self._pool.request_of(self._form)
        return await self._exchange({**head, "check": check}, files)

    async def _finish(self, pixels: Pixels) -> Message:
        for _ in range(_TRIES):
            try:
                return await self._exchange({"do": "finish"}, [contents(pixels)])
            except _ProcessLost as lost:
                # What it held is gone with it.
                last = lost
                await self._open()
        raise WorkerDied(f"codec processes were lost {_TRIES} times") from last

    async def _exchange(self, head: dict[str, Any], blobs: list[Blob]) -> Message:
        process = self._process
        assert process is not None
        try:
            reply, received = await self._pool.exchange(process, head, blobs)
        except (BrokenMessage, OSError) as error:
            self._process = None
            status = await self._pool.in_thread(lambda: process.end(grace=_GRACE_SECONDS))
            reason = _reason(status)
            # What a file did says nothing of others.
            self._pool.is_in_doubt |= not isinstance(reason, InputError)
            raise reason from error
        self._pool.is_in_doubt = False
        if "exhausted" in reply:
            raise too_costly()
        if "refused" in reply:
            raise _refused(reply["refused"])
        return reply, received


class CodecPool:
    """Opens and writes files, a few at one time.

    Attributes:
        is_in_doubt: The last process of all died by nobody's file, or could not be had.
    """

    def __init__(
        self,
        limits: ImageLimits,
        observer: Observer,
        *,
        processes: int,
        max_content_pixels: int,
        server: ForkServer = SHARED,
    ) -> None:
        """Start nothing.

        Args:
            limits: What files are accepted.
            observer: Is called with how long each took.
            processes: How many use a processor at one time; one that waits for its fill does not.
            max_content_pixels: As `decode_pair`.
            server: Forks them.
        """
        self.server = server
        self.is_in_doubt = False
        self._limits = limits
        self._observer = observer
        self._turns = asyncio.Semaphore(processes)
        self._max_content_pixels = max_content_pixels
        self._threads = ThreadPoolExecutor(_MOST_THREADS, thread_name_prefix="codec")

    async def start(self) -> None:
        """Have the fork server started: the first request's deadline is not for that."""
        if self.server.pid is None:
            await self.in_thread(lambda: self._asked(self.server.start))

    async def works(self) -> bool:
        """Whether files can be opened: as the last one showed, or where that failed, a try."""
        if not self.is_in_doubt:
            return True
        try:
            async with asyncio.timeout(_PROBE_SECONDS), self.opened(_PROBE) as files:
                await files.probe()
        except InputError:
            # By limits of its own; that is an answer.
            return True
        except (TimeoutError, ServerGone, WorkerDied, _ProcessFailed) as error:
            logger.error("no file can be opened: %s", error)
            return False
        return True

    def forked(self) -> CodecProcess:
        """A fresh process. Raises: ServerGone."""
        return self._asked(self.server.fork)

    def _asked(self, call: Callable[[], Result]) -> Result:
        try:
            return call()
        except ServerGone:
            self.is_in_doubt = True
            raise

    def close(self) -> None:
        """End the threads, each after its call; the pool is of no use afterwards."""
        self._threads.shutdown(wait=False)

    @asynccontextmanager
    async def opened(self, form: AnyForm) -> AsyncIterator[Opened]:
        """The files of a request; what was opened is gone when the block ends."""
        opened = Opened(self, form)
        try:
            yield opened
        finally:
            # Also where the block is cancelled, which it is but once.
            await asyncio.shield(opened.close())

    def request_of(self, form: AnyForm) -> tuple[dict[str, Any], list[Blob]]:
        """What a process is asked to open."""
        files = files_of(form)
        head = {
            "do": _DOES[type(form)],
            "files": list(files),
            "options": form.options.model_dump(mode="json"),
            "limits": asdict(self._limits),
            "max_content_pixels": self._max_content_pixels,
        }
        return head, list(files.values())

    async def exchange(
        self, process: CodecProcess, head: dict[str, Any], blobs: list[Blob]
    ) -> Message:
        """Send a message and await its answer. Raises: BrokenMessage, OSError."""
        # No more than four channels of 16 bits of two files; an answer's file may be larger than
        # its pixels.
        most = 16 * self._limits.max_pixels + 2**24

        def ask() -> Message:
            with process.busy:
                send_message(process.sock, head, blobs)
                return receive_message(process.sock, most)

        return await self.in_thread(ask)

    async def in_thread(self, call: Callable[[], Result]) -> Result:
        """Run what blocks until a process answers or is dead."""
        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def observed(self, stage: str, work: Callable[[], Any]) -> Any:
        """Do work that takes a processor, when it has its turn."""
        async with self._turns:
            started = time.perf_counter()
            result = await work()
            self._observer.stage(stage, time.perf_counter() - started)
        return result


def _refused(reply: dict[str, str]) -> InputError:
    """The error as it was raised over there, if it is one of those that a file can cause."""
    kind = _KINDS.get(reply["kind"], InvalidInput)
    return kind(reply["message"], code=reply["code"], hint=reply["hint"])


def _reason(status: int | None) -> Exception:
    """Why a process has ended without an answer."""
    killed = status is None or (os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL)
    # Without an answer it ends well only when the socket was closed on it.
    if killed or status == 0:
        return _ProcessLost("killed")
    assert status is not None
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        if number == signal.SIGXCPU:
            return too_costly()
        logger.error("a codec process ended by %s", signal.Signals(number).name)
        return InvalidInput(
            "the image cannot be decoded: its data is broken",
            code="image_undecodable",
            hint="open it in an image viewer and save it again",
        )
    return _ProcessFailed(f"a codec process ended with status {status}: its log says why")

"""One codec process: holds one photograph, from its file to the answer's file; is then gone.

It is forked by `kintsugi.deploy.sandbox.fork_server`, with limits of processor time and memory
that follow from what the files promise. What it decodes never leaves it but for the part that
a fill looks at.
"""

import ctypes
import os
import resource
import signal
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kintsugi.deploy.engine import Pixels
from kintsugi.deploy.http.codec import (
    EncodedAnswer,
    decode_pair,
    decode_photo,
    encode_answer,
    make_preview,
    save_edited,
)
from kintsugi.deploy.http.request_kinds import InpaintForm, PreviewForm, SaveForm, StylizeForm
from kintsugi.deploy.options import AnswerOptions, FileOptions, InpaintOptions, StylizeOptions
from kintsugi.deploy.sandbox.wire import (
    Blob,
    BrokenMessage,
    contents,
    receive_message,
    samples,
    send_message,
)
from kintsugi.errors import InputError, InvalidInput
from kintsugi.imaging.codec import ImageLimits
from kintsugi.imaging.decode_cost import read_decode_cost
from kintsugi.imaging.fill_window import Box, seen_window
from kintsugi.imaging.headers import sniff_format
from kintsugi.imaging.photograph import Photograph

# Seconds of a processor for opening any file, and in addition for each megapixel and scan that it
# promises; for writing an answer, which compresses harder. Several times what was measured.
_OPEN_SECONDS, _OPEN_SECONDS_A_MEGAPIXEL = 3.0, 0.25
_WRITE_SECONDS, _WRITE_SECONDS_A_MEGAPIXEL = 5.0, 1.5
# Bytes of memory beyond what the process has at first, and for each pixel of its files.
_MEMORY_BYTES, _MEMORY_BYTES_A_PIXEL = 256 * 2**20, 64
_MOST_OPEN_FILES = 64
_PR_SET_PDEATHSIG, _PR_SET_NO_NEW_PRIVS = 1, 38

Reply = tuple[dict[str, Any], Sequence[Blob]]


def serve(sock: socket.socket) -> None:
    """Answer one request's messages until the service closes the socket."""
    _confine()
    state = _State()
    while True:
        try:
            head, blobs = receive_message(sock, 2**62)
        except (BrokenMessage, OSError):
            return
        send_message(sock, *_answer(state, head, blobs))


def _answer(state: "_State", head: dict[str, Any], blobs: list[bytearray]) -> Reply:
    """The reply, or what is wrong with the request's files."""
    try:
        return state.answer(head, blobs)
    except InputError as error:
        return _refused(type(error).__name__, str(error), error.code, error.hint), ()
    except MemoryError:
        return {"exhausted": "memory"}, ()


class _State:
    """What is open."""

    def __init__(self) -> None:
        self._finish: Callable[[bytearray], Reply] | None = None

    def answer(self, head: dict[str, Any], blobs: list[bytearray]) -> Reply:
        """Do what a message asks for."""
        if head["do"] == "finish":
            assert self._finish is not None
            return self._finish(blobs[0])
        limits = ImageLimits(**head["limits"])
        files = {name: bytes(blob) for name, blob in zip(head["files"], blobs, strict=True)}
        blobs.clear()
        promised = sum(_promised_pixels(data) for data in files.values())
        _limit(_OPEN_SECONDS + _OPEN_SECONDS_A_MEGAPIXEL * promised / 1e6)
        _limit_memory(_MEMORY_BYTES + _MEMORY_BYTES_A_PIXEL * promised + 8 * _total(files))
        if head["do"] == "preview":
            return _rewritten(promised, lambda: make_preview(PreviewForm(files["image"]), limits))
        if head["do"] == "save":
            options = FileOptions.model_validate(head["options"])
            form = SaveForm(files["image"], files["filled"], options)
            return _rewritten(promised, lambda: save_edited(form, limits))
        if head["do"] == "fill":
            return self._fill(files, InpaintOptions.model_validate(head["options"]), limits, head)
        return self._style(files, StylizeOptions.model_validate(head["options"]), limits, head)

    def _fill(
        self,
        files: dict[str, bytes],
        options: InpaintOptions,
        limits: ImageLimits,
        head: dict[str, Any],
    ) -> Reply:
        photo = decode_photo(InpaintForm(files["image"], files.get("mask"), options), limits)
        files.clear()
        height, width = photo.mask.shape
        found: dict[str, Any] = {"size": [height, width], "holes": int(photo.mask.sum())}
        if head["check"]:
            return found, ()
        box = seen_window(photo.image.pixels, photo.mask, options.grow_mask)
        top, bottom, left, right = box
        inside = (slice(top, bottom), slice(left, right))
        pixels = photo.image.pixels[inside]
        blobs = [contents(pixels), contents(photo.mask[inside])]
        image, original = photo.image, photo.original
        self._finish = lambda pixels: _finished(image, original, box, pixels, options)
        how = {"channels": pixels.shape[2], "bits": 8 * pixels.itemsize}
        return {**found, **how, "shape": [bottom - top, right - left]}, blobs

    def _style(
        self,
        files: dict[str, bytes],
        options: StylizeOptions,
        limits: ImageLimits,
        head: dict[str, Any],
    ) -> Reply:
        form = StylizeForm(files["content"], files["style"], options)
        pair = decode_pair(form, limits, max_content_pixels=head["max_content_pixels"])
        del form
        files.clear()
        found: dict[str, Any] = {"size": list(pair.content.pixels.shape[:2])}
        if head["check"]:
            return found, ()
        content = pair.content
        self._finish = lambda pixels: _styled(content, pixels, options)
        return (
            {
                **found,
                "style": list(pair.style.shape[:2]),
                "bits": 8 * pair.content.pixels.itemsize,
            },
            [contents(pair.content.seen), contents(pair.style)],
        )


def _finished(
    image: Photograph, original: Photograph, box: Box, blob: bytearray, options: AnswerOptions
) -> Reply:
    """The answer's file: the photograph with its window as it was filled."""
    top, bottom, left, right = box
    seen = image.seen
    # The photograph's own stay as they are: what differs from them was filled.
    pixels = seen.copy()
    pixels[top:bottom, left:right] = samples(
        blob, (bottom - top, right - left, 3), 8 * seen.itemsize
    )
    return _encoded(image, pixels, options, original)


def _styled(content: Photograph, blob: bytearray, options: AnswerOptions) -> Reply:
    seen = content.seen
    return _encoded(content, samples(blob, seen.shape, 8 * seen.itemsize), options)


def _rewritten(promised: int, work: Callable[[], tuple[EncodedAnswer, tuple[int, int]]]) -> Reply:
    """A file that is opened and written at once; `promised` are the pixels of its files."""
    opening = _OPEN_SECONDS + _OPEN_SECONDS_A_MEGAPIXEL * promised / 1e6
    _limit(opening + _WRITE_SECONDS + _WRITE_SECONDS_A_MEGAPIXEL * promised / 1e6)
    answer, size = work()
    return {"size": size, "format": answer.format, "notes": list(answer.notes)}, [answer.body]


def _encoded(
    image: Photograph,
    pixels: Pixels,
    options: AnswerOptions,
    original: Photograph | None = None,
) -> Reply:
    megapixels = pixels.shape[0] * pixels.shape[1] / 1e6
    _limit(_WRITE_SECONDS + _WRITE_SECONDS_A_MEGAPIXEL * megapixels)
    answer = encode_answer(image, pixels, options, original=original)
    return {"notes": list(answer.notes), "format": answer.format}, [answer.body]


def _refused(kind: str, message: str, code: str, hint: str) -> dict[str, Any]:
    return {"refused": {"kind": kind, "message": message, "code": code, "hint": hint}}


def _promised_pixels(data: bytes) -> int:
    format = sniff_format(data)
    return 0 if format is None else min(2**40, read_decode_cost(data, format).pixels)


def _total(files: dict[str, bytes]) -> int:
    return sum(len(data) for data in files.values())


def _confine() -> None:
    """Give up what decoding does not need; the first to go when memory is short."""
    prctl = ctypes.CDLL(None, use_errno=True).prctl
    prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_NOFILE, (_MOST_OPEN_FILES, _MOST_OPEN_FILES))
    try:
        fd = os.open("/proc/self/oom_score_adj", os.O_WRONLY)
    except OSError:
        # A system without it.
        return
    try:
        os.write(fd, b"1000")
    except OSError:
        # As above: the kernel's choice stays.
        pass
    finally:
        os.close(fd)


def _limit(seconds: float) -> None:
    """Let this process use these seconds of a processor more; beyond them it is killed."""
    used = resource.getrusage(resource.RUSAGE_SELF)
    most = int(used.ru_utime + used.ru_stime + seconds) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (most, resource.getrlimit(resource.RLIMIT_CPU)[1]))


def _limit_memory(more: int) -> None:
    """Let this process take `more` bytes than it has."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    most = pages * resource.getpagesize() + more
    resource.setrlimit(resource.RLIMIT_AS, (most, most))


def too_costly() -> InvalidInput:
    """What is said of files that took more than they promised."""
    return InvalidInput(
        "the image takes more processor time or memory to read or to write than any of its size"
        " should",
        code="image_too_costly",
        hint="open it in an image viewer and save it again, or ask for another format",
    )

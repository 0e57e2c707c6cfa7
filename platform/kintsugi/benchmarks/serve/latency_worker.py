"""The process of one method: fills what it is sent, and says what that took."""

import resource
import threading
import time
from dataclasses import dataclass
from multiprocessing.connection import Connection
from typing import Any

from kintsugi.errors import ConfigError

_LOOK_SECONDS = 0.01


@dataclass(frozen=True)
class MeasuredFill:
    """One fill.

    Attributes:
        seconds: It took.
        cpu_seconds: Seconds of all processors together; 0 where unknown.
        peak_bytes: Memory at its most, less that before it; 0 where unknown. On a GPU the
            GPU's.
        problem: Why there is none; "" where there is.
    """

    seconds: float
    cpu_seconds: float
    peak_bytes: int
    problem: str = ""


def serve(connection: Connection, method: str, release: str, device: str, threads: int) -> None:
    """Answer every (image, mask), encoded, with a `MeasuredFill` until the other end is closed."""
    import torch

    if threads:
        torch.set_num_threads(threads)
    try:
        fill = _open(method, release, device)
    except ConfigError as error:
        fill = _refuse(str(error))
    while True:
        try:
            image, mask = connection.recv()
        except EOFError:
            return
        connection.send(_measure(fill, image, mask, device))


def _open(method: str, release: str, device: str) -> Any:
    from kintsugi.inference.methods import ReleaseMethod, open_release, patchmatch, telea

    if not release:
        return {"patchmatch": patchmatch, "telea": telea}[method]
    inpainter, _ = open_release(release)
    opened = ReleaseMethod(inpainter)
    opened.to(device)
    return opened


def _refuse(problem: str) -> Any:
    def fill(pixels: object, mask: object) -> None:
        raise ConfigError(problem)

    return fill


def _measure(fill: Any, image: bytes, mask: bytes, device: str) -> MeasuredFill:
    import torch

    from kintsugi.imaging.codec import ImageLimits, decode_image, decode_mask

    limits = ImageLimits(max_pixels=10**9, max_bytes=10**9)
    pixels, hole = decode_image(image, limits).pixels, decode_mask(mask, limits)
    on_gpu = device != "cpu"
    if on_gpu:
        torch.cuda.reset_peak_memory_stats()
    before = _resident_bytes()
    with _Peak() as peak:
        cpu, start = _cpu_seconds(), time.perf_counter()
        try:
            fill(pixels, hole)
        except ConfigError as error:
            return MeasuredFill(0.0, 0.0, 0, problem=str(error))
        if on_gpu:
            torch.cuda.synchronize()
        seconds, cpu = time.perf_counter() - start, _cpu_seconds() - cpu
    most = torch.cuda.max_memory_allocated() if on_gpu else max(0, peak.bytes - before)
    return MeasuredFill(seconds, cpu, most)


class _Peak:
    """The most resident memory while it is open, looked at all the time.

    The kernel's own highest mark is of the whole life of a process, and cannot be reset where
    /proc may not be written to.
    """

    def __init__(self) -> None:
        self.bytes = 0
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look, daemon=True)

    def __enter__(self) -> "_Peak":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.bytes = max(self.bytes, _resident_bytes())

    def _look(self) -> None:
        while not self._over.wait(_LOOK_SECONDS):
            self.bytes = max(self.bytes, _resident_bytes())


def _cpu_seconds() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


def _resident_bytes() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[1]) * resource.getpagesize()

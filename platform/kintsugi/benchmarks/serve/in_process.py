"""The same work without a service: encoded files to an encoded image in this process."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import torch

from kintsugi.benchmarks.serve.requests import PreparedRequest
from kintsugi.imaging.codec import ImageLimits, decode_image, decode_mask, encode_image
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image


class InProcess:
    """A release in this process."""

    def __init__(self, inpainter: Inpainter) -> None:
        self._inpainter = inpainter

    def answer(self, request: PreparedRequest) -> bytes:
        """What the service does for a request, with all options at their defaults."""
        image = decode_image(request.image, ImageLimits())
        mask = decode_mask(request.mask, ImageLimits())
        filled = self._inpainter.inpaint(image_to_tensor(image.pixels), mask_to_tensor(mask))
        return encode_image(tensor_to_image(filled), "png", icc_profile=image.icc_profile)

    def seconds(self, request: PreparedRequest, threads: int) -> float:
        """How long one takes by itself."""
        with _threads(threads):
            start = time.perf_counter()
            self.answer(request)
            return time.perf_counter() - start

    def throughput(self, request: PreparedRequest, count: int, threads: int) -> dict[str, float]:
        """Images a second, by how they are made: one at a time, and several side by side."""
        with _threads(threads):
            start = time.perf_counter()
            for _ in range(count):
                self.answer(request)
            rates = {f"1 x {threads} threads": count / (time.perf_counter() - start)}
        with ThreadPoolExecutor(threads, initializer=lambda: torch.set_num_threads(1)) as pool:
            start = time.perf_counter()
            list(pool.map(self.answer, [request] * count))
            rates[f"{threads} x 1 thread"] = count / (time.perf_counter() - start)
        return rates


@contextmanager
def _threads(count: int) -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)

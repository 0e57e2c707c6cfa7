"""Batches brought to the device that computes, while it computes; knows no loop and no losses."""

from collections.abc import Iterator

import torch

from kintsugi.data.batches import Batch, PackedBatch

# What can be brought to a device.
AnyBatch = Batch | PackedBatch


class Prefetcher:
    """A worker's batches on its device, each copied there while the step before computes.

    On a GPU the copy and the conversion to float run on a stream of their own: launched right
    after the step before, they pass while that step computes. From memory that is not pinned
    the copy would wait for the processor.

    Args:
        batches: In their order.
        device: Where they are used.
    """

    def __init__(self, batches: Iterator[AnyBatch], device: torch.device) -> None:
        self._batches = batches
        self._device = device
        self._stream = torch.cuda.Stream(device) if device.type == "cuda" else None  # type: ignore[no-untyped-call]

    def __next__(self) -> Batch:
        waiting = next(self._batches)
        if self._stream is None:
            return waiting.to(self._device)
        with torch.cuda.stream(self._stream):
            batch = waiting.to(self._device)
        computing = torch.cuda.current_stream(self._device)
        computing.wait_stream(self._stream)
        for part in (batch.keys, batch.image, batch.mask):
            # Else its memory would be given to a later copy while the step still reads it.
            part.record_stream(computing)
        return batch

    def __iter__(self) -> "Prefetcher":
        return self

"""Blocks of samples, as data tasks hand them on, joined to batches; each byte is copied once."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from numpy.typing import NDArray

from kintsugi.data.batches import PackedBatch
from kintsugi.data.corrupt_rows import CorruptRows


class TaskCost:
    """Processor seconds of the reading tasks, and the photographs they were for."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.photos = 0

    def add(self, seconds: NDArray[Any]) -> None:
        """Count some photographs. From one thread at a time."""
        self.seconds += float(seconds.sum())
        self.photos += len(seconds)


class Joiner:
    """Samples come in blocks of any size, and go in batches of one."""

    def __init__(self, size: int, side: int, corrupt: CorruptRows, cost: TaskCost | None) -> None:
        """
        Args:
            size: Photographs of a batch.
            side: Of a crop, in pixels.
            corrupt: Where rows that do not decode are counted.
            cost: Where what the tasks took is counted.
        """
        self._size = size
        self._side = side
        self._corrupt = corrupt
        self._cost = cost
        # A GPU copies from pinned memory alone while it computes.
        self._pin = torch.cuda.is_available()
        self._batch = self._empty()
        self._filled = 0

    def add(self, block: pa.Table) -> Iterator[PackedBatch]:
        """The batches that a block, made as `DecodeRead` says, completes.

        Raises: StorageError: more rows than the limit do not decode.
        """
        side = self._side
        for chunk in block.to_batches():
            for row in chunk.column("instead_of").to_pylist():
                self._corrupt.note(row)
            if self._cost is not None:
                self._cost.add(np.from_dlpack(chunk.column("seconds")))
            key, draw = (np.from_dlpack(chunk.column(name)) for name in ("key", "draw"))
            image = _bytes_of(chunk.column("image")).reshape(-1, side, side, 3)
            mask = _bytes_of(chunk.column("mask"))
            done = 0
            while done < len(key):
                many = min(self._size - self._filled, len(key) - done)
                there, here = slice(self._filled, self._filled + many), slice(done, done + many)
                batch = self._batch
                batch.keys.numpy()[there] = key[here]
                batch.draw.numpy()[there] = draw[here]
                batch.image.numpy()[there] = image[here]
                bits = np.unpackbits(mask[here], axis=1).view(np.bool_)
                batch.mask.numpy()[there] = bits.reshape(many, side, side)
                done, self._filled = done + many, self._filled + many
                if self._filled == self._size:
                    yield batch
                    self._batch, self._filled = self._empty(), 0

    def _empty(self) -> PackedBatch:
        def empty(*shape: int, dtype: torch.dtype) -> torch.Tensor:
            return torch.empty(shape, dtype=dtype, pin_memory=self._pin)

        many, side = self._size, self._side
        return PackedBatch(
            keys=empty(many, dtype=torch.int64),
            image=empty(many, side, side, 3, dtype=torch.uint8),
            mask=empty(many, side, side, dtype=torch.bool),
            draw=empty(many, dtype=torch.float32),
        )


def _bytes_of(column: Any) -> NDArray[np.uint8]:
    """The bytes of a column of equal lengths as rows, where they lie: nothing is copied."""
    width = column.type.byte_width
    start, rows = column.offset * width, len(column)
    flat = np.frombuffer(column.buffers()[1], np.uint8, rows * width, start)
    return flat.reshape(rows, width)

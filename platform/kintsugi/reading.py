"""Shards -> decoded photographs in the order of a read; knows no Ray and no epoch's randomness."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from kintsugi.config import DataSection
from kintsugi.manifest import Manifest, read_manifest, read_part
from kintsugi.samples import Batch, Position, Read, SampleOrder, collate, decode_sample, sample_key
from kintsugi.storage import Storage


@dataclass(frozen=True)
class Decoded:
    """A photograph as the shards' readers hand it on.

    Attributes:
        key: `sample_key` of its id.
        epoch: In which it is used.
        pixels: HWC uint8 RGB.
    """

    key: int
    epoch: int
    pixels: NDArray[np.uint8]


class ShardReader:
    """Reads rows by their index into all shards; every file is verified when opened.

    Picklable: it travels to data workers as the URI and the manifest.
    """

    def __init__(self, uri: str, manifest: Manifest, resize_px: int) -> None:
        self.uri = uri
        self.manifest = manifest
        self.resize_px = resize_px

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.rows_per_part)

    @property
    def rows_per_part(self) -> tuple[int, ...]:
        return tuple(part.rows for part in self.manifest.parts)

    def decode(self, read: Read) -> Iterator[Decoded]:
        """The photographs of a read, in its order.

        Raises: StorageError naming the shard that is missing or altered.
        """
        storage = Storage(self.uri)
        parts = np.searchsorted(self._ends, read.rows, side="right")
        tables = {
            int(part): read_part(storage, self.manifest.parts[part]).select(["id", "image"])
            for part in np.unique(parts)
        }
        for row, part in zip(read.rows, parts, strict=True):
            table = tables[int(part)]
            index = int(row - self._ends[part]) + len(table)
            yield Decoded(
                key=sample_key(table["id"][index].as_py()),
                epoch=read.epoch,
                pixels=decode_sample(table["image"][index].as_py(), self.resize_px),
            )


def open_reader(config: DataSection) -> ShardReader:
    """The reader of a configuration's shards. Raises: StorageError when they are not packed."""
    return ShardReader(config.shards, read_manifest(Storage(config.shards)), config.resize_px)


def local_batches(
    reader: ShardReader,
    order: SampleOrder,
    config: DataSection,
    start: Position,
    rank: int = 0,
) -> Iterator[Batch]:
    """Batches in this process, without Ray: the same as a Ray worker of that rank gets."""
    waiting: list[Decoded] = []
    for epoch in order.reads(start, rank):
        for read in epoch:
            for decoded in reader.decode(read):
                waiting.append(decoded)
                if len(waiting) == order.batch_size:
                    yield collate(
                        [each.pixels for each in waiting],
                        [each.key for each in waiting],
                        [each.epoch for each in waiting],
                        order.seed,
                        config,
                    )
                    waiting = []

"""Shards -> decoded photographs in the order of a read; no Ray, no PyTorch, no randomness.

Data workers import this and what it stands on, so it must stay light: a process that
imports PyTorch takes seconds to start and half a gigabyte.
"""

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from kintsugi.images import decode_image
from kintsugi.manifest import Manifest, read_manifest, read_part
from kintsugi.order import Read
from kintsugi.storage import Storage

# Rows that a data task hands on at a time: bounds the memory of a block (a photograph of
# 286 px takes about 350 kB).
BLOCK_ROWS = 32


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


def open_reader(uri: str, resize_px: int) -> ShardReader:
    """The reader of a folder of shards. Raises: StorageError when there are none."""
    return ShardReader(uri, read_manifest(Storage(uri)), resize_px)


class DecodeRead:
    """One read (a row with ``epoch`` and ``rows``) to blocks of decoded photographs."""

    def __init__(self, reader: ShardReader) -> None:
        self.reader = reader

    def __call__(self, batch: dict[str, Any]) -> Iterator[dict[str, Any]]:
        read = Read(int(batch["epoch"][0]), np.asarray(batch["rows"][0], dtype=np.int64))
        block: dict[str, list[Any]] = _empty_block()
        for decoded in self.reader.decode(read):
            block["key"].append(decoded.key)
            block["epoch"].append(decoded.epoch)
            block["height"].append(decoded.pixels.shape[0])
            block["width"].append(decoded.pixels.shape[1])
            block["pixels"].append(decoded.pixels.tobytes())
            if len(block["key"]) == BLOCK_ROWS:
                yield block
                block = _empty_block()
        if block["key"]:
            yield block


def _empty_block() -> dict[str, list[Any]]:
    return {"key": [], "epoch": [], "height": [], "width": [], "pixels": []}


def sample_key(photo_id: str) -> int:
    """A number below 2^63 that names a photograph on every machine."""
    return int.from_bytes(hashlib.sha256(photo_id.encode()).digest()[:8], "big") >> 1


def decode_sample(data: bytes, resize_px: int) -> NDArray[np.uint8]:
    """The part of the work that does not depend on the epoch: decode, bring to size.

    Returns: HWC uint8 RGB whose shorter side is ``resize_px``.
    """
    image = Image.fromarray(decode_image(data).pixels)
    scale = resize_px / min(image.size)
    size = (max(resize_px, round(image.width * scale)), max(resize_px, round(image.height * scale)))
    return np.asarray(image.resize(size, Image.Resampling.LANCZOS))

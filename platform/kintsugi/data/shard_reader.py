"""Shards -> decoded photographs in the order of a read; no Ray, no PyTorch, no randomness.

Data workers import this and what it stands on, so it must stay light: a process that
imports PyTorch takes seconds to start and half a gigabyte.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from kintsugi.data.sampler import Read
from kintsugi.data.shard_manifest import read_manifest, read_part, rows_of
from kintsugi.data.shards.part_lists import PartEntry, PartInfo, PartLists, Split
from kintsugi.data.splits import HELD_OUT, TRAIN
from kintsugi.errors import InputError, StorageError
from kintsugi.imaging.codec import decode_picture
from kintsugi.storage.storage import Storage

# How much larger than it is used a JPEG is decoded at least, where it may be decoded smaller.
_DRAFT_GAP = 2
_FILTER = Image.Resampling.LANCZOS


class Scaled:
    """A photograph whose parts are brought to size one at a time, as they are looked at.

    A part is that of the photograph brought to size as a whole, but for rounding: Pillow goes over
    rows or columns first, as costs less, and takes where a part begins in 24 bits.
    """

    def __init__(self, image: Image.Image, size: tuple[int, int]) -> None:
        """
        Args:
            image: RGB.
            size: Width and height that it is seen at.
        """
        self._image = image
        self.shape = (size[1], size[0], 3)
        self._across, self._down = image.width / size[0], image.height / size[1]

    def __getitem__(self, part: tuple[slice, slice]) -> NDArray[np.uint8]:
        """Rows and columns, each from a number to before another; uint8 H W 3."""
        rows, columns = part
        box = (
            columns.start * self._across,
            rows.start * self._down,
            min(columns.stop * self._across, self._image.width),
            min(rows.stop * self._down, self._image.height),
        )
        size = (columns.stop - columns.start, rows.stop - rows.start)
        return np.asarray(self._image.resize(size, _FILTER, box))


@dataclass(frozen=True)
class Decoded:
    """A photograph as the shards' readers hand it on.

    Attributes:
        key: `sample_key` of its id.
        epoch: In which it is used.
        pixels: HWC uint8 RGB; `Scaled` where it need not be the same to the bit.
        instead_of: "shard: id (reason)" of the row that does not decode and whose place it
            takes; "" for a photograph in its own place.
    """

    key: int
    epoch: int
    pixels: NDArray[np.uint8] | Scaled
    instead_of: str = ""


@dataclass(frozen=True)
class PartRead:
    """A read with the shards it is of, and no others: what a data task is given.

    Attributes:
        epoch: The epoch of the read.
        parts: Its shards.
        part: For each row its shard among them.
        row: Its number in that shard.
    """

    epoch: int
    parts: tuple[PartInfo | PartEntry, ...]
    part: NDArray[np.int64]
    row: NDArray[np.int64]


class PartReader:
    """Reads rows of shards that are named with each read; every file is verified when opened."""

    def __init__(self, uri: str, resize_px: int, *, draft: bool = False) -> None:
        self.uri = uri
        self.resize_px = resize_px
        self.draft = draft

    def decode(self, read: PartRead) -> Iterator[Decoded]:
        """The photographs of a read, in its order.

        In the place of a row that does not decode comes the next row of its shard that
        does, after the last the first: that depends on the shard alone, so the samples of
        a run stay the same however it is resumed or shared out.

        Raises: StorageError naming the shard that is missing, altered or holds no
            photograph at all that decodes.
        """
        storage = Storage(self.uri)
        parts = [part.find(storage) if isinstance(part, PartEntry) else part for part in read.parts]
        tables = [self._open(storage, part) for part in parts]
        for part, row in zip(read.part.tolist(), read.row.tolist(), strict=True):
            found = self._decode_row(tables[part], row, parts[part].name)
            photo_id, pixels, instead_of = found
            yield Decoded(sample_key(photo_id), read.epoch, pixels, instead_of)

    def _open(self, storage: Storage, part: PartInfo) -> pa.Table:
        table = read_part(storage, part)
        if len(table) != part.rows or not {"id", "image"} <= set(table.schema.names):
            raise StorageError(
                f"{storage.uri}/{part.name} has {len(table)} rows of {table.schema.names}, expected"
                f" {part.rows} with id and image: pack the photographs again"
            )
        return table.select(["id", "image"])

    def _decode_row(
        self, table: pa.Table, index: int, part_name: str
    ) -> tuple[str, NDArray[np.uint8] | Scaled, str]:
        """Id and pixels of a row or of the one in its place, and what that one replaces."""
        instead_of = ""
        for at in (*range(index, len(table)), *range(index)):
            photo_id = table["id"][at].as_py()
            try:
                pixels = decode_sample(table["image"][at].as_py(), self.resize_px, draft=self.draft)
            except InputError as error:
                instead_of = instead_of or f"{part_name}: {photo_id} ({error.code})"
            else:
                return photo_id, pixels, instead_of
        raise StorageError(
            f"none of the {len(table)} photographs in {self.uri}/{part_name} decodes:"
            " pack them again with --overwrite"
        )


class ShardReader:
    """Reads rows by their index into all rows of a data set's shards."""

    def __init__(
        self, uri: str, parts: Sequence[PartInfo], resize_px: int, *, draft: bool = False
    ) -> None:
        self.uri = uri
        self.parts = parts
        self.of_parts = PartReader(uri, resize_px, draft=draft)

    @cached_property
    def rows_per_part(self) -> NDArray[np.int32]:
        """How many photographs each shard holds, in the manifest's order."""
        return rows_of(self.parts)

    @cached_property
    def _ends(self) -> NDArray[np.int64]:
        return np.cumsum(self.rows_per_part, dtype=np.int64)

    def locate(self, read: Read) -> PartRead:
        """In which shards the rows of a read lie."""
        of_all = np.searchsorted(self._ends, read.rows, side="right")
        chosen, part = np.unique(of_all, return_inverse=True)
        first = self._ends[of_all] - self.rows_per_part[of_all]
        known = self.parts
        # The description of a listed part is read by the task that reads the part.
        parts = tuple(
            known.place(int(index)) if isinstance(known, PartLists) else known[index]
            for index in chosen
        )
        return PartRead(read.epoch, parts, part, read.rows - first)

    def decode(self, read: Read) -> Iterator[Decoded]:
        """The photographs of a read, in its order. Raises: StorageError as `PartReader`."""
        return self.of_parts.decode(self.locate(read))


def open_reader(
    uri: str, resize_px: int, *, split: Split = TRAIN, draft: bool = False
) -> ShardReader:
    """The reader of one split of a folder of shards.

    Args:
        uri: The URI of the folder.
        resize_px: The shorter side that photographs are brought to.
        split: Which photographs.
        draft: Decode JPEGs at a fraction of their size where that is at least twice the size
            wanted, and bring to size what is looked at: faster, and not the same to the bit.

    Raises: StorageError when there are no shards, or none of that split.
    """
    parts = read_manifest(Storage(uri)).only(split)
    if not parts:
        remedy = "--held-out 0.1" if split == HELD_OUT else "a smaller --held-out"
        without = ", or set held_out.photos to 0" if split == HELD_OUT else ""
        raise StorageError(
            f"{uri} holds no photographs of the split {split}: pack them again with"
            f" kintsugi shards --input PHOTOS --output {uri} --overwrite {remedy}{without}"
        )
    return ShardReader(uri, parts, resize_px, draft=draft)


def sample_key(photo_id: str) -> int:
    """A number below 2^63 that names a photograph on every machine."""
    return int.from_bytes(hashlib.sha256(photo_id.encode()).digest()[:8], "big") >> 1


def decode_sample(
    data: bytes, resize_px: int, *, draft: bool = False
) -> NDArray[np.uint8] | Scaled:
    """The part of the work that does not depend on the epoch: decode, bring to size.

    Args: ``draft``: as `open_reader` has it.

    Returns: HWC uint8 RGB whose shorter side is ``resize_px``.
    """
    least = _DRAFT_GAP * resize_px if draft else 0
    image = decode_picture(data, draft_side=least)
    scale = resize_px / min(image.size)
    size = (max(resize_px, round(image.width * scale)), max(resize_px, round(image.height * scale)))
    return Scaled(image, size) if draft else np.asarray(image.resize(size, _FILTER))

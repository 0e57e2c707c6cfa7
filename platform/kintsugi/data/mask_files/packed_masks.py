"""Masks that a run keeps, found by their number and cut to a crop; no Ray and no PyTorch.

`mask_folder.py` packs them. Where they are used, packed masks that were read stay in memory up to
KEPT_BYTES in each process, and more are read again: of 2 kB each these are some 30,000.
"""

import hashlib
import math
import threading
from collections import OrderedDict
from dataclasses import dataclass
from functools import lru_cache
from typing import ClassVar

import numpy as np
from PIL import Image
from pydantic import ConfigDict, TypeAdapter, ValidationError

from kintsugi.data.mask_files.mask_parts import MaskPart, decode, read_masks
from kintsugi.data.shard_manifest import MANIFEST_NAME
from kintsugi.errors import StorageError
from kintsugi.imaging.mask_decoding import HARD_THRESHOLD, SMOOTH_THRESHOLD
from kintsugi.masks.drawing import Mask
from kintsugi.masks.generators import MAX_HOLE_SHARE, hole_share
from kintsugi.storage.storage import Storage

# What is read for one mask that is not in memory: of 2 kB each, a quarter of a megabyte.
MASKS_PER_PART = 128
# In each process, for all masks together.
KEPT_BYTES = 64 * 2**20
# The smallest window's share of the largest square in a mask.
_LEAST_AREA = 0.25
_MOST_DRAWS = 20


@dataclass(frozen=True)
class PackedManifest:
    """What a folder of packed masks holds.

    Attributes:
        packed_from: Where the masks lay.
        crop_px: Side of the crops that they are for, in pixels.
        rows: How many there are.
        parts: Their shards, all but the last with MASKS_PER_PART.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid", strict=True)

    packed_from: str
    crop_px: int
    rows: int
    parts: tuple[MaskPart, ...]
    version: int = 1


@dataclass(frozen=True)
class PackedMasks:
    """Packed masks, as data tasks are given them: where they are, and what vouches for them.

    Attributes:
        uri: Their folder.
        sha256: Of its manifest, which holds those of the parts.
        count: How many there are.
    """

    uri: str
    sha256: str
    count: int

    def mask(self, number: int) -> Mask:
        """A mask by its number, 0 to below ``count``; bool H W, True = hole.

        Raises: StorageError: its part is missing or altered.
        """
        part, row = divmod(number, MASKS_PER_PART)
        return decode(_PARTS.masks_of(self, part)[row])

    def draw(self, size: int, rng: np.random.Generator) -> Mask:
        """Any of the masks, cut to a crop and mirrored half of the time; bool S S, True = hole.

        Args:
            size: Side of the crop, in pixels.
            rng: Source of all randomness: the same state gives the same mask everywhere.

        Raises: as `mask`.
        """
        hole = cut_mask(self.mask(int(rng.integers(self.count))), size, rng)
        return np.ascontiguousarray(hole[:, ::-1]) if rng.random() < 0.5 else hole


def cut_mask(hole: Mask, size: int, rng: np.random.Generator) -> Mask:
    """A square of a mask at a crop's size.

    All areas of the square are as likely, from _LEAST_AREA of the largest on, and all its places.
    One without a hole is drawn again, and so is one that is hole for more than half and more than
    the mask is. Where none is found, the whole mask is brought to the size.

    Args:
        hole: Bool H W, True = hole; at ``size`` it must show both, hole and known pixels.
        size: In pixels.
        rng: Source of all randomness.
    """
    height, width = hole.shape
    most = max(MAX_HOLE_SHARE, hole_share(hole))
    for _ in range(_MOST_DRAWS):
        side = max(1, int(min(height, width) * math.sqrt(rng.uniform(_LEAST_AREA, 1))))
        top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
        window = hole[top : top + side, left : left + side]
        # Most that are refused have none of the hole, which is seen without bringing it to size.
        if window.any():
            window = resize_mask(window, size, size)
            if 0 < hole_share(window) <= most:
                return window
    return resize_mask(hole, size, size)


def resize_mask(hole: Mask, height: int, width: int) -> Mask:
    """A mask at another size, read as a file of that size would be, bool H W.

    Made smaller its edges are smooth, and what is hole in part belongs to it: thin lines stay.
    """
    if hole.shape == (height, width):
        return hole
    is_smaller = height < hole.shape[0] or width < hole.shape[1]
    grey = Image.fromarray(hole.astype(np.uint8) * np.uint8(255))
    # Pillow computes this in whole numbers: it is the same on every machine.
    marks = np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR))
    resized: Mask = marks >= (SMOOTH_THRESHOLD if is_smaller else HARD_THRESHOLD)
    return resized


def open_packed(uri: str) -> PackedMasks:
    """The masks that `kintsugi.data.mask_files.mask_folder` packed into a folder.

    Raises: StorageError: there are none, or their manifest is broken.
    """
    storage = Storage(uri)
    if not storage.exists(MANIFEST_NAME):
        raise StorageError(
            f"no packed masks at {uri} (no {MANIFEST_NAME}): a run packs those that data.masks"
            " names when it begins"
        )
    data = storage.read(MANIFEST_NAME)
    return PackedMasks(uri, hashlib.sha256(data).hexdigest(), parse_packed(data, uri).rows)


def parse_packed(data: bytes, uri: str) -> PackedManifest:
    """A manifest from its bytes. Raises: StorageError that names the folder."""
    try:
        return TypeAdapter(PackedManifest).validate_json(data)
    except ValidationError as error:
        raise StorageError(
            f"{uri}/{MANIFEST_NAME} is not of packed masks: {error.errors()[0]['msg']}"
        ) from error


class _Parts:
    """The parts that were read, the least used ones given up first; for several threads."""

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._bytes = 0
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[PackedMasks, int], list[bytes]] = OrderedDict()

    def masks_of(self, masks: PackedMasks, part: int) -> list[bytes]:
        """The masks of one part, each a PNG."""
        key = masks, part
        with self._lock:
            if key in self._kept:
                self._kept.move_to_end(key)
                return self._kept[key]
        # Not under the lock: two threads may read the same, and none waits for another's.
        read = _read_part(masks, part)
        with self._lock:
            if key not in self._kept:
                self._kept[key] = read
                self._bytes += _size(read)
            while self._bytes > self._most and len(self._kept) > 1:
                self._bytes -= _size(self._kept.popitem(last=False)[1])
        return read


_PARTS = _Parts(KEPT_BYTES)


def _size(masks: list[bytes]) -> int:
    return sum(map(len, masks))


def _read_part(masks: PackedMasks, part: int) -> list[bytes]:
    known = _manifest(masks.uri, masks.sha256).parts[part]
    return [png for _, png in read_masks(Storage(masks.uri), [known])]


@lru_cache(maxsize=16)
def _manifest(uri: str, sha256: str) -> PackedManifest:
    data = Storage(uri).read(MANIFEST_NAME)
    if hashlib.sha256(data).hexdigest() != sha256:
        raise StorageError(
            f"{uri}/{MANIFEST_NAME} changed while it was in use: start the run again"
        )
    return parse_packed(data, uri)

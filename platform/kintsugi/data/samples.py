"""A decoded photograph in an epoch -> crop, flip and hole; numpy only, no Ray and no PyTorch.

Every draw is keyed by (seed, epoch, photograph), so it does not depend on who reads the
photograph, nor on how many workers there are: it is made where photographs are decoded, on
as many processors as those tasks have, and not in the process that trains.
"""

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from time import process_time
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from kintsugi.data.mask_files.packed_masks import PackedMasks
from kintsugi.data.shard_reader import Decoded, PartRead, PartReader, Scaled
from kintsugi.data.shards.part_lists import PartEntry, PartInfo
from kintsugi.masks.generators import draw_mask

# Rows that a data task hands on at a time: bounds the memory of a block (a crop of 256 px takes
# about 200 kB).
BLOCK_ROWS = 32
# Deviation of the logarithm of a recoloured crop's gamma.
_GAMMA_DEVIATION = 0.25
# As numbers travel to data tasks.
_NUMBER = "<i4"


@dataclass(frozen=True)
class SampleSettings:
    """What is drawn of a photograph; `kintsugi.config.sections.DataSection` says what each is.

    Attributes:
        seed: The seed of the run.
        masks: Kinds of hole, and masks to cut them of.
    """

    seed: int
    crop_px: int
    window_px: int
    recolour_share: float
    masks: tuple[str | PackedMasks, ...]


@dataclass(frozen=True)
class Sample:
    """What a photograph is in one epoch.

    Attributes:
        image: S S 3 uint8, RGB.
        mask: S S bool, True = hole.
        draw: Uniform in 0-1: decides what a stage does by chance.
    """

    image: NDArray[np.uint8]
    mask: NDArray[np.bool_]
    draw: float


def draw_sample(
    pixels: NDArray[np.uint8] | Scaled, key: int, epoch: int, settings: SampleSettings
) -> Sample:
    """Crop, flip and hole of one photograph in one epoch, and its random draw.

    Args:
        pixels: uint8 H W 3, RGB; both sides at least the crop's.
        key: The number of the photograph.
        epoch: From 0; with the key and the settings' seed it decides everything.
        settings: Sizes, and kinds of hole.

    Raises: StorageError: packed masks are missing or altered.
    """
    rng = np.random.default_rng([settings.seed, epoch, key])
    size = settings.crop_px
    side = _window_side(min(pixels.shape[:2]), settings, rng) if settings.window_px else size
    top = int(rng.integers(pixels.shape[0] - side + 1))
    left = int(rng.integers(pixels.shape[1] - side + 1))
    crop = pixels[top : top + side, left : left + side]
    if side != size:
        crop = np.asarray(Image.fromarray(crop).resize((size, size), Image.Resampling.BILINEAR))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if settings.recolour_share and rng.random() < settings.recolour_share:
        crop = _recoloured(crop, rng)
    masks = settings.masks[int(rng.integers(len(settings.masks)))]
    draw = float(rng.random())
    if isinstance(masks, PackedMasks):
        return Sample(crop, masks.draw(size, rng), draw)
    return Sample(crop, draw_mask(masks, size, size, rng), draw)


def _window_side(shorter: int, settings: SampleSettings, rng: np.random.Generator) -> int:
    """Side of the square that a crop is taken from: all areas are as likely."""
    area = rng.uniform((settings.window_px / shorter) ** 2, 1)
    return max(settings.window_px, int(shorter * math.sqrt(area)))


def _recoloured(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colours in another order, and another gamma."""
    table = 255 * np.linspace(0, 1, 256) ** math.exp(rng.normal(0, _GAMMA_DEVIATION))
    recoloured: NDArray[np.uint8] = table.round().astype(np.uint8)[crop][..., rng.permutation(3)]
    return recoloured


def sample_of(decoded: Decoded, settings: SampleSettings) -> Sample:
    """`draw_sample` of what a reader gives."""
    return draw_sample(decoded.pixels, decoded.key, decoded.epoch, settings)


class DecodeRead:
    """One read (a row as `as_row` makes it) to blocks of samples: a data task's work.

    A block is a table with, per photograph, ``key`` (int64), ``draw`` (float32), ``image`` (S S 3
    bytes), ``mask`` (eight pixels in each byte: S S / 8), ``instead_of`` (as in `Decoded`) and
    ``seconds``, the processor time that this process took for it, what hands the block on
    included.
    """

    def __init__(self, reader: PartReader, settings: SampleSettings) -> None:
        self.reader = reader
        self.settings = settings

    def __call__(self, batch: dict[str, Any]) -> Iterator[pa.Table]:
        read = _of_row({name: column[0] for name, column in batch.items()})
        block: list[tuple[Decoded, Sample]] = []
        since = process_time()
        for decoded in self.reader.decode(read):
            block.append((decoded, sample_of(decoded, self.settings)))
            if len(block) == BLOCK_ROWS:
                now = process_time()
                yield _table(block, now - since)
                since, block = now, []
        if block:
            yield _table(block, process_time() - since)


def as_row(read: PartRead) -> dict[str, Any]:
    """A read as a row of plain values, with what is known of its shards and of no others.

    A thousand photographs of four shards take less than 10 kB.
    """
    known = [asdict(part) for part in read.parts]
    return {
        "epoch": read.epoch,
        "part": read.part.astype(_NUMBER).tobytes(),
        "row": read.row.astype(_NUMBER).tobytes(),
        "parts": json.dumps(known),
    }


def _of_row(row: dict[str, Any]) -> PartRead:
    parts = tuple(
        PartEntry(**part) if "place" in part else PartInfo(**part)
        for part in json.loads(row["parts"])
    )
    part, at = (np.frombuffer(row[name], _NUMBER).astype(np.int64) for name in ("part", "row"))
    return PartRead(int(row["epoch"]), parts, part, at)


def _table(block: list[tuple[Decoded, Sample]], seconds: float) -> pa.Table:
    images = np.stack([sample.image for _, sample in block])
    masks = np.stack([sample.mask for _, sample in block]).reshape(len(block), -1)
    return pa.table(
        {
            "key": pa.array([decoded.key for decoded, _ in block], pa.int64()),
            "draw": pa.array([sample.draw for _, sample in block], pa.float32()),
            "image": _bytes(images),
            "mask": _bytes(np.packbits(masks, axis=1)),
            "instead_of": pa.array([decoded.instead_of for decoded, _ in block], pa.string()),
            "seconds": pa.array([seconds / len(block)] * len(block), pa.float64()),
        }
    )


def _bytes(rows: NDArray[np.uint8]) -> pa.FixedSizeBinaryArray:
    """Rows of equal sizes as a column, without a copy."""
    kind = pa.binary(rows[0].size)
    return pa.FixedSizeBinaryArray.from_buffers(kind, len(rows), [None, pa.py_buffer(rows)])

"""A decoded photograph in an epoch -> crop, flip, hole -> Batch; knows no Ray.

Every draw is keyed by (seed, epoch, photograph), so it does not depend on who reads the
photograph, nor on how many workers there are.
"""

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kintsugi.config.sections import DataSection
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.shard_reader import Decoded, ShardReader
from kintsugi.masks.generators import draw_mask

# Of the logarithm of a recoloured crop's gamma.
_GAMMA_DEVIATION = 0.25


@dataclass(frozen=True)
class Batch:
    """One worker's step.

    Attributes:
        keys: int64, B: a hash of each photograph's id.
        image: B 3 S S, RGB 0-1.
        mask: B 1 S S, 1 = hole.
        draw: B, uniform in 0-1: decides what a stage does per sample by chance.
    """

    keys: Tensor
    image: Tensor
    mask: Tensor
    draw: Tensor

    def to(self, device: torch.device) -> "Batch":
        return Batch(*(part.to(device, non_blocking=True) for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        return self.keys, self.image, self.mask, self.draw


@dataclass(frozen=True)
class Request:
    """The batches that one worker asks for.

    Attributes:
        reader: Of the shards.
        order: Of their photographs.
        start: Where the data stands.
        rank: Of the worker.
        steps: So many batches at least.
        corrupt: Where rows that do not decode are counted.
    """

    reader: ShardReader
    order: SampleOrder
    start: Position
    rank: int
    steps: int
    corrupt: CorruptRows


def draw_sample(
    pixels: NDArray[np.uint8], key: int, epoch: int, seed: int, config: DataSection
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], float]:
    """Crop, flip and hole of one photograph in one epoch, and its random draw."""
    rng = np.random.default_rng([seed, epoch, key])
    side = _window_side(min(pixels.shape[:2]), config, rng) if config.window_px else config.crop_px
    top = int(rng.integers(pixels.shape[0] - side + 1))
    left = int(rng.integers(pixels.shape[1] - side + 1))
    crop = pixels[top : top + side, left : left + side]
    if side != config.crop_px:
        size = (config.crop_px, config.crop_px)
        crop = np.asarray(Image.fromarray(crop).resize(size, Image.Resampling.BILINEAR))
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    if config.recolour_share and rng.random() < config.recolour_share:
        crop = _recoloured(crop, rng)
    kind = config.masks[int(rng.integers(len(config.masks)))]
    draw = float(rng.random())
    return crop, draw_mask(kind, config.crop_px, config.crop_px, rng), draw


def _window_side(shorter: int, config: DataSection, rng: np.random.Generator) -> int:
    """Of the square a crop is taken from: all areas are as likely."""
    area = rng.uniform((config.window_px / shorter) ** 2, 1)
    return max(config.window_px, int(shorter * math.sqrt(area)))


def _recoloured(crop: NDArray[np.uint8], rng: np.random.Generator) -> NDArray[np.uint8]:
    """Colours in another order, and another gamma."""
    table = 255 * np.linspace(0, 1, 256) ** math.exp(rng.normal(0, _GAMMA_DEVIATION))
    recoloured: NDArray[np.uint8] = table.round().astype(np.uint8)[crop][..., rng.permutation(3)]
    return recoloured


def collate(
    pixels: Sequence[NDArray[np.uint8]],
    keys: Sequence[int],
    epochs: Sequence[int],
    seed: int,
    config: DataSection,
) -> Batch:
    """Decoded photographs (HWC uint8) to a batch."""
    drawn = [
        draw_sample(image, key, epoch, seed, config)
        for image, key, epoch in zip(pixels, keys, epochs, strict=True)
    ]
    images = np.stack([crop for crop, _, _ in drawn])
    masks = np.stack([mask for _, mask, _ in drawn])
    return Batch(
        keys=torch.tensor(keys, dtype=torch.int64),
        image=torch.from_numpy(images).permute(0, 3, 1, 2).contiguous().float() / 255,
        mask=torch.from_numpy(masks)[:, None].float(),
        draw=torch.tensor([draw for _, _, draw in drawn], dtype=torch.float32),
    )


def corrupt_rows(reader: ShardReader, config: DataSection) -> CorruptRows:
    """An empty count of a data set's corrupt rows, with the limit of the configuration."""
    return CorruptRows(reader.uri, sum(reader.rows_per_part), config.max_corrupt_share)


def local_batches(
    reader: ShardReader,
    order: SampleOrder,
    config: DataSection,
    start: Position,
    rank: int = 0,
    corrupt: CorruptRows | None = None,
) -> Iterator[Batch]:
    """Batches in this process, without Ray: the same as a Ray worker of that rank gets.

    Args: as in `Request`; ``config``: how photographs become batches; ``corrupt`` None: a count
        of its own.

    Raises: StorageError when a shard is missing or altered, or more photographs than
        ``config.max_corrupt_share`` do not decode.
    """
    corrupt = corrupt or corrupt_rows(reader, config)
    waiting: list[Decoded] = []
    for epoch in order.reads(start, rank):
        for read in epoch:
            for decoded in reader.decode(read):
                corrupt.note(decoded.instead_of)
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

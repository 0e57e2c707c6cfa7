"""Which photographs a worker sees in which order, and what is done to each; knows no Ray.

The order of an epoch is a pure function of (seed, epoch): shards are permuted, and rows
mixed inside windows of a few shards, so that a window is one read of whole files. Each
worker takes one contiguous share of what is left of the epoch. Crop, flip and hole are
keyed by (seed, epoch, photograph), so they do not depend on who reads it.
"""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from kintsugi.config import DataSection
from kintsugi.errors import ConfigError
from kintsugi.images import decode_image
from kintsugi.masks import draw_mask

Rows = NDArray[np.int64]


@dataclass(frozen=True)
class Used:
    """A part of an epoch that is done: ``steps`` steps of ``workers`` workers."""

    workers: int
    batch_size: int
    steps: int


@dataclass(frozen=True)
class Position:
    """Where a run stands in its data: an epoch and what of it is used."""

    epoch: int = 0
    used: tuple[Used, ...] = ()


@dataclass(frozen=True)
class Read:
    """Rows of one window that one worker reads at once, in this order.

    Attributes:
        epoch: Keys crop, flip and hole.
        rows: Indices into all rows of all shards, in the manifest's order.
    """

    epoch: int
    rows: Rows


@dataclass(frozen=True)
class SampleOrder:
    """The order of samples for a data set, a seed and a number of workers."""

    rows_per_part: tuple[int, ...]
    seed: int
    shuffle_parts: int
    workers: int
    batch_size: int

    def __post_init__(self) -> None:
        total = sum(self.rows_per_part)
        if total < self.workers * self.batch_size:
            raise ConfigError(
                f"data.shards holds {total} photographs, fewer than one step of"
                f" {self.workers} workers x loop.batch_size={self.batch_size}:"
                " pack more, or lower one of the two"
            )

    def reads(self, start: Position, rank: int) -> Iterator[list[Read]]:
        """The reads of one worker, one list per epoch, without end."""
        position = start
        while True:
            rows, windows = self._left(position)
            share = len(rows) // (self.workers * self.batch_size) * self.batch_size
            mine = slice(rank * share, (rank + 1) * share)
            cuts = np.flatnonzero(np.diff(windows[mine])) + 1
            if share:
                yield [Read(position.epoch, part) for part in np.split(rows[mine], cuts)]
            position = Position(position.epoch + 1)

    def advance(self, start: Position, steps: int) -> Position:
        """The position after ``steps`` more steps of all workers."""
        position = start
        while True:
            rows, _ = self._left(position)
            whole = len(rows) // (self.workers * self.batch_size)
            if steps < whole:
                return self._use(position, steps)
            steps -= whole
            position = Position(position.epoch + 1)

    def _use(self, position: Position, steps: int) -> Position:
        if not steps:
            return position
        earlier = position.used
        if earlier and (earlier[-1].workers, earlier[-1].batch_size) == (
            self.workers,
            self.batch_size,
        ):
            # The same workers go on where they stood: one part, not two.
            steps += earlier[-1].steps
            earlier = earlier[:-1]
        return Position(position.epoch, (*earlier, Used(self.workers, self.batch_size, steps)))

    def _left(self, position: Position) -> tuple[Rows, Rows]:
        """Rows of the epoch that are not used yet, and the window of each."""
        rows, windows = epoch_order(
            self.rows_per_part, self.seed, position.epoch, self.shuffle_parts
        )
        for used in position.used:
            share = len(rows) // (used.workers * used.batch_size) * used.batch_size
            left = np.ones(len(rows), dtype=bool)
            for worker in range(used.workers):
                left[worker * share : worker * share + used.steps * used.batch_size] = False
            rows, windows = rows[left], windows[left]
        return rows, windows


def epoch_order(
    rows_per_part: Sequence[int], seed: int, epoch: int, shuffle_parts: int
) -> tuple[Rows, Rows]:
    """All rows in the order of one epoch, and for each the window that it belongs to."""
    rng = np.random.default_rng([seed, epoch])
    offsets = np.concatenate([[0], np.cumsum(rows_per_part)])
    parts = rng.permutation(len(rows_per_part))
    rows: list[Rows] = []
    windows: list[Rows] = []
    for window, first in enumerate(range(0, len(parts), shuffle_parts)):
        chosen = parts[first : first + shuffle_parts]
        joined = np.concatenate([np.arange(offsets[p], offsets[p + 1]) for p in chosen])
        rows.append(rng.permutation(joined))
        windows.append(np.full(len(joined), window))
    return np.concatenate(rows), np.concatenate(windows)


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


def draw_sample(
    pixels: NDArray[np.uint8], key: int, epoch: int, seed: int, config: DataSection
) -> tuple[NDArray[np.uint8], NDArray[np.bool_], float]:
    """Crop, flip and hole of one photograph in one epoch, and its random draw."""
    rng = np.random.default_rng([seed, epoch, key])
    side = config.crop_px
    top = int(rng.integers(pixels.shape[0] - side + 1))
    left = int(rng.integers(pixels.shape[1] - side + 1))
    crop = pixels[top : top + side, left : left + side]
    if rng.random() < 0.5:
        crop = crop[:, ::-1]
    kind = config.masks[int(rng.integers(len(config.masks)))]
    draw = float(rng.random())
    return crop, draw_mask(kind, side, side, rng), draw


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

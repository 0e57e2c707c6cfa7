"""Samples -> a batch, and to the device on which it is used; knows no Ray."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from kintsugi.config.sections import DataSection
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.data.mask_files.packed_masks import open_packed
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.data.samples import Sample, SampleSettings, sample_of
from kintsugi.data.shard_reader import ShardReader
from kintsugi.masks.sets import names_place


@dataclass(frozen=True)
class Batch:
    """One worker's step.

    Attributes:
        keys: int64, B: a hash of each photograph's id.
        image: B 3 S S, RGB 0-1.
        mask: B 1 S S, 1 = hole.
        draw: B, uniform in 0-1: decides what a stage does per sample by chance. It stays in the
            memory of the host, which decides by it.
    """

    keys: Tensor
    image: Tensor
    mask: Tensor
    draw: Tensor

    def to(self, device: torch.device) -> "Batch":
        """The batch on a device; without waiting, where the memory is pinned."""
        keys, image, mask = (
            part.to(device, non_blocking=True) for part in (self.keys, self.image, self.mask)
        )
        return Batch(keys, image, mask, self.draw)

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keys, image, mask and draw."""
        return self.keys, self.image, self.mask, self.draw


@dataclass(frozen=True)
class PackedBatch:
    """One worker's step as it travels to its device: a quarter of the bytes.

    Attributes:
        keys: As in `Batch`.
        image: B S S 3 uint8, RGB.
        mask: B S S bool, true = hole.
        draw: As in `Batch`.
    """

    keys: Tensor
    image: Tensor
    mask: Tensor
    draw: Tensor

    def to(self, device: torch.device) -> Batch:
        """The batch on a device, where it becomes float."""
        keys, image, mask = (
            part.to(device, non_blocking=True) for part in (self.keys, self.image, self.mask)
        )
        # A tensor, not a number: by a number CUDA multiplies with the reciprocal, and rounds
        # otherwise than the processor.
        most = torch.full((), 255.0, device=device)
        return Batch(
            keys,
            image.permute(0, 3, 1, 2).contiguous().float() / most,
            mask[:, None].float(),
            self.draw,
        )

    def pinned(self) -> "PackedBatch":
        """In memory that a GPU copies from while it computes."""
        return PackedBatch(*(part.pin_memory() for part in self.parts()))

    def parts(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Keys, image, mask and draw."""
        return self.keys, self.image, self.mask, self.draw


@dataclass(frozen=True)
class BatchRequest:
    """The batches that one worker asks for.

    Attributes:
        reader: The reader of the shards.
        order: The order of their photographs.
        start: Where the data stands.
        rank: The rank of the worker.
        steps: The least number of batches.
        corrupt: Where rows that do not decode are counted.
    """

    reader: ShardReader
    order: SampleOrder
    start: Position
    rank: int
    steps: int
    corrupt: CorruptRows


def settings_of(config: DataSection, seed: int) -> SampleSettings:
    """What data workers need of the configuration.

    Raises: StorageError: masks of the user's own are not packed yet, or broken.
    """
    masks = tuple(open_packed(each) if names_place(each) else each for each in config.masks)
    return SampleSettings(seed, config.crop_px, config.window_px, config.recolour_share, masks)


def collate(keys: Sequence[int], samples: Sequence[Sample]) -> PackedBatch:
    """Samples to a batch."""
    return PackedBatch(
        keys=torch.tensor(keys, dtype=torch.int64),
        image=torch.from_numpy(np.stack([sample.image for sample in samples])),
        mask=torch.from_numpy(np.stack([sample.mask for sample in samples])),
        draw=torch.tensor([sample.draw for sample in samples], dtype=torch.float32),
    )


def corrupt_rows(reader: ShardReader, config: DataSection) -> CorruptRows:
    """An empty count of a data set's corrupt rows, with the limit of the configuration."""
    return CorruptRows(reader.uri, int(reader.rows_per_part.sum()), config.max_corrupt_share)


def local_batches(
    reader: ShardReader,
    order: SampleOrder,
    config: DataSection,
    start: Position,
    rank: int = 0,
    corrupt: CorruptRows | None = None,
) -> Iterator[PackedBatch]:
    """Batches in this process, without Ray: the same as a Ray worker of that rank gets.

    Args: as in `BatchRequest`; ``config``: how photographs become batches; ``corrupt`` None: a
        count of its own.

    Raises: StorageError when a shard is missing or altered, or more photographs than
        ``config.max_corrupt_share`` do not decode.
    """
    corrupt = corrupt or corrupt_rows(reader, config)
    settings = settings_of(config, order.seed)
    keys: list[int] = []
    samples: list[Sample] = []
    for epoch in order.reads(start, rank):
        for read in epoch:
            for decoded in reader.decode(read):
                corrupt.note(decoded.instead_of)
                keys.append(decoded.key)
                samples.append(sample_of(decoded, settings))
                if len(samples) == order.batch_size:
                    yield collate(keys, samples)
                    keys, samples = [], []

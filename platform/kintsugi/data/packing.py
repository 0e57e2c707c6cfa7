"""Which photographs go into which shard, as a pure function of their names and sizes."""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from kintsugi.data.shards.part_lists import Split
from kintsugi.data.sources.items import Item
from kintsugi.data.splits import HELD_OUT, TRAIN, is_held_out
from kintsugi.errors import ConfigError
from kintsugi.imaging.codec import ImageLimits


@dataclass(frozen=True)
class Packing:
    """How photographs become shards.

    Raises: ConfigError for a share that cannot be held out.
    """

    rows_per_part: int = 256
    # Bytes of photographs in a part; a larger single one is a part by itself.
    max_part_bytes: int = 32 * 2**20
    # Below 64 px a crop for training would be mostly made up by scaling.
    limits: ImageLimits = ImageLimits(min_side=64)
    # Replace shards that are there.
    overwrite: bool = False
    # Share of the photographs that goes into parts of its own, which training never reads.
    held_out_share: float = 0.0
    # A photograph whose shorter side is longer is stored at this one, as JPEG; 0 = as it came.
    max_side: int = 0

    def __post_init__(self) -> None:
        if not 0 <= self.held_out_share < 1:
            raise ConfigError(
                f"a held-out share of {self.held_out_share} is not possible: give 0 (none) to"
                " below 1, for example 0.02"
            )
        if self.max_side and self.max_side < self.limits.min_side:
            raise ConfigError(
                f"max_side={self.max_side}: at least {self.limits.min_side} px, or 0 to keep"
                " photographs as they are"
            )


@dataclass(frozen=True)
class PartPlan:
    """Which photographs go into which file."""

    name: str
    items: tuple[Item, ...]
    split: Split = TRAIN


def place_of(name: str, packing: Packing, seed: int) -> tuple[Split, bytes]:
    """By what photographs are ordered: the split, those of training first, then a number.

    That is a hash of seed and id: neighbours in a part are unrelated, and adding a photograph does
    not reorder the others.
    """
    split: Split = HELD_OUT if is_held_out(name, packing.held_out_share) else TRAIN
    return split, hashlib.sha256(f"{seed}:{name}".encode()).digest()


def rows_of_parts(sizes: Iterable[int], packing: Packing) -> Iterator[int]:
    """How many photographs each part of a split takes.

    Args:
        sizes: Bytes of the split's photographs, in their order.
        packing: How large a part may be.
    """
    rows = room = 0
    for size in sizes:
        if rows and (rows == packing.rows_per_part or size > room):
            yield rows
            rows = 0
        if not rows:
            room = packing.max_part_bytes
        rows += 1
        room -= size
    if rows:
        yield rows

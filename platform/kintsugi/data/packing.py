"""Which photographs go into which shard, as a pure function of their names and sizes."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from kintsugi.data.shard_manifest import part_name
from kintsugi.data.shards.part_lists import Reject, Split
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
    ids: tuple[str, ...]
    split: Split = TRAIN


def plan_parts(
    sizes: dict[str, int], packing: Packing, seed: int
) -> tuple[list[PartPlan], tuple[Reject, ...]]:
    """Divide photographs among parts; those of training come first.

    The order is that of a hash of seed and id: neighbours in a part are unrelated, and adding a
    photograph does not reorder the others.

    Args:
        sizes: Id of each photograph -> bytes of its file.
        packing: How large a part may be, and which share is held out.
        seed: Decides the order.

    Returns: The plans, and the photographs whose names cannot be stored.
    """
    misnamed = {name for name in sizes if not _is_unicode(name)}
    order = sorted(sizes.keys() - misnamed, key=lambda name: _shuffle_key(seed, name))
    held_out = {name for name in order if is_held_out(name, packing.held_out_share)}
    splits: dict[Split, list[str]] = {
        TRAIN: [name for name in order if name not in held_out],
        HELD_OUT: [name for name in order if name in held_out],
    }
    plans: list[PartPlan] = []
    for split, names in splits.items():
        for group in _groups(names, sizes, packing):
            plans.append(PartPlan(part_name(len(plans)), tuple(group), split))
    return plans, tuple(_misnamed(name) for name in misnamed)


def _groups(names: Sequence[str], sizes: dict[str, int], packing: Packing) -> Iterator[list[str]]:
    group: list[str] = []
    room = 0
    for name in names:
        if group and (len(group) == packing.rows_per_part or sizes[name] > room):
            yield group
            group = []
        if not group:
            room = packing.max_part_bytes
        group.append(name)
        room -= sizes[name]
    if group:
        yield group


def _is_unicode(name: str) -> bool:
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _misnamed(name: str) -> Reject:
    readable = name.encode("utf-8", "replace").decode()
    return Reject(readable, "name_not_unicode", "its name is not UTF-8: rename it")


def _shuffle_key(seed: int, name: str) -> bytes:
    return hashlib.sha256(f"{seed}:{name}".encode()).digest()

"""Mask sets: a name and a seed give every photograph its hole, forever; knows no storage.

A mask depends on the set's kind, side and seed and on the photograph's id, and on nothing
else: not on the machine, the order of the photographs or how many there are.
"""

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from kintsugi.errors import ConfigError
from kintsugi.masks.generators import Mask, check_kind, draw_mask

# The sets that published comparisons use: this paper's test and its random rectangles, LaMa's
# evaluation at both its sizes, and outpainting.
STANDARD_SETS = (
    "center-224-512",
    "rectangle-256",
    *(f"{kind}-{side}" for side in (256, 512) for kind in ("thin", "medium", "thick")),
    "border-256",
    "border-512",
)
# Bins of a set's holes by the share of the image that they take.
HOLE_BINS = 10

_NAME = re.compile(r"(.+)-([1-9][0-9]*)")
# The networks take every size from 64 px on; multiples of 8 need no padding.
_SIDE_STEP_PX, _SMALLEST_SIDE_PX = 8, 64


class Masks(Protocol):
    """Where the holes of an evaluation come from."""

    @property
    def name(self) -> str:
        """As it stands in reports."""

    @property
    def side_px(self) -> int:
        """Side of the square masks, and of the photographs they lie on."""

    def about(self) -> dict[str, Any]:
        """What decides its masks, for a report, as plain JSON types."""

    def mask_of(self, photo_id: str) -> Mask:
        """The hole of a photograph, bool with True = hole: the same every time.

        Raises: InvalidInput when there is none for it.
        """


@dataclass(frozen=True)
class MaskSet:
    """Square photographs of one size with one kind of seeded hole.

    Attributes:
        name: As the user wrote it, such as ``center-96-256`` or ``thick-512``.
        kind: As `kintsugi.masks.generators.draw_mask` knows it.
        side_px: The side of photograph and mask in pixels.
        seed: Another one gives other holes (not to those in the middle).
    """

    name: str
    kind: str
    side_px: int
    seed: int = 0

    def about(self) -> dict[str, Any]:
        """Kind, side and seed."""
        return {"kind": self.kind, "side_px": self.side_px, "seed": self.seed}

    def mask_of(self, photo_id: str) -> Mask:
        """The hole of a photograph: the same for every method, machine and order."""
        key = f"{self.seed}/{self.kind}/{self.side_px}/{photo_id}".encode()
        rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
        return draw_mask(self.kind, self.side_px, self.side_px, rng)


def names_place(name: str) -> bool:
    """Whether a name is the path or URI of masks, and not that of a set or a kind of hole.

    Those have no slash.
    """
    return "/" in name


def parse_mask_set(name: str, seed: int = 0) -> MaskSet:
    """``<kind>-<side>``: ``center-96-256``, ``rectangle-256``, ``thick-512``, ``border-256``.

    ``random`` is the paper's rectangle of 1/8 to 1/2 of the side; ``centre`` is ``center``.

    Raises: ConfigError naming what does not fit.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"mask set {name!r} names no size: write <kind>-<side>, such as center-96-256"
        )
    kind, side = match[1], int(match[2])
    if side % _SIDE_STEP_PX or side < _SMALLEST_SIDE_PX:
        raise ConfigError(
            f"mask set {name!r}: side {side} must be a multiple of {_SIDE_STEP_PX} px, at least"
            f" {_SMALLEST_SIDE_PX}"
        )
    kind = "rectangle" if kind == "random" else re.sub("^centre", "center", kind)
    if kind == "center":
        raise ConfigError(
            f"mask set {name!r} names one size: write both the hole's and the picture's side,"
            " such as center-96-256"
        )
    check_kind(kind)
    # Now, and not at the first photograph: a center square may be too large.
    draw_mask(kind, side, side, np.random.default_rng(0))
    return MaskSet(name, kind, side, seed)


def mask_digest(masks: Iterable[tuple[str, Mask]]) -> str:
    """SHA-256 over ids and masks in their order, whatever file format they come from."""
    digest = hashlib.sha256()
    for mask_id, mask in masks:
        height, width = mask.shape
        digest.update(f"{mask_id}\n{height} {width}\n".encode())
        digest.update(np.packbits(mask).tobytes())
    return digest.hexdigest()


def hole_bin(share: float) -> int:
    """Which of HOLE_BINS equal bins a hole belongs to; a bin has its lower end and not its upper.

    Args: ``share``: 0-1; a whole image belongs to the last bin.
    """
    return min(HOLE_BINS - 1, int(share * HOLE_BINS))


def numbered_ids(count: int) -> list[str]:
    """Ids for masks of no photographs in particular. Raises: ConfigError for a count below 1."""
    if count < 1:
        raise ConfigError(f"count {count}: at least 1 mask")
    return [f"{index:06d}" for index in range(count)]

"""Which parts of a photograph are worked on: holes to groups, groups to crops; knows no network.

A box is (top, bottom, left, right) in pixels, its ends outside.
"""

import math
from itertools import pairwise
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.networks.image2feature import GENERATOR_STRIDE
from kintsugi.models.plan.components import components_of
from kintsugi.models.plan.resizing import SMALLEST_SIDE, padded_side

Box = tuple[int, int, int, int]

# Photographs up to this side are worked on whole; of larger ones a crop of at least this.
SMALLEST_CROP = 512
# Crops of more pixels than this, padding counted, are parted where the holes are thin.
LARGEST_CROP = 2048 * 2048
# A part of them is this long, or as long as it may be where it is narrow; this much around it.
PART = 1536
PART_CONTEXT = 256
# Holes are separated on a grid of blocks of this side, coarser when they are too many.
BLOCK = 32
MOST_NEAR_GROUPS = 256
# Holes with at most this many blocks between them are one group from the start.
NEAR_BLOCKS = 8
# What starting another crop costs, in pixels of work: its small scales.
CROP_OVERHEAD = 256 * 256
# More crops than this cost more in waiting than they save.
MOST_CROPS = 32
# Parts and crops, together; only pictures over 100 megapixels or a few pixels wide need more.
MOST_PARTS = 64


class Crop(NamedTuple):
    """A group of holes and what is worked on for it.

    Attributes:
        own: The box of the holes that this crop fills.
        box: What is worked on: the holes with context; it may hold other holes too.
    """

    own: Box
    box: Box


def _hole_box(hole: Float[Tensor, "1 1 H W"]) -> Box:
    """The smallest box that holds every hole pixel; there must be one."""
    spans = []
    for axis in (2, 3):
        filled = hole[0, 0].any(dim=3 - axis).nonzero().flatten()
        spans += [int(filled[0]), int(filled[-1]) + 1]
    return _as_box(torch.tensor(spans))


def crops_of(hole: Float[Tensor, "1 1 H W"]) -> list[Crop]:
    """What to work on to fill every hole: one crop for each group of holes.

    Holes near one another are one group. Of the others two are joined where one crop for
    both is less work than two, or where there are too many crops: thousands of specks
    become a few crops or one. A large crop of thin holes only is parted, so that its
    memory stays bounded; thick holes are never parted. Boxes of holes never overlap, and
    every hole pixel is in one.

    Args:
        hole: 1 = hole; at least one hole pixel. On any device: it is looked at on the CPU.

    Raises: ValueError for more than 64 crops.
    """
    hole = hole.cpu()
    height, width = hole.shape[-2:]
    crops = []
    for group in _joined(_near_groups(hole), height, width):
        own = _shrunk(hole, group)
        box = _context(own, height, width)
        if _padded_area(box) > LARGEST_CROP and _is_thin(hole, own):
            crops += _parted(hole, own)
        else:
            crops.append(Crop(own, box))
    if len(crops) > MOST_PARTS:
        raise ValueError(
            f"the holes of this {width}x{height} image would take {len(crops)} crops, more than"
            f" {MOST_PARTS}: cut the image into parts and fill each"
        )
    return sorted(crops)


def _joined(groups: list[Box], height: int, width: int) -> list[Box]:
    """Boxes joined two by two, those first that save most, until joining saves nothing."""
    boxes = torch.tensor(groups)
    while len(boxes) > 1:
        unions = _unions(boxes)
        work = _areas(_contexts(boxes, height, width))
        joined = _areas(_contexts(unions.flatten(0, 1), height, width)).view(unions.shape[:2])
        saving = work[:, None] + work + CROP_OVERHEAD - joined
        saving[_overlap(boxes)] = math.inf
        saving.fill_diagonal_(-math.inf)
        first, second = divmod(int(saving.argmax()), len(boxes))
        if saving[first, second] < 0 and len(boxes) <= MOST_CROPS:
            break
        kept = torch.ones(len(boxes), dtype=torch.bool)
        kept[[first, second]] = False
        boxes = torch.cat([boxes[kept], unions[first, second][None]])
    return [_as_box(box) for box in boxes]


def _parted(hole: Float[Tensor, "1 1 H W"], own: Box) -> list[Crop]:
    """Equal parts of a box as crops of their own; parts without a hole are left out."""
    height, width = hole.shape[-2:]
    rows, columns = own[1] - own[0], own[3] - own[2]
    # The shorter side first: how wide its parts are says how long they may be.
    if rows <= columns:
        row_parts = _equal_parts(own[0], own[1], PART)
        column_parts = _equal_parts(own[2], own[3], _part_length(row_parts[0], height))
    else:
        column_parts = _equal_parts(own[2], own[3], PART)
        row_parts = _equal_parts(own[0], own[1], _part_length(column_parts[0], width))
    crops = []
    for top, bottom in row_parts:
        for left, right in column_parts:
            if hole[..., top:bottom, left:right].any():
                part = _shrunk(hole, (top, bottom, left, right))
                seen = _around(part[0], part[1], height)
                crops.append(Crop(part, (*seen, *_around(part[2], part[3], width))))
    return crops


def _equal_parts(first: int, last: int, longest: int) -> list[tuple[int, int]]:
    count = math.ceil((last - first) / longest)
    ends = [first + (last - first) * index // count for index in range(count + 1)]
    return list(pairwise(ends))


def _part_length(across: tuple[int, int], side: int) -> int:
    """How long a part may be that spans ``across`` of a side of the photograph."""
    # Equal parts differ by a pixel.
    widest = min(side, max(SMALLEST_CROP, across[1] - across[0] + 1 + 2 * PART_CONTEXT))
    longest = LARGEST_CROP // padded_side(widest) // GENERATOR_STRIDE * GENERATOR_STRIDE
    return max(PART, longest - 2 * PART_CONTEXT)


def _around(first: int, last: int, side: int) -> tuple[int, int]:
    """A span with the context of a part, at least 512 px, inside the photograph."""
    first, last = max(0, first - PART_CONTEXT), min(side, last + PART_CONTEXT)
    length = max(last - first, min(side, SMALLEST_CROP))
    start = max(0, min((first + last - length) // 2, side - length))
    return start, start + length


def _is_thin(hole: Float[Tensor, "1 1 H W"], box: Box) -> bool:
    """Whether no block of the grid is wholly hole: then no hole is as thick as two blocks."""
    top, bottom, left, right = box
    known = 1 - hole[..., top:bottom, left:right]
    return min(known.shape[-2:]) < BLOCK or bool(F.max_pool2d(known, BLOCK).all())


def _shrunk(hole: Float[Tensor, "1 1 H W"], box: Box) -> Box:
    """The smallest box of the hole pixels in a box."""
    top, bottom, left, right = box
    first, last, start, end = _hole_box(hole[..., top:bottom, left:right])
    return top + first, top + last, left + start, left + end


def _near_groups(hole: Float[Tensor, "1 1 H W"]) -> list[Box]:
    """Boxes, to whole blocks, of holes that lie apart by more than `NEAR_BLOCKS`."""
    height, width = hole.shape[-2:]
    block = BLOCK
    while True:
        blocks = F.max_pool2d(hole, block, ceil_mode=True)
        near = components_of(F.max_pool2d(blocks, NEAR_BLOCKS + 1, 1, NEAR_BLOCKS // 2) > 0)
        labels = torch.unique(near[blocks[0, 0] > 0]).tolist()
        if len(labels) <= MOST_NEAR_GROUPS:
            break
        block *= 2
    groups = []
    for label in labels:
        rows, columns = ((near == label) & (blocks[0, 0] > 0)).nonzero(as_tuple=True)
        top, left = block * int(rows.min()), block * int(columns.min())
        bottom, right = block * int(rows.max() + 1), block * int(columns.max() + 1)
        groups.append((top, min(height, bottom), left, min(width, right)))
    return groups


def _context(box: Box, height: int, width: int) -> Box:
    return _as_box(_contexts(torch.tensor([box]), height, width)[0])


def _contexts(boxes: Int64[Tensor, "n 4"], height: int, width: int) -> Int64[Tensor, "n 4"]:
    """Per box the crop: as much again around it, at least 512 px, moved into the photograph."""
    spans = []
    for first, last, side in ((*boxes[:, :2].T, height), (*boxes[:, 2:].T, width)):
        length = (2 * (last - first)).clamp_min(SMALLEST_CROP).clamp_max(side)
        start = ((first + last - length) // 2).clamp_min(0).minimum(side - length)
        spans += [start, start + length]
    return torch.stack(spans, dim=1)


def _unions(boxes: Int64[Tensor, "n 4"]) -> Int64[Tensor, "n n 4"]:
    """The box around every two boxes."""
    low = torch.minimum(boxes[:, None], boxes)
    high = torch.maximum(boxes[:, None], boxes)
    return torch.stack([low[..., 0], high[..., 1], low[..., 2], high[..., 3]], dim=-1)


def _overlap(boxes: Int64[Tensor, "n 4"]) -> Tensor:
    """Which two boxes share a pixel."""
    top, bottom, left, right = boxes.T
    rows = (top[:, None] < bottom) & (top < bottom[:, None])
    columns = (left[:, None] < right) & (left < right[:, None])
    both: Tensor = rows & columns
    return both


def _areas(boxes: Int64[Tensor, "n 4"]) -> Float[Tensor, " n"]:
    """Pixels that are worked on: short sides are padded."""
    rows = (boxes[:, 1] - boxes[:, 0]).clamp_min(SMALLEST_SIDE)
    columns = (boxes[:, 3] - boxes[:, 2]).clamp_min(SMALLEST_SIDE)
    return (rows * columns).float()


def _padded_area(box: Box) -> int:
    return padded_side(box[1] - box[0]) * padded_side(box[3] - box[2])


def _as_box(values: Tensor) -> Box:
    top, bottom, left, right = values.tolist()
    return top, bottom, left, right

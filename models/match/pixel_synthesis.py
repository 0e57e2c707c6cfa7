"""Match to the pixel: a hole filled with what is copied pixel by pixel; no weights.

Beyond the paper, whose match copies cells of 4x4 pixels and averages nine of them, which do not
agree to the pixel: large holes come out dull. Here the fill of the networks is a guide, which says
what belongs where, and patches of pixels are searched and voted in turns
(expectation-maximisation: Wexler, Shechtman, Irani 2007, "Space-time completion of video"; Barnes
et al. 2009, "PatchMatch"), from coarse to fine. The guide counts most at the coarsest size.

What is voted has less contrast than what was copied, since copies average, and the next search
would find patches with still less: a hole ends as fog. So before a search each component of the
hole's sketches is given back the contrast that it lost (`_with_contrast`).

A guided search asks more of a source than that it fits: see `kintsugi.models.match.source_cost`.

`search_pixels` is one scale of a fill; its first scale works through smaller sizes of its own.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.compose.gradient_blend import blend_gradients
from kintsugi.models.match.pixel_search import NO_SOURCE, Field, PatchGrid, PlaceCost, Sketcher
from kintsugi.models.match.pixel_vote import Ballot, pad_like
from kintsugi.models.match.source_cost import (
    place_cost,
    rarity,
    with_repetition,
)
from kintsugi.models.plan.resizing import shrink

# Pixels from a patch's centre to its edge: 7x7 px.
PATCH_RADIUS = 3
# Numbers of a sketch, and of one in an image of more pixels: it has only to tell near places.
_SKETCH, _LARGE_SKETCH, _LARGE_PIXELS = 16, 8, 1024 * 1024
# The longer side at which a guided search begins, and the least of the shorter side.
_COARSEST_LONGER, _COARSEST_SHORTER = 16, 8
# Halving ends where the hole would be less deep than this, in pixels, ...
_LEAST_DEPTH = 2
# ... or less than this share of the known pixels would lie in a patch that can be copied: what
# belongs in a hole is mostly what is next to it, and of that there would be no patch.
_LEAST_COVERED = 0.9
# Searches and votes at each size of the first scale, smallest first, and at a later scale.
_TURNS, _LATER_TURNS = (6, 4, 3, 2), 1
# How much the guide's colour counts at each size against that of a patch.
_GUIDE = (1.0, 0.25, 0.12, 0.05)
# Queries times sources up to which a search is exhaustive.
_MOST_SCORES = 2**18
# And at the smallest size its first one. More often, neighbours would not come to agree.
_MOST_START_SCORES = 2**26
# Random places tried for each query in a turn, each within half the distance of the one before.
_EXPLORED = 3
# Pixels between a query and the neighbours whose finds it tries: far ones first, so that what
# fits is known all over a hole at once (jump flooding: Rong, Tan 2006).
_STEPS = (16, 8, 4, 2, 1)
# What copying from another shift than a neighbour costs, in median distances. At 1 patterns no
# longer come to meet in phase.
_COHERENCE = 0.6
# Pixels within which the first of them lies at a later scale, where places are nearly right.
_LATER_REACH = 8
# Contrast that is given back is the ratio to that of what was copied, at most so much.
_MOST_CONTRAST = 2.0
# Pixels around a patch over which its contrast is measured.
_AROUND = 8
# Energy that cannot be seen: a grey level in every pixel of a patch.
_GREY_LEVEL = (2 * PATCH_RADIUS + 1) ** 2 / 255**2
# Of the last vote at a scale, in pixels: texture keeps its edge.
_LAST_WIDTH = 0.7
# And of the vote of its gradients.
_GRADIENT_WIDTH = 0.45
# Depths from which trust in a patch no longer falls.
_DEEPEST = 64
# Pixels of depth after which it is looked whether any are deeper.
_LOOK_EVERY = 8


class Searched(NamedTuple):
    """One scale's fill and what was copied where.

    Attributes:
        image: 1 3 H W, RGB 0-1; outside the hole that which was given.
        sources: 1 H W int32, per pixel the flat position of the pixel copied there by the patch
            around it; -1 where no patch is.
    """

    image: Tensor
    sources: Tensor


@torch.no_grad()
def search_pixels(
    image: Float[Tensor, "B C H W"],
    mask: Float[Tensor, "M K h w"],
    *,
    previous: Int[Tensor, "1 hp wp"] | None = None,
    seed: int = 0,
) -> Searched:
    """Fill the hole with pixels copied from what is known.

    Args:
        image: 1 3 H W, RGB 0-1; in the hole the guide at the first scale, then the fill of the
            scale before, enlarged. It is not written to.
        mask: 1 1 H W, over 0 = hole.
        previous: ``sources`` of the scale before, at its size; None at the first scale.
        seed: Decides every random choice.

    Returns:
        The fill. Where no patch is without hole pixels the image comes back as it came.

    Raises: ValueError: more than one image, or sides that disagree.
    """
    if image.shape[:2] != (1, 3) or mask.shape != (1, 1, *image.shape[2:]):
        raise ValueError(
            f"image is {tuple(image.shape)} and mask {tuple(mask.shape)}: give one image of"
            " 1 3 H W and its mask of 1 1 H W"
        )
    generator = torch.Generator().manual_seed(seed)
    sizes = _sizes(mask) if previous is None else [_size_of(image)]
    sources = None if previous is None else previous[0].long()
    filled: Tensor | None = None
    for level, size in enumerate(sizes):
        known, hole = (image, mask) if size == sizes[-1] else shrink(image, mask, *size)
        guide = image if size == sizes[-1] else F.interpolate(image, size, mode="area")
        if previous is None:
            weight, turns = _GUIDE[min(level, 3)], _TURNS[min(level, 3)]
        else:
            weight, turns = 0.0, _LATER_TURNS
        grid = PatchGrid.of(known, hole, PATCH_RADIUS)
        if not (len(grid.sources) and len(grid.queries)):
            # Perhaps there is something to copy at the next size.
            continue
        begun = guide if filled is None else _enlarged(filled, size)
        begun = torch.where(hole > 0, begun, known)
        filled, sources = _Search(grid, begun, guide, weight, generator).run(sources, turns)
    if filled is None or sources is None:
        return Searched(image.clone(), torch.full_like(mask[0], NO_SOURCE, dtype=torch.int32))
    return Searched(torch.where(mask > 0, filled, image), sources[None].int())


class _Search:
    """Searches and votes at one size."""

    def __init__(
        self,
        grid: PatchGrid,
        begun: Float[Tensor, "1 3 H W"],
        guide: Float[Tensor, "1 3 H W"],
        guide_weight: float,
        generator: torch.Generator,
    ) -> None:
        self._grid, self._generator = grid, generator
        self._reach = max(begun.shape[-2:]) if guide_weight else _LATER_REACH
        large = begun.shape[-2] * begun.shape[-1] > _LARGE_PIXELS
        self._sketcher = Sketcher(grid, _LARGE_SKETCH if large else _SKETCH, generator)
        self._known = self._sketcher(grid.image)
        self._image = pad_like(begun, grid)
        self._size = _size_of(begun)
        self._guides = _guides(guide, grid, guide_weight) if guide_weight else None
        self._depth = _depths(grid)
        self._place_cost: PlaceCost | None = None
        if self._guides is not None:
            self._place_cost = place_cost(self._known, grid, max(self._size), self._depth.max())
            compared = torch.cat([self._known, self._guides], 1)
            self._rare = rarity(self._known, grid, generator=generator)
            self._known = torch.cat([compared, self._rare.sqrt()[:, None]], 1)
        # What a query's sketch sees, and no more of the image.
        rows, columns = grid.places(grid.queries)
        self._box = tuple(
            slice(int(places.min()) - grid.radius, int(places.max()) + grid.radius + 1)
            for places in (rows, columns)
        )

    def run(
        self, sources: Int64[Tensor, "h w"] | None, turns: int
    ) -> tuple[Float[Tensor, "1 3 H W"], Int64[Tensor, "H W"]]:
        """Take turns, then vote narrowly and blend.

        Args:
            sources: Of the size before; None: none were searched.
            turns: At least 1.
        """
        grid = self._grid
        scores = len(grid.queries) * len(grid.sources)
        exhaustive = scores <= _MOST_SCORES
        field: Field | None = None
        if sources is not None:
            start = _carried(sources, grid, self._size, self._generator)
            field = self._field(None, start)
            self._image = Ballot(grid, field, self._depth).colours(self._image, width=_LAST_WIDTH)
        elif not exhaustive and scores <= _MOST_START_SCORES:
            # By the guide: of a random beginning scraps of anything are left.
            field = self._field(None, None)
        elif not exhaustive:
            drawn = torch.randint(
                len(grid.sources), (len(grid.queries),), generator=self._generator
            )
            start = grid.sources[drawn.to(grid.sources.device)]
            field = self._field(None, start)
        for turn in range(turns):
            if exhaustive:
                field = self._field(field, None)
            else:
                assert field is not None
                field = self._field(field, field.match)
                for step in _STEPS:
                    field.propagate(step)
                reach = self._reach
                for _ in range(_EXPLORED):
                    field.explore(reach, self._generator)
                    reach = max(1, reach // 2)
            field.cohere(_COHERENCE)
            if self._guides is not None:
                self._known[:, -1] = with_repetition(self._rare, grid, field).sqrt()
            last = turn == turns - 1
            ballot = Ballot(grid, field, self._depth)
            self._image = ballot.colours(self._image, width=_LAST_WIDTH if last else None)
        assert field is not None
        right, down = (
            self._cut(ballot.gradients(move, width=_GRADIENT_WIDTH)) for move in (1, grid.width)
        )
        # Without the padding, which is no known pixel.
        blended = blend_gradients(self._cut(self._image), self._cut(grid.hole), right, down)
        return blended, self._table(field)

    def _field(self, before: Field | None, start: Int64[Tensor, " q"] | None) -> Field:
        return Field(self._grid, self._known, self._queries(before), start, self._place_cost)

    def _queries(self, field: Field | None) -> Float[Tensor, "q k"]:
        """Sketches of the hole's patches as the image is now, with their contrast given back."""
        grid = self._grid
        rows, columns = self._box
        part = self._sketcher(self._image[..., rows, columns])
        # From flat positions in the image to those in its box.
        width = columns.stop - columns.start
        row, column = grid.queries // grid.width - rows.start, grid.queries % grid.width
        queries = part[row * width + column - columns.start]
        if field is not None:
            copied = self._known[field.match]
            queries = self._with_contrast(queries, copied)
        if self._guides is None:
            return queries
        # What a source costs by itself is in no query: a squared distance adds it.
        return torch.cat(
            [queries, self._guides[grid.queries], queries.new_zeros(len(queries), 1)], 1
        )

    def _with_contrast(
        self, queries: Float[Tensor, "q k"], copied: Float[Tensor, "q K"]
    ) -> Float[Tensor, "q k"]:
        """Sketches of voted patches with the contrast of what they were voted from.

        The ratio of the two energies around each patch is what averaging took. Around: a wall next
        to a curtain stays a wall. Rejected: the ratio to a power of 2 or 3. Distances of pooled
        features fell by half, and by eye scraps of objects stood in walls and skies.
        """
        contrast = self._sketcher.contrast
        energy, wished = (
            self._around(part[:, contrast].square()) + _GREY_LEVEL for part in (queries, copied)
        )
        answer = queries.clone()
        answer[:, contrast] *= (wished / energy).sqrt().clamp(1, _MOST_CONTRAST)
        return answer

    def _around(self, values: Float[Tensor, "q k"]) -> Float[Tensor, "q k"]:
        """The mean over the queries around each one."""
        grid = self._grid
        rows, columns = self._box
        height, width = rows.stop - rows.start, columns.stop - columns.start
        row, column = grid.places(grid.queries)
        place = (row - rows.start) * width + column - columns.start
        table = values.new_zeros(1, values.shape[1] + 1, height * width)
        table[0, :-1, place] = values.T
        table[0, -1, place] = 1
        table = table.view(1, -1, height, width)
        side = 2 * _AROUND + 1
        mean = F.avg_pool2d(table, (side, 1), 1, (_AROUND, 0))
        mean = F.avg_pool2d(mean, (1, side), 1, (0, _AROUND)).flatten(2)[0][:, place]
        return (mean[:-1] / mean[-1:]).T

    def _cut(self, image: Shaped[Tensor, "*channels h w"]) -> Shaped[Tensor, "*channels H W"]:
        """Without the padding."""
        (height, width), radius = self._size, self._grid.radius
        return image[..., radius : radius + height, radius : radius + width]

    def _table(self, field: Field) -> Int64[Tensor, "H W"]:
        """Per pixel of the image its source as a flat position in the image, not padded."""
        grid = self._grid
        row, column = (part - grid.radius for part in grid.places(field.match))
        table = grid.queries.new_full(grid.hole.shape, NO_SOURCE)
        table.view(-1)[grid.queries] = row * self._size[1] + column
        return self._cut(table)


def _guides(
    guide: Float[Tensor, "1 3 H W"], grid: PatchGrid, weight: float
) -> Float[Tensor, "n 3"]:
    """The mean colour around each pixel, to compare what belongs there; both sides as smooth."""
    side = 2 * grid.radius + 1
    around = F.pad(guide, (grid.radius,) * 4, mode="replicate")
    mean = F.avg_pool2d(around, side, 1)
    scaled = mean * (weight**0.5 * side)
    return pad_like(scaled, grid)[0].flatten(1).T


def _carried(
    sources: Int64[Tensor, "h w"],
    grid: PatchGrid,
    size: tuple[int, int],
    generator: torch.Generator,
) -> Int64[Tensor, " q"]:
    """The sources of a smaller size on this one's grid; random ones where there were none."""
    height, width = sources.shape
    row, column = (part - grid.radius for part in grid.places(grid.queries))
    # The queries of the smaller size begin as far from its edge.
    inner = [
        torch.div(place * small, large, rounding_mode="floor").clamp(
            min(grid.radius, small - 1), max(0, small - 1 - grid.radius)
        )
        for place, small, large in zip((row, column), (height, width), size, strict=True)
    ]
    found = sources[inner[0], inner[1]]
    moved = []
    for place, before, old, small, large in (
        (row, inner[0], torch.div(found, width, rounding_mode="floor"), height, size[0]),
        (column, inner[1], found % width, width, size[1]),
    ):
        shift = ((old - before) * (large / small)).round().long()
        moved.append(place + shift)
    within = (moved[0] >= 0) & (moved[0] < size[0]) & (moved[1] >= 0) & (moved[1] < size[1])
    place = (moved[0] + grid.radius) * grid.width + moved[1] + grid.radius
    place = torch.where(within & (found != NO_SOURCE), place, 0)
    drawn = torch.randint(len(grid.sources), (len(grid.queries),), generator=generator)
    return torch.where(grid.is_source[place], place, grid.sources[drawn.to(grid.sources.device)])


def _depths(grid: PatchGrid) -> Float[Tensor, " q"]:
    """Pixels from each query to what is known, at most 64; 0 outside the hole."""
    rows, columns = (grid.hole.any(axis).nonzero()[:, 0] for axis in (1, 0))
    # The hole and a pixel around it, no more of the image. Beyond the picture's edge, which is
    # padding here, nothing is known.
    box = tuple(slice(int(found[0]) - 1, int(found[-1]) + 2) for found in (rows, columns))
    inside = torch.zeros_like(grid.hole)
    radius = grid.radius
    inside[radius : inside.shape[0] - radius, radius : inside.shape[1] - radius] = True
    outside = (inside & ~grid.hole)[box].to(grid.image)[None]
    depth = torch.zeros_like(outside)
    for turn in range(min(_DEEPEST, max(outside.shape[-2:]))):
        # Not at each: a GPU would wait for every answer.
        if turn % _LOOK_EVERY == 0 and bool(outside.all()):
            break
        depth += 1 - outside
        outside = F.max_pool2d(outside, 3, 1, 1)
    whole = grid.image.new_zeros(grid.hole.shape)
    whole[box] = torch.where(grid.hole[box], depth[0], 0)
    return whole.flatten()[grid.queries]


def _sizes(mask: Float[Tensor, "1 1 H W"]) -> list[tuple[int, int]]:
    """Sizes of a guided search, from the smallest to the mask's own."""
    hole = (mask > 0).to(mask)
    sizes = [_size_of(mask)]
    while True:
        height, width = sizes[0][0] // 2, sizes[0][1] // 2
        if max(sizes[0]) <= _COARSEST_LONGER or min(height, width) < _COARSEST_SHORTER:
            return sizes
        small = F.adaptive_max_pool2d(hole, (height, width))
        if _is_shallow(small) or _covered(small) < _LEAST_COVERED:
            return sizes
        sizes.insert(0, (height, width))


def _size_of(image: Tensor) -> tuple[int, int]:
    height, width = image.shape[-2:]
    return height, width


def _covered(hole: Float[Tensor, "1 1 h w"]) -> float:
    """Of the known pixels those that lie in a patch without hole pixels, 0-1."""
    side = 2 * PATCH_RADIUS + 1
    if min(hole.shape[-2:]) < side:
        return 0.0
    sources = F.pad(1 - F.max_pool2d(hole, side, 1), (PATCH_RADIUS,) * 4)
    covered = F.max_pool2d(sources, side, 1, PATCH_RADIUS)
    return float(covered.sum() / (1 - hole).sum().clamp_min(1))


def _is_shallow(hole: Float[Tensor, "1 1 h w"]) -> bool:
    """Whether no pixel of the hole is as deep as the smallest size needs."""
    side = 2 * _LEAST_DEPTH - 1
    return bool(F.max_pool2d(1 - hole, side, 1, side // 2).all())


def _enlarged(image: Float[Tensor, "1 3 h w"], size: tuple[int, int]) -> Tensor:
    return F.interpolate(image, size, mode="bicubic", align_corners=False).clamp(0, 1)

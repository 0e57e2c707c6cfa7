"""Searches and votes at one size of a hole, in turns, then a narrow vote and a blend; no weights.

Expectation-maximisation on patches (Wexler, Shechtman, Irani 2007, "Space-time completion of
video"; Barnes et al. 2009, "PatchMatch"): a search says which known patch is nearest to each patch
over the hole as it is now, a vote what the hole's pixels become.

What is voted has less contrast than what was copied, since copies average, and the next search
would find patches with still less: a hole ends as fog. So before a search each component of the
hole's sketches is given back the contrast that it lost (`_with_contrast`).

A guided search asks more of a source than that it fits:
`kintsugi.models.match.pixel.source_cost`.
"""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.compose.gradient_blend import blend_gradients
from kintsugi.models.match.pixel.pixel_search import (
    NO_SOURCE,
    Field,
    PatchGrid,
    PlaceCost,
    Sketcher,
)
from kintsugi.models.match.pixel.pixel_vote import Ballot, pad_like
from kintsugi.models.match.pixel.source_cost import place_cost, rarity, with_repetition

# Pixels from a patch's centre to its edge: 7x7 px.
PATCH_RADIUS = 3
# Numbers of a sketch, and of one in an image of more pixels: it has only to tell near places.
_SKETCH, _LARGE_SKETCH, _LARGE_PIXELS = 16, 8, 1024 * 1024
# Queries times sources up to which a search is exhaustive.
_MOST_SCORES = 2**18
# And at the smallest size its first one. More often, neighbours would not come to agree.
_MOST_START_SCORES = 2**26
# Random places tried for each query in a turn, each within half the distance of the one before.
_EXPLORED = 3
# Pixels between a query and the neighbours whose finds it tries: far ones first, so that what
# fits is known all over a hole at once (jump flooding: Rong, Tan 2006).
_STEPS = (16, 8, 4, 2, 1)
# At a later scale places are nearly right.
_LATER_STEPS = (2, 1)
# What copying from another shift than a neighbour costs, in median distances. At 1 patterns no
# longer come to meet in phase.
_COHERENCE = 0.6
# Pixels within which the first of them lies at a later scale.
_LATER_REACH = 8
# Contrast that is given back is the ratio to that of what was copied, at most so much.
_MOST_CONTRAST = 2.0
# Pixels around a patch over which its contrast is measured.
_AROUND = 8
# Side of the cells of that at a later scale, where an eighth of the work says the same.
_LATER_CELL = 2
# Energy that cannot be seen: a grey level in every pixel of a patch.
_GREY_LEVEL = (2 * PATCH_RADIUS + 1) ** 2 / 255**2
# Of the last vote at a size, in pixels: texture keeps its edge. Rejected: 0.7 and 0.45, whose fills
# were smoother than what surrounds them.
_LAST_WIDTH = 0.5
# And of the vote of its gradients.
_GRADIENT_WIDTH = 0.3
# Depths from which trust in a patch no longer falls.
_DEEPEST = 64
# Pixels of depth after which it is looked whether any are deeper.
_LOOK_EVERY = 8


class Guide(NamedTuple):
    """What is drawn in the hole, and how a search follows it.

    Attributes:
        image: RGB 0-1, of the size that is searched.
        weight: How much its colour counts against that of a patch, over 0.
    """

    image: Float[Tensor, "1 3 H W"]
    weight: float


class SizeSearch:
    """Searches and votes at one size.

    Args:
        grid: The image's patches; some touch the hole and some are known.
        begun: RGB 0-1, with something in its hole.
        guide: None at a later scale, where places are nearly right.
        generator: Decides every random choice; on the CPU.
    """

    def __init__(
        self,
        grid: PatchGrid,
        begun: Float[Tensor, "1 3 H W"],
        guide: Guide | None,
        generator: torch.Generator,
    ) -> None:
        self._grid, self._generator = grid, generator
        self._size = size_of(begun)
        large = begun.shape[-2] * begun.shape[-1] > _LARGE_PIXELS
        self._sketcher = Sketcher(grid, _LARGE_SKETCH if large else _SKETCH, generator)
        self._known = self._sketcher(grid.image)
        self._image = pad_like(begun, grid)
        self._depth = _depths(grid)
        self._guides: Tensor | None = None
        self._place_cost: PlaceCost | None = None
        self._reach = _LATER_REACH
        if guide is not None:
            self._reach = max(self._size)
            self._guides = _guides(guide.image, grid, guide.weight)
            self._place_cost = place_cost(self._known, grid, self._reach, self._depth.max())
            self._rare = rarity(self._known, grid, generator=generator)
            # What a source costs by itself is a number of its own.
            numbers = [self._known, self._guides, self._rare.sqrt()[:, None]]
            self._known = torch.cat(numbers, 1)
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
                for step in _LATER_STEPS if self._guides is None else _STEPS:
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
        """The mean over the queries around each one; at a later scale to cells of 2x2 px."""
        grid = self._grid
        rows, columns = self._box
        height, width = rows.stop - rows.start, columns.stop - columns.start
        row, column = grid.places(grid.queries)
        row, column = row - rows.start, column - columns.start
        table = values.new_zeros(1, values.shape[1] + 1, height * width)
        table[0, :-1, row * width + column] = values.T
        table[0, -1, row * width + column] = 1
        cell = 1 if self._guides is not None else _LATER_CELL
        cells = F.avg_pool2d(table.view(1, -1, height, width), cell, ceil_mode=True)
        reach = _AROUND // cell
        side = 2 * reach + 1
        mean = F.avg_pool2d(cells, (side, 1), 1, (reach, 0))
        mean = F.avg_pool2d(mean, (1, side), 1, (0, reach))[0][:, row // cell, column // cell]
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


def size_of(image: Tensor) -> tuple[int, int]:
    """Height and width."""
    height, width = image.shape[-2:]
    return height, width

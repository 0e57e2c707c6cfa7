"""Nearest patches of pixels: where each patch over a hole copies from; no weights.

A patch is a square of pixels, named by its centre. A field gives each patch that touches the hole
(a query) the centre of a patch without hole pixels (a source). Patches are compared by sketches:
their largest principal components among the known patches of the same image. Small problems are
searched exhaustively, large ones by PatchMatch (Barnes et al. 2009): each query tries what its
neighbours found, shifted, and random places around its own match. The rounds run over all queries
at once, with a fixed number of operations and no data-dependent branch, so that they suit
accelerators as well.

Indices are flat positions in the image padded by the patch's radius on every side, so that a
neighbour of a centre never lies outside.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

# Known patches from which the principal components are computed.
_PCA_PATCHES = 4096
# Directions that carry most of a patch's variance are its mean colours: they have no contrast.
_MEAN_COLOURS = 3
# Queries compared at one time: what is gathered for them stays in a processor's cache.
_QUERIES_AT_ONCE = 2**15
# Scores of an exhaustive search held at one time.
_SCORES_AT_ONCE = 2**22
NO_SOURCE = -1
# Squared distance that cannot be seen: two grey levels in each of 7x7 pixels, three channels.
_UNSEEN = 3 * 49 * (2 / 255) ** 2


@dataclass(frozen=True)
class PatchGrid:
    """One image's patches: which touch the hole, which are known.

    Attributes:
        image: 1 3 h w, padded by ``radius``; 0 in the hole.
        hole: h w, padded: True = hole.
        radius: Pixels from a patch's centre to its edge.
        queries: Centres of the patches that touch the hole, ascending.
        is_source: h*w, whether a position is the centre of a patch without hole pixels.
        sources: Their centres, ascending.
    """

    image: Float[Tensor, "1 3 h w"]
    hole: Bool[Tensor, "h w"]
    radius: int
    queries: Int64[Tensor, " q"]
    is_source: Bool[Tensor, " n"]
    sources: Int64[Tensor, " s"]

    @property
    def width(self) -> int:
        """Of a padded row: one down is so far in flat positions."""
        return self.hole.shape[1]

    @staticmethod
    def of(
        image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 H W"], radius: int
    ) -> "PatchGrid":
        """The patches of an image; all lie wholly inside it.

        Args:
            image: RGB 0-1; what it holds in the hole does not matter, be it NaN.
            mask: Over 0 = hole.
            radius: Pixels from a patch's centre to its edge. In an image with a side of less
                than ``2 * radius + 1`` there are no patches.
        """
        hole = (mask > 0).to(image)
        known = torch.where(mask > 0, 0.0, image)
        inside = torch.zeros_like(hole)
        inside[..., radius : image.shape[-2] - radius, radius : image.shape[-1] - radius] = 1
        touching = F.max_pool2d(hole, 2 * radius + 1, 1, radius)
        pads = (radius,) * 4
        queries, sources = (F.pad(inside * each, pads) for each in (touching, 1 - touching))
        is_source = sources.flatten() > 0
        return PatchGrid(
            F.pad(known, pads),
            F.pad(hole, pads)[0, 0] > 0,
            radius,
            queries.flatten().nonzero()[:, 0],
            is_source,
            is_source.nonzero()[:, 0],
        )

    @property
    def can_be_filled(self) -> bool:
        """Whether a patch touches the hole, and one is known to be copied."""
        return bool(len(self.queries) and len(self.sources))

    def places(self, flat: Int64[Tensor, " k"]) -> tuple[Int64[Tensor, " k"], Int64[Tensor, " k"]]:
        """Rows and columns of flat positions, in the padded image."""
        return torch.div(flat, self.width, rounding_mode="floor"), flat % self.width

    def offsets(self) -> Int64[Tensor, " k"]:
        """From a centre to each pixel of its patch, in flat positions, row by row."""
        steps = torch.arange(-self.radius, self.radius + 1, device=self.image.device)
        return (steps[:, None] * self.width + steps).flatten()

    def pixels(self) -> Float[Tensor, "n 3"]:
        """Colours by flat position."""
        return self.image[0].flatten(1).T.contiguous()


@dataclass(frozen=True)
class PlaceCost:
    """What copying costs by how far a source lies from its query, in rows and in columns.

    Attributes:
        places: n 2: row and column of each flat position, scaled so that a squared difference of
            them is a cost.
        free: Difference of each of the two up to which there is no cost, scaled alike.
    """

    places: Float[Tensor, "n 2"]
    free: Float[Tensor, "2"]

    def __call__(
        self, queries: Int64[Tensor, "*#k"], sources: Int64[Tensor, "*#k"]
    ) -> Float[Tensor, "..."]:
        """By flat positions, in the unit of squared distances; their shapes may broadcast."""
        # One axis after the other: of all queries and all sources two tables, not four.
        rows, columns = (
            (place[queries] - place[sources]).abs_().sub_(free).clamp_min_(0).square_()
            for place, free in zip(self.places.unbind(1), self.free, strict=True)
        )
        return rows.add_(columns)


class Sketcher:
    """Patches as few numbers whose squared distances are near those of the patches themselves.

    Args:
        grid: Whose known patches the principal components are those of; there is a source.
        length: Numbers of a sketch, at most.
        generator: Draws the known patches; on the CPU.

    Attributes:
        length: Numbers of a sketch.
    """

    def __init__(self, grid: PatchGrid, length: int, generator: torch.Generator) -> None:
        drawn = torch.randint(len(grid.sources), (_PCA_PATCHES,), generator=generator)
        centres = grid.sources[drawn.to(grid.sources.device)]
        patches = grid.pixels()[centres[:, None] + grid.offsets()]
        # Channel by channel, as a convolution's weights are.
        patches = patches.transpose(1, 2).flatten(1)
        self._mean = patches.mean(0)
        deviations = patches - self._mean
        # Of float64: on the same machine the same directions whatever the number of threads.
        covariance = (deviations.T.double() @ deviations.double()) / len(patches)
        _, directions = torch.linalg.eigh(covariance)
        self.length = min(length, directions.shape[1])
        self._basis = directions[:, -self.length :].to(patches)
        self._radius = grid.radius

    def __call__(self, image: Float[Tensor, "1 3 h w"]) -> Float[Tensor, "n k"]:
        """Sketches of all patches of an image, padded as the grid's or a part of that.

        Returns: By flat position in ``image``; where the patch does not lie wholly in it of no use.
        """
        side = 2 * self._radius + 1
        weights = self._basis.T.reshape(self.length, 3, side, side)
        sketches = F.conv2d(image, weights, padding=self._radius)[0]
        centred: Tensor = sketches.flatten(1).T - self._mean @ self._basis
        return centred

    @property
    def contrast(self) -> slice:
        """Which of a sketch's numbers are not the patch's mean colours."""
        return slice(0, max(0, self.length - _MEAN_COLOURS))


class Field:
    """The best source known for every query, and how far it is.

    Args:
        grid: Queries and sources; there is a source.
        sources: n k: what sources are compared by, by flat position.
        queries: q k: the same of the queries, in their order.
        start: Where each query begins; sources only. None: all are searched exhaustively.
        place_cost: Is added to every squared distance, if any.

    Attributes:
        match: Per query the centre of its source.
        distance: Squared distance of the two.
    """

    def __init__(
        self,
        grid: PatchGrid,
        sources: Float[Tensor, "n k"],
        queries: Float[Tensor, "q k"],
        start: Int64[Tensor, " q"] | None,
        place_cost: PlaceCost | None = None,
    ) -> None:
        self._grid, self._sources, self._queries = grid, sources, queries
        self._place_cost = place_cost
        if start is None:
            self.match, self.distance = self._exhaustive()
        else:
            self.match, self.distance = start, self._compare(start)

    def propagate(self, step: int) -> None:
        """Try what the neighbours ``step`` pixels away found, moved back by as much.

        Left, right, above and below one after the other. Beyond the picture's edge a step may
        meet a query of the next row: one more place that is tried.
        """
        grid = self._grid
        table = grid.queries.new_full((len(grid.is_source),), NO_SOURCE)
        for move in (-step, step, -step * grid.width, step * grid.width):
            table[grid.queries] = self.match
            beyond = (grid.queries + move).clamp(0, len(table) - 1)
            found = table[beyond]
            self._try(torch.where(found == NO_SOURCE, self.match, found - move))

    def explore(self, reach: int, generator: torch.Generator) -> None:
        """Try one random place for each query, at most ``reach`` rows and columns from its match.

        ``generator`` is on the CPU: the same places on every device.
        """
        grid = self._grid
        moves = torch.randint(-reach, reach + 1, (2, len(self.match)), generator=generator)
        down, right = moves.to(self.match.device)
        column = self.match % grid.width + right
        place = (self.match // grid.width + down) * grid.width + column
        inside = (column >= 0) & (column < grid.width) & (place >= 0)
        inside &= place < len(grid.is_source)
        self._try(torch.where(inside, place, self.match))

    def cohere(self, weight: float) -> None:
        """Take over what neighbours found where that makes whole pieces of scraps.

        Iterated conditional modes of a Potts model (Besag 1986): a match costs its distance, and
        for each of the four neighbours that copies from another shift as much again as ``weight``
        times the median distance. Places of one colour of a checkerboard do not change together.
        Distances may rise.
        """
        grid = self._grid
        penalty = weight * self.distance.median().clamp_min(_UNSEEN)
        moves = self.match.new_tensor([-1, 1, -grid.width, grid.width])[:, None]
        parity = (grid.queries // grid.width + grid.queries % grid.width) % 2
        for colour in (0, 1):
            chosen = (parity == colour).nonzero()[:, 0]
            if not len(chosen):
                continue
            table = grid.queries.new_full((len(grid.is_source),), NO_SOURCE)
            table[grid.queries] = self.match
            found = table[(grid.queries[chosen] + moves).clamp(0, len(table) - 1)]
            there = found != NO_SOURCE
            own = self.match[chosen]
            shifted = torch.where(there, found - moves, own).clamp(0, len(table) - 1)
            proposed = torch.where(grid.is_source[shifted], shifted, own)
            candidates = torch.cat([own[None], proposed])
            distance = torch.stack(
                [self._distance(self._queries[chosen], grid.queries[chosen], p) for p in candidates]
            )
            # A neighbour whose shift leads nowhere agrees with none.
            differs = (candidates[:, None] != shifted) & there
            best = (distance + penalty * differs.sum(1)).min(0).indices[None]
            self.match[chosen] = candidates.gather(0, best)[0]
            self.distance[chosen] = distance.gather(0, best)[0]

    def _try(self, proposed: Int64[Tensor, " q"]) -> None:
        """Take over the proposals that are sources and nearer."""
        proposed = proposed.clamp(0, len(self._grid.is_source) - 1)
        proposed = torch.where(self._grid.is_source[proposed], proposed, self.match)
        distance = self._compare(proposed)
        better = distance < self.distance
        self.match = torch.where(better, proposed, self.match)
        self.distance = torch.where(better, distance, self.distance)

    def _compare(self, proposed: Int64[Tensor, " q"]) -> Float[Tensor, " q"]:
        parts = (
            torch.split(t, _QUERIES_AT_ONCE) for t in (self._queries, self._grid.queries, proposed)
        )
        return torch.cat([self._distance(*part) for part in zip(*parts, strict=True)])

    def _distance(
        self,
        queries: Float[Tensor, "p k"],
        centres: Int64[Tensor, " p"],
        proposed: Int64[Tensor, " p"],
    ) -> Float[Tensor, " p"]:
        """Between queries, whose centres are ``centres``, and a source for each."""
        distance = (queries - self._sources[proposed]).square().sum(1)
        if self._place_cost is not None:
            distance = distance + self._place_cost(centres, proposed)
        return distance

    def _exhaustive(self) -> tuple[Tensor, Tensor]:
        """The nearest source of every query; among equals the first."""
        grid = self._grid
        sources = self._sources[grid.sources]
        lengths = sources.square().sum(1)
        found = []
        at_once = max(1, _SCORES_AT_ONCE // len(sources))
        for queries, centres in zip(
            torch.split(self._queries, at_once), torch.split(grid.queries, at_once), strict=True
        ):
            scores = lengths - 2 * queries @ sources.T
            if self._place_cost is not None:
                scores = scores + self._place_cost(centres[:, None], grid.sources)
            found.append(scores.min(1))
        nearest = torch.cat([each.indices for each in found])
        distance = torch.cat([each.values for each in found]) + self._queries.square().sum(1)
        return grid.sources[nearest], distance.clamp_min(0)

"""What a source costs by itself in a guided search of pixels: far, rare, repeated ones cost more.

Beyond the paper. That a patch fits is not enough deep in a hole, where the guide is vague. What
belongs there is near, and at the same height rather than above or below: sky, trees and ground lie
in layers. Objects have a texture that is rare in their picture, and pieces of them are what the eye
finds first. And one copy of an object may pass where three in a row do not. Each cost is a part of
the squared distance by which sources are compared; `docs/lab.md` has what each brings.
"""

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.pixel.pixel_search import Field, PatchGrid, PlaceCost

# What a source costs that lies the crop's longer side away, in the mean squared distance of two
# sketches and for columns and rows: what belongs in a hole is near, and at the same height rather
# than above or below, since sky, trees and ground lie in layers.
_FAR_COLUMNS, _FAR_ROWS = 1.0, 3.0
# Columns that cost nothing, in depths of the hole. Were every step to cost, all of a hole would be
# copied from the strip next to it, again and again: trees in rows, as far apart as the strip is
# wide. From so far away each half of a hole can be one piece.
_FREE = 1.0
# What one costs whose texture is like no other, up to the mean distance of textures: objects are
# rare, and pieces of them are what the eye finds first. A like is looked for among so many sources
# drawn at random, so many pixels away and more.
_RARE, _LIKE_AMONG, _LIKE_FROM = 0.3, 256, 6
# Pixels around a source that are its texture. Rejected: patches themselves. No two patches of grass
# are alike, so grass was rare and walls were not: fills were smoother than their surroundings.
_TEXTURE = 4
# What that grows by, as often again as a source is copied more than all would be if they were
# copied alike: of an object next to a hole one copy may pass, three in a row do not. By how rare it
# is, not for each alike: a wall may be repeated, and with a price on that faces came instead.
_REPEATED = 0.5
# Pairs of sources compared at one time.
_PAIRS_AT_ONCE = 2**18


def mean_distance(compared: Float[Tensor, "n k"], grid: PatchGrid) -> Float[Tensor, ""]:
    """Squared, of two sources drawn at random; ``compared`` by flat position."""
    return 2 * compared[grid.sources].var(0, correction=0).sum()


def place_cost(
    sketches: Float[Tensor, "n k"], grid: PatchGrid, longer_side: int, deepest: Tensor
) -> PlaceCost:
    """What a source costs as it lies far away, in the unit of squared distances of sketches.

    Args:
        sketches: Of all patches, by flat position: the cost is in their mean distance.
        grid: Whose sources count.
        longer_side: Of the image, in pixels.
        deepest: Pixels from the middle of the hole to what is known.
    """
    places = torch.stack(grid.places(torch.arange(len(sketches), device=sketches.device)), 1)
    weight = mean_distance(sketches, grid) * sketches.new_tensor([_FAR_ROWS, _FAR_COLUMNS])
    scale = weight.sqrt() / longer_side
    return PlaceCost(places * scale, sketches.new_tensor([0.0, _FREE]) * deepest * scale)


def rarity(
    sketches: Float[Tensor, "n k"], grid: PatchGrid, *, generator: torch.Generator
) -> Float[Tensor, " n"]:
    """What each source costs as there is little like it, by flat position; 0 elsewhere.

    Args:
        sketches: Of all patches, by flat position: the cost is in the unit of their squared
            distances.
        grid: Whose sources are compared with one another.
        generator: Draws the sources among which a like is looked for; on the CPU.
    """
    textures = _textures(sketches, grid)
    order = torch.randperm(len(grid.sources), generator=generator)
    among = grid.sources[order[:_LIKE_AMONG].to(grid.sources.device)]
    others, places = textures[among], torch.stack(grid.places(among))
    lengths = others.square().sum(1)
    cost = sketches.new_zeros(len(sketches))
    for sources in torch.split(grid.sources, _PAIRS_AT_ONCE // len(among) + 1):
        own = textures[sources]
        distance = own.square().sum(1)[:, None] + lengths - 2 * own @ others.T
        here = torch.stack(grid.places(sources))
        near = (here[:, :, None] - places[:, None]).abs().amax(0) < _LIKE_FROM
        least = distance.masked_fill(near, torch.inf).clamp_min(0).amin(1)
        # Where all of a small image is near there is nothing to compare with.
        cost[sources] = torch.where(least.isfinite(), least, 0)
    return _RARE * cost.clamp(max=mean_distance(textures, grid))


def _textures(sketches: Float[Tensor, "n k"], grid: PatchGrid) -> Float[Tensor, "n 2*k"]:
    """Mean and deviation of the sources' sketches around each position; elsewhere of no use."""
    known = grid.is_source.view(1, 1, *grid.hole.shape).to(sketches)
    table = sketches.T.reshape(1, -1, *grid.hole.shape) * known
    share = _around(known).clamp_min(1 / (2 * _TEXTURE + 1) ** 2)
    mean, square = (_around(part) / share for part in (table, table.square()))
    deviation = (square - mean.square()).clamp_min(0).sqrt()
    return torch.cat([mean, deviation], 1)[0].flatten(1).T.contiguous()


def _around(table: Float[Tensor, "1 k h w"]) -> Float[Tensor, "1 k h w"]:
    """The mean over the texture around each position; beyond the edge there is 0."""
    side = 2 * _TEXTURE + 1
    rows = F.avg_pool2d(table, (side, 1), 1, (_TEXTURE, 0))
    return F.avg_pool2d(rows, (1, side), 1, (0, _TEXTURE))


def with_repetition(
    rare: Float[Tensor, " n"], grid: PatchGrid, field: Field
) -> Float[Tensor, " n"]:
    """``rare``, of `rarity`, grown where the places around are copied often."""
    copies = rare.new_zeros(len(grid.is_source))
    copies.index_add_(0, field.match, torch.ones_like(field.distance))
    side = 2 * grid.radius + 1
    # Places that are no sources count as not copied: next to the hole a mean is rather low.
    copies = F.avg_pool2d(copies.view(1, 1, *grid.hole.shape), side, 1, grid.radius).flatten()
    alike = len(grid.queries) / len(grid.sources)
    often = (copies / max(alike, 0.5) - 1).clamp_min(0)
    return rare + _REPEATED * rare * often

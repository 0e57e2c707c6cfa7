"""Networks on maps of any size in bounded memory: tile by tile; knows no photograph and no plan.

The encoder is local, so its tiles with a halo are exact. Feature2Image sees its whole
input, so its tiles overlap and are blended.
"""

import math
from dataclasses import dataclass
from itertools import pairwise

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import hole_cells
from kintsugi.models.networks.cells import PIXEL_CHANNELS, append_pixels, features_of
from kintsugi.models.networks.feature2image import Feature2Image
from kintsugi.models.networks.vgg import FEATURE_CHANNELS, FEATURE_STRIDE, Vgg19Relu3

# Side of the encoder's tiles in pixels, without their halo.
ENCODER_TILE = 512
# relu3_1 sees 10 px beyond its cell; whole cells, so that the pooling grid stays.
ENCODER_HALO = 12
# Side of Feature2Image's tiles in cells: up to 1024 px a photograph is one tile.
TRANSLATOR_TILE = 256
# Cells that Feature2Image's innermost level spans: sides of tiles are multiples of it.
TRANSLATOR_STRIDE = 64
# Cells over which neighbouring tiles are blended, at least.
TRANSLATOR_OVERLAP = 32
# Pixels that no tile covers: 0 and not 0 / 0.
SMALLEST_WEIGHT = 1e-6


def encode_tiled(
    encoder: Vgg19Relu3,
    image: Float[Tensor, "B 3 H W"],
    *,
    tile: int = ENCODER_TILE,
    behind: Float[Tensor, "B 3 H W"] | None = None,
) -> Float[Tensor, "B C H/4 W/4"]:
    """relu3_1 of an image, float32, computed in tiles; equal to ``encoder(image)`` to rounding.

    Zero padding, as the encoder pads, comes only at the image's own border: inside, every
    tile sees its neighbours' pixels as far as the encoder does.

    Args:
        encoder: The frozen encoder.
        image: RGB 0-1, both sides multiples of 4.
        tile: Side of a tile in pixels, a multiple of 4.
        behind: Put the pixels of this image behind the features, as
            `kintsugi.models.networks.cells.append_pixels` does, without a second map. None:
            there are none.

    Raises: ValueError for other sides.
    """
    batch, _, height, width = image.shape
    if tile < FEATURE_STRIDE or tile % FEATURE_STRIDE:
        raise ValueError(f"tile={tile}: choose a multiple of {FEATURE_STRIDE} pixels")
    if max(height, width) <= tile or height % FEATURE_STRIDE or width % FEATURE_STRIDE:
        # One tile, or an image that the encoder refuses.
        features: Tensor = encoder(image).float()
        return features if behind is None else append_pixels(features, behind)
    channels = FEATURE_CHANNELS + (0 if behind is None else PIXEL_CHANNELS)
    cells = image.new_empty(batch, channels, height // FEATURE_STRIDE, width // FEATURE_STRIDE)
    if behind is not None:
        cells[:, FEATURE_CHANNELS:] = F.pixel_unshuffle(behind, FEATURE_STRIDE)
    features = features_of(cells)
    for rows in _parts(height, tile):
        for columns in _parts(width, tile):
            part = encoder(image[..., rows.seen, columns.seen])
            features[..., rows.cells, columns.cells] = part[..., rows.inner, columns.inner]
    return cells


def translate_tiled(
    network: Feature2Image,
    features: Float[Tensor, "B C h w"],
    *,
    tile: int = TRANSLATOR_TILE,
    needed: Float[Tensor, "1 1 H W"] | None = None,
) -> Float[Tensor, "B 3 4*h 4*w"]:
    """The image of a feature map, float32, from tiles of one size that are blended linearly.

    A map that fits into one tile is translated as a whole. Otherwise tiles cover what is
    needed with a margin; neighbours share 32 cells, or more where the last is moved inwards.
    Both sides of the tiles of one call are multiples of 64 cells, as small as the number of
    tiles allows; a map with a shorter side keeps that.

    Args:
        network: Feature2Image; every tile meets the same weights and norms.
        features: The whole map's.
        tile: Longest side of a tile in cells, a multiple of 64, at least 64.
        needed: 1 = pixels whose value is used; the others come back as 0 where no tile
            with a needed pixel covers them. None: all are.

    Raises: ValueError for another ``tile``.
    """
    if tile < TRANSLATOR_STRIDE or tile % TRANSLATOR_STRIDE:
        raise ValueError(f"tile={tile}: choose a multiple of {TRANSLATOR_STRIDE} cells")
    batch, _, height, width = features.shape
    if max(height, width) <= tile:
        whole: Tensor = network(features).float()
        return whole
    rows, columns = (_tiles(wanted, tile) for wanted in _wanted_cells(needed, features))
    scale = FEATURE_STRIDE
    image = features.new_zeros(batch, 3, scale * height, scale * width, dtype=torch.float32)
    total = image.new_zeros(1, 1, scale * height, scale * width)
    for row in rows:
        for column in columns:
            place = (..., row.pixels, column.pixels)
            if needed is not None and not needed[place].any():
                continue
            part = network(features[..., row.cells, column.cells]).float()
            weight = row.weight[:, None].to(image) * column.weight.to(image)
            image[place] += part * weight
            total[place] += weight
    return image.div_(total.clamp_min_(SMALLEST_WEIGHT))


@dataclass(frozen=True)
class _Part:
    """One of the encoder's tiles along one axis.

    Attributes:
        seen: Pixels of the image that the encoder gets: the tile and its halo.
        cells: The tile's cells on the whole map.
        inner: The same cells on the map of what was seen.
    """

    seen: slice
    cells: slice
    inner: slice


def _parts(side: int, tile: int) -> list[_Part]:
    """Tiles of one size, at most ``tile`` pixels, along one side; the last may be smaller."""
    count = math.ceil(side / tile)
    length = FEATURE_STRIDE * math.ceil(side / count / FEATURE_STRIDE)
    parts = []
    for start in range(0, side, length):
        stop = min(start + length, side)
        first = max(0, start - ENCODER_HALO)
        seen = slice(first, min(side, stop + ENCODER_HALO))
        start, stop, first = (place // FEATURE_STRIDE for place in (start, stop, first))
        parts.append(_Part(seen, slice(start, stop), slice(start - first, stop - first)))
    return parts


@dataclass(frozen=True)
class _Tile:
    """One tile along one axis: its cells, and how much each of its pixels counts."""

    cells: slice
    weight: Tensor

    @property
    def pixels(self) -> slice:
        return slice(FEATURE_STRIDE * self.cells.start, FEATURE_STRIDE * self.cells.stop)


def _tiles(wanted: Bool[Tensor, " n"], largest: int) -> list[_Tile]:
    """Tiles of one side that cover the wanted cells of one axis and a margin around.

    The margin keeps what is wanted off the edges where a tile meets padding instead of
    its neighbours. The side is the smallest that needs no more tiles than the largest.
    """
    size = len(wanted)
    places = wanted.nonzero().flatten()
    first = max(0, int(places[0]) - TRANSLATOR_OVERLAP)
    last = min(size, int(places[-1]) + 1 + TRANSLATOR_OVERLAP)
    count = max(1, math.ceil((last - first - TRANSLATOR_OVERLAP) / (largest - TRANSLATOR_OVERLAP)))
    length = (last - first + (count - 1) * TRANSLATOR_OVERLAP) / count
    side = min(size, TRANSLATOR_STRIDE * math.ceil(length / TRANSLATOR_STRIDE))
    first = max(0, min(first, size - side))
    last = max(last, first + side)
    starts = [min(first + n * (side - TRANSLATOR_OVERLAP), last - side) for n in range(count)]
    shared = [0, *(start + side - after for start, after in pairwise(starts)), 0]
    return [
        _Tile(slice(start, start + side), _ramps(side, before=shared[n], after=shared[n + 1]))
        for n, start in enumerate(starts)
    ]


def _ramps(side: int, *, before: int, after: int) -> Float[Tensor, " n"]:
    """Weights of one tile's pixels: 1, falling linearly over what it shares with its neighbours."""
    position = torch.arange(FEATURE_STRIDE * side) + 0.5
    weight = torch.ones(len(position))
    if before:
        weight = torch.minimum(weight, position / (FEATURE_STRIDE * before))
    if after:
        weight = torch.minimum(weight, position.flip(0) / (FEATURE_STRIDE * after))
    return weight


def _wanted_cells(needed: Tensor | None, features: Tensor) -> list[Tensor]:
    """Per axis of the map, which rows or columns of cells hold a needed pixel."""
    height, width = features.shape[-2:]
    if needed is None or not needed.any():
        return [torch.ones(side, dtype=torch.bool) for side in (height, width)]
    cells = hole_cells(needed, height, width)[0, 0] > 0
    return [cells.any(1).cpu(), cells.any(0).cpu()]

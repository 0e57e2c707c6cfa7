"""A third network for the initial fill: it points at known places instead of drawing colours.

Beyond the paper. A network that draws colours and is judged by their difference draws the mean of
all that might be there. This one gives each cell of the hole a probability for each known cell:
which of them is like what was here? Its loss is that of a mixture density (Bishop 1994) whose
components are the known cells (after Vinyals et al. 2015, "Pointer networks"), so that two
possibilities remain two. The fill is made of likely cells that fit together: copies, as sharp as
the photograph (`kintsugi.models.networks.cell_copy`).
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.networks.cell_copy import copied_cells
from kintsugi.models.networks.initial_fill import FILL_STRIDE, FillPredictor, shrunk
from kintsugi.models.networks.smooth_fill import smooth_fill

# Pixels a side of a cell, of the shrunk image.
CELL = 2
# Parts of queries and keys: the content that is compared, and rotations by the offset from one to
# the other.
_CONTENT = 32
_ROTATIONS = 16
_WAVELENGTHS = (3.0, 96.0)
# Cells that a component's probability falls off over at first, by the factor e.
_FIRST_REACH = 6.0
# Cells of the hole that are decided at one time: what that takes is bounded at any size.
_CHUNK = 1024


class Pointers(NamedTuple):
    """Where one image's hole points to, by cells in rows of the grid.

    Attributes:
        image: Its number in the batch: not every image has both a hole and known cells.
        hole: int64, q: the hole's cells.
        known: int64, k: those that are wholly known.
        logits: q k: of the components of each cell of the hole.
    """

    image: int
    hole: Tensor
    known: Tensor
    logits: Tensor


class PointedFill(NamedTuple):
    """What the network gives in training and in evaluation.

    Attributes:
        image: B 3 h w: the shrunk image with its hole filled; about 0-1.
        pointers: Those of each image with a hole and known cells.
    """

    image: Tensor
    pointers: tuple[Pointers, ...]


class PointerFillPredictor(FillPredictor):
    """The U-Net of the initial fill with queries and keys in place of colours.

    In training its fill is the components' mean, through which gradients go; in evaluation each
    cell of the hole is a copy of a known one.
    """

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__(widths)
        channels = _CONTENT + 2 * _ROTATIONS
        self.end = nn.Conv2d(widths[0], 2 * channels, 3, padding=1)
        # Gain of queries and of keys after their norm. Without that norm likelihood rewarded ever
        # longer ones: after 7,000 crops the network's activations grew a thousandfold, and it
        # unlearnt.
        self.gain = nn.Parameter(torch.ones(2, channels))
        self.reach = nn.Parameter(torch.tensor(_FIRST_REACH).log())

    def forward(  # type: ignore[override]
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> PointedFill:
        """As `FillNetwork.forward`, with the pointers.

        They are returned, not kept: DDP averages gradients of what comes out of `forward`.
        """
        smooth = shrunk(image, mask)
        correction, pointers = self._pointed(smooth, F.avg_pool2d(mask, FILL_STRIDE))
        return PointedFill(smooth + correction, pointers)

    def fill(
        self, image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
    ) -> Float[Tensor, "B 3 H W"]:
        """The whole image with its hole filled, 0-1; equal to ``image`` where the mask is 0.

        Of one resolution: two copies of different places have no mean.
        """
        _, coarse = self._at(FILL_STRIDE, image, mask)
        large = F.interpolate(coarse, scale_factor=FILL_STRIDE, mode="bilinear")
        smooth = smooth_fill(image, mask)
        return torch.where(mask == 0, smooth, (smooth + mask * large).clamp(0, 1))

    def _correction(
        self, smooth: Float[Tensor, "B 3 h w"], share: Float[Tensor, "B 1 h w"]
    ) -> Float[Tensor, "B 3 h w"]:
        return self._pointed(smooth, share)[0]

    def _pointed(self, smooth: Tensor, share: Tensor) -> tuple[Tensor, tuple[Pointers, ...]]:
        """The correction, B 3 h w, and what it comes from."""
        features = self.end(self.features(smooth, share)).float()
        height, width = features.shape[-2:]
        cells = F.pixel_unshuffle(smooth, CELL).flatten(2).transpose(1, 2)
        places = _places(height, width, smooth.device)
        pointers, filled = [], []
        every = zip(
            cells, features.flatten(2).transpose(1, 2), F.max_pool2d(share, CELL), strict=True
        )
        for image, (colours, tokens, part) in enumerate(every):
            hole, known = part.flatten().nonzero().flatten(), (part.flatten() == 0).nonzero()
            known = known.flatten()
            if len(hole) and len(known):
                logits = self._components(tokens, places, hole, known)
                pointers.append(Pointers(image, hole, known, logits))
                colours = self._fill_cells(colours, pointers[-1], int(places[-1, 1]) + 1)
            filled.append(colours)
        whole = torch.stack(filled).transpose(1, 2).reshape(len(smooth), -1, height, width)
        correction: Tensor = F.pixel_shuffle(whole, CELL) - smooth
        if self.training and not pointers:
            # A gradient of nothing for every weight: DDP's other ranks wait for it.
            correction = correction + 0 * (features.sum() + self.gain.sum() + self.reach)
        return correction, tuple(pointers)

    def _components(self, tokens: Tensor, places: Tensor, hole: Tensor, known: Tensor) -> Tensor:
        queries, keys = (
            F.rms_norm(part, part.shape[1:]) * gain
            for part, gain in zip(tokens.chunk(2, 1), self.gain, strict=True)
        )
        queries, keys = queries[hole], keys[known]
        return torch.cat(
            [
                self._logits(queries[part], keys, places[hole[part]], places[known])
                for part in (slice(n, n + _CHUNK) for n in range(0, len(hole), _CHUNK))
            ]
        )

    def _fill_cells(self, colours: Tensor, pointers: Pointers, width: int) -> Tensor:
        _, hole, known, logits = pointers
        likelihood = logits.softmax(1)
        if self.training:
            return colours.index_copy(0, hole, likelihood @ colours[known])
        sources = copied_cells(likelihood, colours, hole, known, width)
        return colours.index_copy(0, hole, colours[sources])

    def _logits(self, queries: Tensor, keys: Tensor, start: Tensor, end: Tensor) -> Tensor:
        """By contents, by contents and offset, and by distance."""
        content = queries[:, :_CONTENT] @ keys[:, :_CONTENT].T
        offset = _rotated(queries[:, _CONTENT:], start) @ _rotated(keys[:, _CONTENT:], end).T
        # Not `cdist`: which way it goes, and so its last bits, depends on the number of rows.
        distance = (start[:, None] - end[None]).square().sum(-1).sqrt()
        scale = queries.shape[1] ** -0.5
        logits: Tensor = (content + offset) * scale - distance / self.reach.exp()
        return logits


def _places(height: int, width: int, device: torch.device) -> Tensor:
    """Row and column of each cell, as numbers."""
    rows = torch.arange(height, device=device, dtype=torch.float32)
    columns = torch.arange(width, device=device, dtype=torch.float32)
    return torch.stack(torch.meshgrid(rows, columns, indexing="ij"), -1).flatten(0, 1)


def _rotated(x: Tensor, places: Tensor) -> Tensor:
    """Pairs of channels turned by angles that grow with the place (Su et al. 2021, RoPE).

    The product of two turned vectors depends on the offset between their places alone. Half of
    the pairs turn with rows, half with columns.
    """
    shortest, longest = _WAVELENGTHS
    count = _ROTATIONS // 2
    steps = torch.arange(count, device=x.device, dtype=torch.float32) / (count - 1)
    rates = 2 * torch.pi / (shortest * (longest / shortest) ** steps)
    angles = (places[:, :, None] * rates).flatten(1)
    real, imaginary = x.chunk(2, 1)
    cosine, sine = angles.cos(), angles.sin()
    return torch.cat([real * cosine - imaginary * sine, real * sine + imaginary * cosine], 1)

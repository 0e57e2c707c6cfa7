"""Feature cells wholly inside a hole, drawn by a key; knows no statistics.

Cells of VGG19 whose pixels are all hole; what surrounds the hole is seen by them as by an eye.
"""

import hashlib
from collections.abc import Iterator, Mapping
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from kintsugi.evaluation.realism.pixels import compose, hole_of
from kintsugi.evaluation.realism.pooling import Cells, Features
from kintsugi.models.networks.vgg import Vgg19Relu3

# Cells drawn from each hole for each side of a comparison.
CELLS_PER_PHOTO = 48
# relu3_1 sees 10 px around its cell; a multiple of its stride.
_CONTEXT_PX = 12

Positions = npt.NDArray[np.int64]


class Layer(NamedTuple):
    """A layer whose cells are compared: pixels a cell is wide, and numbers that it holds."""

    stride_px: int
    channels: int


LAYERS = {"relu2_1": Layer(2, 128), "relu3_1": Layer(4, 256)}


class CellEncoder:
    """relu2_1 and relu3_1 of an encoder. It means what its encoder means: name that with it."""

    def __init__(self, encoder: Vgg19Relu3) -> None:
        layers = list(encoder.features)
        # Each part ends in a ReLU.
        self._parts = {
            "relu2_1": nn.Sequential(*layers[0:7]),
            "relu3_1": nn.Sequential(*layers[7:12]),
        }
        self._mean, self._std = encoder.mean, encoder.std

    def to(self, device: torch.device | str) -> None:
        """Move the encoder's layers."""
        for part in self._parts.values():
            part.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)

    @torch.inference_mode()
    def __call__(self, image: Tensor) -> dict[str, Tensor]:
        """Args: ``image``: 1 3 H W, RGB 0-1. Returns: layer -> 1 C H/stride W/stride."""
        x = (image.to(self._mean.device, torch.float32) - self._mean) / self._std
        found = {}
        for name, part in self._parts.items():
            x = part(x)
            # The next part begins with a layer that leaves its input as it is.
            found[name] = x
        return found


def sample_original(
    original: Tensor, mask: Tensor, encoder: CellEncoder, *, key: str, cells: int = CELLS_PER_PHOTO
) -> tuple[Cells, Cells]:
    """Two draws of an original's cells, no cell in both: what fills are held against, the floor.

    Args:
        original: 1 3 H W, RGB 0-1.
        mask: 1 1 H W, 1 = hole.
        encoder: Whose cells.
        key: Decides the draw; the same for an original and its fills.
        cells: In each draw; half of what the hole has where that is less.

    Returns: layer -> float16 n x channels, twice.
    """
    found = list(_draw(original, mask, encoder, key, cells))
    return {name: each for name, each, _ in found}, {name: each for name, _, each in found}


def sample_fill(
    original: Tensor,
    fill: Tensor,
    mask: Tensor,
    encoder: CellEncoder,
    *,
    key: str,
    cells: int = CELLS_PER_PHOTO,
) -> Cells:
    """A fill's cells, at the places of the second draw of `sample_original`.

    So a fill that is the original has exactly the floor as its distance. Shapes as there.
    """
    composed = compose(original, fill, mask)
    return {name: each for name, _, each in _draw(composed, mask, encoder, key, cells)}


def draw_cells(hole: npt.NDArray[np.bool_], key: str, count: int) -> tuple[Positions, Positions]:
    """Two disjoint draws of ``count`` cells each, or half of what there is, as flat positions.

    Args: ``hole``: bool cells, True = wholly inside the hole. ``key``: decides the draw.
    """
    seed = hashlib.sha256(key.encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    order: Positions = rng.permutation(np.flatnonzero(hole))
    count = min(count, len(order) // 2)
    return order[:count], order[count : 2 * count]


def as_bytes(cells: Mapping[str, Features]) -> dict[str, bytes]:
    """Cells to send or keep; `from_bytes` reads them."""
    return {name: each.tobytes() for name, each in cells.items()}


def from_bytes(cells: Mapping[str, bytes]) -> Cells:
    """What `as_bytes` wrote."""
    return {
        name: np.frombuffer(each, np.float16).reshape(-1, LAYERS[name].channels)
        for name, each in cells.items()
    }


def _draw(
    image: Tensor, mask: Tensor, encoder: CellEncoder, key: str, count: int
) -> Iterator[tuple[str, Features, Features]]:
    hole = hole_of(mask)
    top, bottom, left, right = _box_around(hole)
    part = hole[top:bottom, left:right].float()[None, None]
    found = encoder(image[..., top:bottom, left:right])
    for name, layer in LAYERS.items():
        # A cell is wholly inside where the least of its pixels is hole.
        inside = -functional.max_pool2d(-part, layer.stride_px)[0, 0] > 0.5
        flat = found[name][0].flatten(1).T
        chosen = draw_cells(inside.cpu().numpy(), f"{key}/{name}", count)
        first, second = (
            flat[torch.from_numpy(places).to(flat.device)].cpu().numpy().astype(np.float16)
            for places in chosen
        )
        yield name, first, second


def _box_around(hole: Tensor) -> tuple[int, int, int, int]:
    """Rows and columns of what the cells inside the hole see, whole cells of every layer."""
    step = max(layer.stride_px for layer in LAYERS.values())
    bounds: list[int] = []
    for axis, side in ((1, hole.shape[0]), (0, hole.shape[1])):
        used = hole.any(dim=axis).nonzero()
        low, high = int(used[0]) - _CONTEXT_PX, int(used[-1]) + 1 + _CONTEXT_PX
        bounds += [max(0, low // step * step), min(side, -(-high // step) * step)]
    return bounds[0], bounds[1], bounds[2], bounds[3]

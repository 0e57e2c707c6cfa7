"""How real the fills of many photographs look, judged inside their holes: no files, no methods.

Likeness (`kintsugi.metrics`) asks whether a fill is what was there and prefers the mean of all
that might be. Realism asks whether it could have been there. Fills are compared with the
originals as populations of feature cells of VGG19 that lie wholly inside the holes (the idea of
single-image FID: Shaham et al. 2019, SinGAN; here pooled over photographs), and by two things an
eye finds at once: a step along the hole's outline and detail that is missing or too much.

Each photograph can be sampled on its own (`sample_original`, `sample_fill`), on any machine; the
samples are put together by `kintsugi.realism_pooling`. `measure_realism` does both.
"""

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn
from torch.nn import functional

from kintsugi.realism_pooling import Cells, Features, Realism, Sample, pool_realism
from models.vgg import Vgg19Relu3

# Cells drawn from each hole for each side of a comparison.
CELLS_PER_PHOTO = 48
# relu3_1 sees 10 px around its cell; a multiple of its stride.
_CONTEXT_PX = 12
# Added to both sides of a ratio: one grey level of 8 bit, below which nothing can be seen.
_GREY_LEVEL = 1 / 255

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


def measure_realism(
    originals: Sequence[Tensor],
    fills: Sequence[Tensor],
    masks: Sequence[Tensor],
    encoder: Vgg19Relu3 | CellEncoder,
    *,
    ids: Sequence[str] | None = None,
    seed: int = 0,
    cells: int = CELLS_PER_PHOTO,
) -> Realism:
    """Judge one method's fills of many photographs.

    Args:
        originals, fills: Each B 3 H W, RGB 0-1; sizes may differ from entry to entry. Only
            what a fill has in the hole counts.
        masks: Each B 1 H W, 1 = hole (0.5 and more).
        encoder: Whose cells are compared.
        ids: A name for each photograph in order, B of them for each entry; it and the seed
            decide which cells are drawn. None numbers them.
        seed: Decides cells and bootstrap: the same figures every time.
        cells: Drawn from each photograph; as many as a small hole has.

    Raises: ValueError when the lists do not fit together, or a mask has no hole.
    """
    seen = encoder if isinstance(encoder, CellEncoder) else CellEncoder(encoder)
    triples = list(_photographs(originals, fills, masks))
    names = list(ids) if ids is not None else [str(number) for number in range(len(triples))]
    if len(names) != len(triples):
        raise ValueError(f"{len(names)} ids for {len(triples)} photographs: give one for each")
    samples = []
    for name, (original, fill, mask) in zip(names, triples, strict=True):
        first, second = sample_original(original, mask, seen, key=f"{seed}/{name}", cells=cells)
        drawn = sample_fill(original, fill, mask, seen, key=f"{seed}/{name}", cells=cells)
        step, laplacian = outline_step(original, fill, mask), laplacian_energy(original, fill, mask)
        samples.append(Sample(name, first, second, drawn, step, laplacian))
    return pool_realism(samples, seed=seed)


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
    composed = _compose(original, fill, mask)
    return {name: each for name, _, each in _draw(composed, mask, encoder, key, cells)}


def outline_step(original: Tensor, fill: Tensor, mask: Tensor) -> float:
    """The step across the hole's outline against the original's: 1 = as large, more = a seam.

    Mean absolute difference over all pairs of neighbours (4) of which one is in the hole and
    one is known, and the channels; one grey level added to both sides of the ratio.

    Args: 1 3 H W, RGB 0-1; mask 1 1 H W, 1 = hole. Raises: ValueError: no hole or nothing known.
    """
    hole = _hole(mask)
    steps = [_mean_step(image, hole) for image in (_compose(original, fill, mask), original)]
    return (steps[0] + _GREY_LEVEL) / (steps[1] + _GREY_LEVEL)


def laplacian_energy(original: Tensor, fill: Tensor, mask: Tensor) -> float:
    """Energy of fine detail in the hole against the original's: 1 = as much, less = fog.

    Mean squared Laplacian (4 neighbours, edges repeated) over pixels whose neighbours are in
    the hole as well, so that a seam is not taken for detail; over the whole hole where it is too
    thin to have any. One squared grey level is added to both sides of the ratio.

    Args: 1 3 H W, RGB 0-1; mask 1 1 H W, 1 = hole. Raises: ValueError when there is no hole.
    """
    hole = _hole(mask)
    beyond = functional.pad((~hole).float()[None, None], (1, 1, 1, 1), mode="replicate")
    near = functional.max_pool2d(beyond, 3, stride=1)[0, 0] > 0
    inside = hole & ~near
    where = inside if bool(inside.any()) else hole
    images = _compose(original, fill, mask), original
    energies = [float(_laplacian(image)[:, where].square().mean()) for image in images]
    return (energies[0] + _GREY_LEVEL**2) / (energies[1] + _GREY_LEVEL**2)


def draw_cells(hole: npt.NDArray[np.bool_], key: str, count: int) -> tuple[Positions, Positions]:
    """Two disjoint draws of ``count`` cells each, or half of what there is, as flat positions.

    Args: ``hole``: bool cells, True = wholly inside the hole. ``key``: decides the draw.
    """
    seed = hashlib.sha256(key.encode()).digest()[:8]
    rng = np.random.default_rng(int.from_bytes(seed, "big"))
    order: Positions = rng.permutation(np.flatnonzero(hole))
    count = min(count, len(order) // 2)
    return order[:count], order[count : 2 * count]


def _draw(
    image: Tensor, mask: Tensor, encoder: CellEncoder, key: str, count: int
) -> Iterator[tuple[str, Features, Features]]:
    hole = _hole(mask)
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


def _mean_step(image: Tensor, hole: Tensor) -> float:
    pixels = image[0]
    across, down = hole[:, 1:] != hole[:, :-1], hole[1:] != hole[:-1]
    steps = torch.cat(
        [
            (pixels[:, :, 1:] - pixels[:, :, :-1]).abs()[:, across].flatten(),
            (pixels[:, 1:] - pixels[:, :-1]).abs()[:, down].flatten(),
        ]
    )
    if not len(steps):
        raise ValueError("the mask leaves nothing known: a fill has no outline there")
    return float(steps.mean())


def _laplacian(image: Tensor) -> Tensor:
    padded = functional.pad(image, (1, 1, 1, 1), mode="replicate")[0]
    neighbours = padded[:, :-2, 1:-1] + padded[:, 2:, 1:-1]
    neighbours = neighbours + padded[:, 1:-1, :-2] + padded[:, 1:-1, 2:]
    return neighbours - 4 * padded[:, 1:-1, 1:-1]


def _compose(original: Tensor, fill: Tensor, mask: Tensor) -> Tensor:
    return torch.where(_hole(mask).to(original.device), fill.to(original.device), original)


def _hole(mask: Tensor) -> Tensor:
    """H W bool. Raises: ValueError when nothing is hole."""
    hole = mask[0, 0] >= 0.5
    if not bool(hole.any()):
        raise ValueError("the mask has no hole (no value of 0.5 or more): nothing to judge")
    return hole


def _photographs(
    originals: Sequence[Tensor], fills: Sequence[Tensor], masks: Sequence[Tensor]
) -> Iterator[tuple[Tensor, Tensor, Tensor]]:
    """One photograph at a time. Raises: ValueError: the lists or shapes do not fit together."""
    if not len(originals) == len(fills) == len(masks):
        raise ValueError(
            f"{len(originals)} originals, {len(fills)} fills and {len(masks)} masks: give as many"
        )
    for original, fill, mask in zip(originals, fills, masks, strict=True):
        wanted = (original.shape[0], 1, *original.shape[2:])
        if fill.shape != original.shape or tuple(mask.shape) != wanted:
            raise ValueError(
                f"original {tuple(original.shape)}, fill {tuple(fill.shape)} and mask"
                f" {tuple(mask.shape)} do not fit: B 3 H W twice and B 1 H W"
            )
        for index in range(len(original)):
            one = slice(index, index + 1)
            yield original[one].float(), fill[one].float(), mask[one]


def as_bytes(cells: Mapping[str, Features]) -> dict[str, bytes]:
    """Cells to send or keep; `from_bytes` reads them."""
    return {name: each.tobytes() for name, each in cells.items()}


def from_bytes(cells: Mapping[str, bytes]) -> Cells:
    """What `as_bytes` wrote."""
    return {
        name: np.frombuffer(each, np.float16).reshape(-1, LAYERS[name].channels)
        for name, each in cells.items()
    }

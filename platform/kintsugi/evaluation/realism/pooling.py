"""Samples of many holes as figures of realism: distances, errors, medians; knows no images.

Everything is the same in every run: resampling and folds are decided by ids and a seed.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from kintsugi.evaluation.learned_metrics import frechet_distance

RESAMPLES = 2000
FOLDS = 5
# No more cells than so many, of all photographs together, are paired for a kernel distance, and of
# each at least two: work grows with their square, and any part of a draw is as unbiased.
KERNEL_CELLS = 4096
# Part of the mean variance added to every channel's before the classifier divides by it.
SHRINKAGE = 0.1
# No channel's deviation is taken for less than this part of their root mean square: one that a
# few originals happen not to use would outweigh all others. Of 48 photographs' channels 1 in 200
# is below it, of relu3_1.
_LEAST_DEVIATION = 0.5

# n x channels: float16 as sampled.
Features = npt.NDArray[np.float16]
# By layer.
Cells = Mapping[str, Features]
Rows = npt.NDArray[np.float64]


@dataclass(frozen=True)
class CellSample:
    """One photograph and one fill of its hole, as `HoleSampler` samples them.

    Attributes:
        id: The id of the photograph.
        first, second: Two disjoint draws of the original's cells.
        fill: The fill's cells at the places of ``second``.
        outline_step, laplacian: As `kintsugi.evaluation.realism.realism` has them.
    """

    id: str
    first: Cells
    second: Cells
    fill: Cells
    outline_step: float
    laplacian: float


@dataclass(frozen=True)
class LayerRealism:
    """How far the fills' cells of one layer are from the originals'.

    Attributes:
        distance: Frechet distance of fills and originals (`frechet`), 0 and more.
        floor: The same of two draws of the originals: what no fill need be below.
        kid, kid_low, kid_high: Kernel distance (`kernel_distance`) and its 95 % interval by
            bootstrap over photographs; 0 on average where nothing differs, and so below 0 at
            times. None with fewer than two photographs.
        kid_floor: Kernel distance of two draws of the originals.
        error: Share of held-out cells that a linear classifier gets wrong
            (`discrimination_error`): 0.5 = cannot be distinguished, 0 = always found.
        cells, photographs: How many cells of each side, from how many photographs.
    """

    distance: float
    floor: float
    kid: float | None
    kid_low: float | None
    kid_high: float | None
    kid_floor: float | None
    error: float | None
    cells: int
    photographs: int


@dataclass(frozen=True)
class Spread:
    """Median over photographs, and 25th and 75th percentile."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class Realism:
    """One method on one set of holes.

    Attributes:
        layers: By layer; one where no hole has two cells of it is missing.
        outline_step: Step across the outline against the original's, 1 = as large.
        laplacian: Energy of fine detail against the original's, 1 = as much.
        photographs: How many.
    """

    layers: dict[str, LayerRealism]
    outline_step: Spread
    laplacian: Spread
    photographs: int

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types."""
        return asdict(self)


def pool_realism(samples: Sequence[CellSample], *, seed: int = 0) -> Realism:
    """Put the samples of photographs together. Raises: ValueError when there are none."""
    if not samples:
        raise ValueError("no photographs to judge: give at least one")
    names = dict.fromkeys(name for sample in samples for name in sample.first)
    layers = {}
    for name in names:
        usable = _usable(samples, name)
        if sum(len(sample.first[name]) for sample in usable) > 1:
            layers[name] = _pool_layer(name, usable, seed)
    return Realism(
        layers=layers,
        outline_step=_spread([sample.outline_step for sample in samples]),
        laplacian=_spread([sample.laplacian for sample in samples]),
        photographs=len(samples),
    )


def frechet(one: Rows, other: Rows) -> float:
    """Frechet distance of two sets of cells (n x channels), divided by the channels.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)), FID's formula (Heusel et al. 2017). Larger for
    few cells: compare equal numbers, and with the floor.
    """
    return frechet_distance(one, other) / float(one.shape[1])


def kernel_distance(ones: Sequence[Rows], others: Sequence[Rows], weights: Rows) -> Rows:
    """KID: squared maximum mean discrepancy with kernel (x.y / channels + 1)^3, unbiased.

    Binkowski et al. 2018, with photographs as units: only cells of different photographs are
    paired, as those of one are alike and a fill depends on its own surroundings. With
    D(p, q) = mean k(x_p, x_q) + mean k(y_p, y_q) - mean k(x_p, y_q) - mean k(y_p, x_q) it is
    the weighted mean of D(p, q) over p != q.

    Args:
        ones, others: A photograph's cells each, n x channels.
        weights: r x photographs: how often each photograph counts.

    Returns: r values; nan for a row that counts fewer than two photographs.
    """
    across = _mean_kernels(ones, others)
    blocks = _mean_kernels(ones, ones) + _mean_kernels(others, others) - across - across.T
    np.fill_diagonal(blocks, 0)
    pairs = weights.sum(axis=1) ** 2 - np.square(weights).sum(axis=1)
    sums = np.einsum("rp,pq,rq->r", weights, blocks, weights, optimize=True)
    found: Rows = np.divide(sums, pairs, out=np.full(len(weights), np.nan), where=pairs > 0)
    return found


def discrimination_error(
    ones: Sequence[Rows], others: Sequence[Rows], ids: Sequence[str]
) -> float | None:
    """Share of cells that a linear classifier gets wrong on photographs that it has not seen.

    The idea of U-IDS (Zhao et al. 2021), which scores the cells it was fitted to; here the
    photographs are in FOLDS parts and each is judged by what the others taught. The classifier
    is Fisher's linear discriminant with SHRINKAGE, which has one solution.

    Args:
        ones, others: A photograph's cells each, n x channels.
        ids: The ids of the photographs; they alone decide the folds.

    Returns: 0-1, 0.5 = chance; None with fewer than two photographs.
    """
    folds = min(FOLDS, len(ids))
    if folds < 2:
        return None
    order = sorted(range(len(ids)), key=lambda at: hashlib.sha256(ids[at].encode()).digest())
    wrong = total = 0
    for fold in range(folds):
        tested = set(order[fold::folds])
        taught = [at for at in range(len(ids)) if at not in tested]
        direction, threshold = _discriminant(
            *(np.concatenate([side[at] for at in taught]) for side in (ones, others))
        )
        for at in tested:
            wrong += int((ones[at] @ direction <= threshold).sum())
            wrong += int((others[at] @ direction > threshold).sum())
            total += len(ones[at]) + len(others[at])
    return wrong / total


def bootstrap_weights(ids: Sequence[str], seed: int, resamples: int = RESAMPLES) -> Rows:
    """Poisson bootstrap (Hanley and MacGibbon 2006): resamples x photographs, counts.

    A photograph's id and the seed alone decide how often it comes, so that methods are
    resampled alike.
    """
    counts = []
    for each in ids:
        key = hashlib.sha256(f"{seed}/{each}".encode()).digest()[:8]
        rng = np.random.default_rng(int.from_bytes(key, "big"))
        counts.append(rng.poisson(1, resamples).astype(np.float64))
    return np.stack(counts, axis=1)


def kernel_resamples(samples: Sequence[CellSample], layer: str, *, seed: int = 0) -> Rows:
    """A layer's kernel distance of all photographs, and then of each of RESAMPLES resamples.

    The same resamples for every method: where two methods have the same photographs, the
    differences row by row are those of the pair.

    Raises: ValueError with fewer than two photographs that have cells of the layer.
    """
    usable = _usable(samples, layer)
    if len(usable) < 2:
        raise ValueError(
            f"{len(usable)} photographs with cells of {layer}: a kernel distance takes two"
        )
    first, _, fill = _standardised(layer, usable)
    ids = [sample.id for sample in usable]
    weights = np.concatenate([np.ones((1, len(ids))), bootstrap_weights(ids, seed)])
    return kernel_distance(_some(first), _some(fill), weights)


def _pool_layer(name: str, samples: Sequence[CellSample], seed: int) -> LayerRealism:
    first, second, fill = _standardised(name, samples)
    kid = kid_low = kid_high = kid_floor = None
    if len(samples) > 1:
        found = kernel_resamples(samples, name, seed=seed)
        kid = float(found[0])
        kid_low, kid_high = map(float, np.nanpercentile(found[1:], (2.5, 97.5)))
        alike = kernel_distance(_some(first), _some(second), np.ones((1, len(samples))))
        kid_floor = float(alike[0])
    pooled = [np.concatenate(side) for side in (first, second, fill)]
    return LayerRealism(
        distance=frechet(pooled[0], pooled[2]),
        floor=frechet(pooled[0], pooled[1]),
        kid=kid,
        kid_low=kid_low,
        kid_high=kid_high,
        kid_floor=kid_floor,
        error=discrimination_error(first, fill, [sample.id for sample in samples]),
        cells=len(pooled[0]),
        photographs=len(samples),
    )


def _usable(samples: Sequence[CellSample], layer: str) -> list[CellSample]:
    """Those with cells: what is one cell has no second draw, and thin holes have none."""
    return [sample for sample in samples if len(sample.first.get(layer, ()))]


def _standardised(
    layer: str, samples: Sequence[CellSample]
) -> tuple[list[Rows], list[Rows], list[Rows]]:
    """First and second draw and the fills' cells, in the originals' deviations."""
    first = [sample.first[layer].astype(np.float64) for sample in samples]
    mean, deviation = _scale_of(np.concatenate(first))
    first, second, fill = (
        [(each.astype(np.float64) - mean) / deviation for each in side]
        for side in (first, [s.second[layer] for s in samples], [s.fill[layer] for s in samples])
    )
    return first, second, fill


def _some(side: Sequence[Rows]) -> list[Rows]:
    """As many of each photograph's cells as KERNEL_CELLS allows."""
    # A draw is in no order: its beginning is a draw as well.
    most = max(2, KERNEL_CELLS // len(side))
    return [each[:most] for each in side]


def _scale_of(cells: Rows) -> tuple[Rows, Rows]:
    """Mean and deviation of every channel."""
    deviation = cells.std(axis=0)
    least = _LEAST_DEVIATION * np.sqrt(np.square(deviation).mean())
    # A set without any variation is left as it is.
    return cells.mean(axis=0), np.maximum(deviation, least if least > 0 else 1.0)


def _mean_kernels(ones: Sequence[Rows], others: Sequence[Rows]) -> Rows:
    """Photographs x photographs: mean of the kernel over their cells."""
    every = np.concatenate(others)
    counts = np.array([len(each) for each in others])
    starts = np.concatenate([[0], np.cumsum(counts)[:-1]])
    means = []
    for cells in ones:
        kernel = (cells @ every.T / every.shape[1] + 1) ** 3
        means.append(np.add.reduceat(kernel.mean(axis=0), starts) / counts)
    return np.stack(means)


def _discriminant(ones: Rows, others: Rows) -> tuple[Rows, float]:
    """Direction and threshold; what is above it is taken for one of ``ones``."""
    means = ones.mean(axis=0), others.mean(axis=0)
    within = np.concatenate([ones - means[0], others - means[1]])
    covariance = within.T @ within / len(within)
    channels = len(covariance)
    # A set without variation: any direction will do.
    ridge = SHRINKAGE * np.trace(covariance) / channels or 1.0
    direction: Rows = np.linalg.solve(covariance + ridge * np.eye(channels), np.subtract(*means))
    return direction, float(direction @ np.add(*means) / 2)


def _spread(values: Sequence[float]) -> Spread:
    low, middle, high = np.percentile(values, (25, 50, 75))
    return Spread(median=float(middle), low=float(low), high=float(high))

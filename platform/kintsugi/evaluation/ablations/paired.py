"""Variants against the base, photograph by photograph and seed by seed; prints nothing.

A difference counts where its interval leaves out 0 and every seed says the same: photographs
alone say nothing of how much the first weights decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log2

import numpy as np
import numpy.typing as npt

from kintsugi.evaluation.ablations.ablation_plan import BASE, AblationPlan, seeded
from kintsugi.evaluation.evaluate import CaseResult, PhotoResult
from kintsugi.evaluation.realism.cells import LAYERS
from kintsugi.evaluation.realism.pooling import kernel_resamples
from kintsugi.evaluation.report import COLUMNS, Column, markdown_table
from kintsugi.evaluation.statistics import SPREAD_FIGURES, bootstrap_means, cell_sample

_KERNEL = {layer: f"kernel distance {layer}" for layer in LAYERS}
# Realism before likeness. Ratios count by how many doublings they are off, so that twice as much
# is as far from the original as half as much.
FIGURES = {
    **{name: Column(name, 3) for name in _KERNEL.values()},
    "outline_step": Column("outline step, doublings off", 2),
    "laplacian": Column("Laplacian, doublings off", 2),
    **COLUMNS,
}


@dataclass(frozen=True)
class Difference:
    """A variant less the base, of one figure on one set of masks.

    Attributes:
        variant, masks, figure: Of what; ``figure`` is a key of ``FIGURES``.
        mean: Over photographs and seeds.
        low, high: 95 % interval of the mean, by bootstrap over photographs.
        by_seed: The mean over photographs of each seed.
    """

    variant: str
    masks: str
    figure: str
    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]

    @property
    def settled(self) -> bool:
        """Whether it is there: the interval leaves out 0, and every seed has its sign."""
        same = all(np.sign(each) == np.sign(self.mean) for each in self.by_seed)
        return same and not self.low <= 0 <= self.high


def paired_differences(results: Sequence[PhotoResult], plan: AblationPlan) -> list[Difference]:
    """Every variant of a plan with seeds against its base; of what both have filled.

    Empty where the plan has no base or no seeds.
    """
    names = list(dict.fromkeys(variant.root or variant.name for variant in plan.variants))
    if BASE not in names or not plan.seeds:
        return []
    found: list[Difference | None] = []
    for masks in plan.masks:
        values = _values(results, masks)
        cells = _Cells(results, masks)
        for name in names:
            if name == BASE:
                continue
            for figure in FIGURES:
                if figure in _KERNEL.values():
                    found.append(cells.difference(name, figure, plan.seeds))
                else:
                    found.append(_difference(values, name, masks, figure, plan.seeds))
    return [each for each in found if each is not None]


def format_differences(differences: Sequence[Difference]) -> str:
    """A table in Markdown: what is settled in bold."""
    lines = [["variant", "masks", "figure", "difference", "95 % interval", "each seed"]]
    for one in differences:
        digits = FIGURES[one.figure].decimals + 1
        mean = f"{one.mean:+.{digits}f}"
        lines.append(
            [
                one.variant,
                one.masks,
                FIGURES[one.figure].heading,
                f"**{mean}**" if one.settled else mean,
                f"{one.low:+.{digits}f} to {one.high:+.{digits}f}",
                ", ".join(f"{each:+.{digits}f}" for each in one.by_seed),
            ]
        )
    return markdown_table(lines)


_Rows = npt.NDArray[np.float64]
_Values = dict[tuple[str, str], dict[str, float]]


def _values(results: Sequence[PhotoResult], masks: str) -> _Values:
    """By method and photograph its figures."""
    return {
        (fill.method, result.id): {
            name: abs(log2(value)) if name in SPREAD_FIGURES else value
            for name, value in fill.figures.items()
        }
        for result in results
        for fill in result.filled
        if fill.masks == masks and not fill.problem
    }


def _difference(
    values: _Values, name: str, masks: str, figure: str, seeds: Sequence[int]
) -> Difference | None:
    photos = sorted({photo for _, photo in values})
    rows = []
    kept = []
    for photo in photos:
        pairs = [
            (
                values.get((seeded(name, seed), photo), {}).get(figure),
                values.get((seeded(BASE, seed), photo), {}).get(figure),
            )
            for seed in seeds
        ]
        row = [one - base for one, base in pairs if one is not None and base is not None]
        if len(row) == len(seeds):
            rows.append(row)
            kept.append(photo)
    if not rows:
        return None
    table = np.asarray(rows, np.float64)
    means = bootstrap_means(table.mean(axis=1, keepdims=True), kept, 0)[:, 0]
    return _of(name, masks, figure, table.mean(axis=0), means)


class _Cells:
    """The kernel distances of one set of masks; those of the base are computed once."""

    def __init__(self, results: Sequence[PhotoResult], masks: str) -> None:
        self._masks = masks
        self._fills: dict[str, dict[str, CaseResult]] = {}
        self._drawn: dict[str, tuple[dict[str, bytes], ...]] = {}
        for result in results:
            if masks in result.cells:
                self._drawn[result.id] = result.cells[masks]
            for fill in result.filled:
                if fill.masks == masks and fill.cells:
                    self._fills.setdefault(fill.method, {})[result.id] = fill
        self._known: dict[tuple[str, str, tuple[str, ...]], _Rows] = {}

    def difference(self, name: str, figure: str, seeds: Sequence[int]) -> Difference | None:
        """None where fewer than two photographs have cells of all that are compared."""
        layer = next(layer for layer, heading in _KERNEL.items() if heading == figure)
        methods = [seeded(each, seed) for seed in seeds for each in (name, BASE)]
        photos = tuple(
            photo
            for photo in sorted(self._drawn)
            if all(photo in self._fills.get(method, {}) for method in methods)
            and self._drawn[photo][0][layer]
        )
        if len(photos) < 2:
            return None
        rows = np.stack(
            [
                self._distances(seeded(name, seed), layer, photos)
                - self._distances(seeded(BASE, seed), layer, photos)
                for seed in seeds
            ]
        )
        return _of(name, self._masks, figure, rows[:, 0], rows[:, 1:].mean(axis=0))

    def _distances(self, method: str, layer: str, photos: tuple[str, ...]) -> _Rows:
        """Of all photographs, then of each resample."""
        key = method, layer, photos
        if key not in self._known:
            samples = [
                cell_sample(photo, self._drawn[photo], self._fills[method][photo])
                for photo in photos
            ]
            self._known[key] = kernel_resamples(samples, layer)
        return self._known[key]


def _of(name: str, masks: str, figure: str, by_seed: _Rows, resampled: _Rows) -> Difference:
    seeds = tuple(float(each) for each in by_seed)
    low, high = np.nanpercentile(resampled, [2.5, 97.5])
    return Difference(name, masks, figure, float(np.mean(seeds)), float(low), float(high), seeds)

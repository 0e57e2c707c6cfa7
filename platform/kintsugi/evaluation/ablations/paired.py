"""Variants against the base, photograph by photograph and seed by seed; prints nothing.

A difference counts where its interval leaves out 0 and every seed says the same: photographs
alone say nothing of how much the first weights decide.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kintsugi.evaluation.ablations.ablation_plan import BASE, AblationPlan, seeded
from kintsugi.evaluation.evaluate import PhotoResult
from kintsugi.evaluation.report import COLUMNS, markdown_table
from kintsugi.evaluation.statistics import bootstrap_means


@dataclass(frozen=True)
class Difference:
    """A variant less the base, of one figure on one set of masks.

    Attributes:
        variant, masks, figure: Of what.
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
    found = []
    for masks in plan.masks:
        values = _values(results, masks)
        for name in names:
            for figure in COLUMNS:
                difference = _difference(values, name, masks, figure, plan.seeds)
                if name != BASE and difference is not None:
                    found.append(difference)
    return found


def format_differences(differences: Sequence[Difference]) -> str:
    """A table in Markdown: what is settled in bold."""
    lines = [["variant", "masks", "figure", "difference", "95 % interval", "each seed"]]
    for one in differences:
        digits = COLUMNS[one.figure].decimals + 1
        mean = f"{one.mean:+.{digits}f}"
        lines.append(
            [
                one.variant,
                one.masks,
                COLUMNS[one.figure].heading,
                f"**{mean}**" if one.settled else mean,
                f"{one.low:+.{digits}f} to {one.high:+.{digits}f}",
                ", ".join(f"{each:+.{digits}f}" for each in one.by_seed),
            ]
        )
    return markdown_table(lines)


_Values = dict[tuple[str, str], dict[str, float]]


def _values(results: Sequence[PhotoResult], masks: str) -> _Values:
    """By method and photograph its figures."""
    return {
        (fill.method, result.id): fill.figures
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
    means = bootstrap_means(table.mean(axis=1, keepdims=True), kept, 0)
    low, high = np.percentile(means[:, 0], [2.5, 97.5])
    return Difference(
        name, masks, figure, float(table.mean()), float(low), float(high),
        tuple(float(each) for each in table.mean(axis=0)),
    )  # fmt: skip

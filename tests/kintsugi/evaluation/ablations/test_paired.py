"""Differences of variants: paired by photograph and seed, settled only where all seeds agree."""

from dataclasses import replace

import numpy as np
import pytest

from kintsugi.evaluation.ablations.ablation_plan import AblationPlan, AblationVariant, seeded
from kintsugi.evaluation.ablations.paired import format_differences, paired_differences
from kintsugi.evaluation.evaluate import CaseResult, PhotoResult
from kintsugi.evaluation.realism.cells import LAYERS, as_bytes
from kintsugi.evaluation.realism.pooling import Cells

SEEDS = (0, 1)
PHOTOS = [f"{number:02d}" for number in range(20)]


def plan() -> AblationPlan:
    variants = [
        AblationVariant(seeded(name, seed), root=name)
        for seed in SEEDS
        for name in ("base", "worse", "either")
    ]
    return AblationPlan("x", "a", "b", "c", tuple(variants), seeds=SEEDS)


def fills_of(number: int) -> list[CaseResult]:
    """The base differs from photograph to photograph by more than any variant from it."""
    base = float(number)
    difference = {"base": (0.0, 0.0), "worse": (0.3, 0.2), "either": (0.3, -0.2)}
    return [
        CaseResult(
            "random-256", seeded(name, seed), 0.1, figures={"hole_l1_percent": base + by[seed]}
        )
        for name, by in difference.items()
        for seed in SEEDS
    ]


def test_a_small_difference_shows_through_large_ones_of_photographs() -> None:
    results = [PhotoResult(photo, tuple(fills_of(number))) for number, photo in enumerate(PHOTOS)]
    found = {one.variant: one for one in paired_differences(results, plan())}
    assert found.keys() == {"worse", "either"}
    assert found["worse"].mean == pytest.approx(0.25)
    assert found["worse"].by_seed == pytest.approx((0.3, 0.2))
    assert found["worse"].settled
    # Its interval leaves out 0 as well, but one seed says the opposite.
    assert found["either"].low > 0
    assert not found["either"].settled
    table = format_differences([*found.values()])
    assert "| worse | random-256 | hole L1 % | **+0.250** |" in table
    assert "| either | random-256 | hole L1 % | +0.050 |" in table


def test_without_seeds_or_a_base_there_is_nothing_to_pair() -> None:
    results = [PhotoResult(photo, tuple(fills_of(number))) for number, photo in enumerate(PHOTOS)]
    assert paired_differences(results, replace(plan(), seeds=())) == []
    alone = [variant for variant in plan().variants if variant.root != "base"]
    assert paired_differences(results, replace(plan(), variants=tuple(alone))) == []


def cells(rng: np.random.Generator, shift: float) -> Cells:
    return {
        name: rng.normal(shift, 1, (6, layer.channels)).astype(np.float16)
        for name, layer in LAYERS.items()
    }


def realism_of(number: int) -> PhotoResult:
    """ "worse" has cells further from the truth's, a seam, and too much detail, not too little."""
    rng = np.random.default_rng(number)
    drawn = as_bytes(cells(rng, 0.0)), as_bytes(cells(rng, 0.0))
    filled = [
        CaseResult(
            "random-256",
            seeded(name, seed),
            0.1,
            figures={"outline_step": step, "laplacian": energy},
            cells=as_bytes(cells(rng, shift)),
        )
        for name, shift, step, energy in (("base", 0.1, 1.1, 0.5), ("worse", 0.5, 2.2, 8.0))
        for seed in SEEDS
    ]
    return PhotoResult(f"{number:02d}", tuple(filled), cells={"random-256": drawn})


def test_realism_is_paired_before_likeness_and_a_ratio_counts_in_both_directions() -> None:
    found = paired_differences([realism_of(number) for number in range(12)], plan())
    assert [one.figure for one in found] == [
        "kernel distance relu2_1",
        "kernel distance relu3_1",
        "outline_step",
        "laplacian",
    ]
    assert all(one.variant == "worse" and one.settled and one.mean > 0 for one in found)
    step, laplacian = found[2:]
    assert step.mean == pytest.approx(1.0)
    # A half is one doubling off, eight times three.
    assert laplacian.by_seed == pytest.approx((2.0, 2.0))
    assert "| worse | random-256 | Laplacian, doublings off | **+2.000** |" in format_differences(
        found
    )


def test_kernel_distances_are_of_the_photographs_that_all_have_filled() -> None:
    results = [realism_of(number) for number in range(12)]
    whole = paired_differences(results[:8], plan())
    cut = [replace(result, filled=result.filled[:-1]) for result in results[8:]]
    part = paired_differences([*results[:8], *cut], plan())
    assert part == whole

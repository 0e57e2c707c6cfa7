"""Differences of variants: paired by photograph and seed, settled only where all seeds agree."""

from dataclasses import replace

import pytest

from kintsugi.evaluation.ablations.ablation_plan import AblationPlan, AblationVariant, seeded
from kintsugi.evaluation.ablations.paired import format_differences, paired_differences
from kintsugi.evaluation.evaluate import CaseResult, PhotoResult

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

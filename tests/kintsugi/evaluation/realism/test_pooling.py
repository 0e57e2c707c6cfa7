"""Distances of populations against their definitions, and where nothing differs."""

import json

import numpy as np
import pytest

from kintsugi.evaluation.realism.pooling import (
    RESAMPLES,
    CellSample,
    Rows,
    bootstrap_weights,
    discrimination_error,
    frechet,
    kernel_distance,
    kernel_resamples,
    pool_realism,
)


def cells(
    seed: int, count: int = 12, shape: tuple[int, int] = (20, 8), shift: float = 0
) -> list[Rows]:
    rng = np.random.default_rng(seed)
    return [rng.normal(shift, 1, shape) for _ in range(count)]


def test_frechet_of_shifted_and_of_wider_cells() -> None:
    one = np.concatenate(cells(0))
    assert frechet(one, one) == pytest.approx(0, abs=1e-9)
    # Moved by 2 in each channel: 4 a channel.
    assert frechet(one, one + 2) == pytest.approx(4)
    # Three times as wide: (3 - 1)^2 times the variance, a channel.
    wide = one.mean(axis=0) + 3 * (one - one.mean(axis=0))
    assert frechet(one, wide) == pytest.approx(4 * one.var(axis=0, ddof=1).mean())


def test_kernel_distance_by_its_definition() -> None:
    ones, others = cells(0, 4, (3, 5)), cells(1, 4, (2, 5), 0.5)

    def kernel(a: Rows, b: Rows) -> float:
        return float((a @ b / 5 + 1) ** 3)

    total = 0.0
    for p in range(4):
        for q in range(4):
            if p == q:
                continue
            total += float(np.mean([kernel(a, b) for a in ones[p] for b in ones[q]]))
            total += float(np.mean([kernel(a, b) for a in others[p] for b in others[q]]))
            total -= 2 * float(np.mean([kernel(a, b) for a in ones[p] for b in others[q]]))
    found = kernel_distance(ones, others, np.ones((1, 4)))
    assert found[0] == pytest.approx(total / 12)
    # A photograph that counts twice is paired twice with the others, never with itself.
    twice = kernel_distance(ones, others, np.array([[2.0, 1, 0, 0], [3, 0, 0, 0]]))
    alone = kernel_distance(ones[:2], others[:2], np.ones((1, 2)))
    assert twice[0] == pytest.approx(alone[0] * 4 / (9 - 5))
    assert np.isnan(twice[1])


def test_kernel_distance_is_unbiased() -> None:
    found = [
        kernel_distance(cells(2 * seed, 6), cells(2 * seed + 1, 6), np.ones((1, 6)))[0]
        for seed in range(200)
    ]
    error = np.std(found) / np.sqrt(len(found))
    assert abs(np.mean(found)) < 3 * error
    # A biased one would be above 0 each time.
    assert 50 < sum(value < 0 for value in found) < 150


def test_the_classifier_finds_a_difference_on_photographs_that_it_has_not_seen() -> None:
    ids = [str(number) for number in range(12)]
    apart = discrimination_error(cells(0), cells(1, shift=3), ids)
    near = discrimination_error(cells(0), cells(1, shift=0.3), ids)
    alike = discrimination_error(cells(0), cells(1), ids)
    assert apart is not None
    assert near is not None
    assert alike is not None
    assert apart < 0.01 < near < alike
    assert alike == pytest.approx(0.5, abs=0.1)
    assert discrimination_error(cells(0, 1), cells(1, 1), ["a"]) is None


def test_what_photographs_have_in_common_with_their_fills_helps_no_classifier() -> None:
    # Each photograph has its own place, that all its cells share, the fill's as well.
    rng = np.random.default_rng(0)
    places = rng.normal(0, 20, (12, 8))
    ones, others = (
        [place + each for place, each in zip(places, cells(seed), strict=True)] for seed in (0, 1)
    )
    # With many channels and few cells a classifier learns by heart what it is fitted to.
    error = discrimination_error(ones, others, [str(number) for number in range(12)])
    assert error == pytest.approx(0.5, abs=0.1)


def test_bootstrap_weights_are_a_photographs_own() -> None:
    weights = bootstrap_weights(["a", "b", "c"], 0)
    assert np.array_equal(weights[:, ::-1], bootstrap_weights(["c", "b", "a"], 0))
    assert not np.array_equal(weights, bootstrap_weights(["a", "b", "c"], 1))
    assert weights.mean() == pytest.approx(1, abs=0.05)


def sample(number: int, shift: float = 0) -> CellSample:
    rng = np.random.default_rng(number)
    first, second, fill = (
        {"relu2_1": (rng.normal(10 + at, 2, (20, 8))).astype(np.float16)} for at in (0, 0, shift)
    )
    return CellSample(str(number), first, second, fill, 1.0 + number, 0.5)


def test_pooled_figures_are_in_units_of_the_originals() -> None:
    near, far = (pool_realism([sample(i, shift) for i in range(12)]) for shift in (1, 4))
    # Two deviations of 2 away: 4 a channel, and what few cells bring.
    assert far.layers["relu2_1"].distance == pytest.approx(4, rel=0.15)
    assert near.layers["relu2_1"].distance < 0.5
    assert near.layers["relu2_1"].floor == far.layers["relu2_1"].floor < 0.1
    assert near.outline_step.median == 6.5
    assert (near.outline_step.low, near.outline_step.high) == (3.75, 9.25)
    assert json.loads(json.dumps(near.as_dict()))["photographs"] == 12


def test_of_many_photographs_a_part_of_the_cells_is_paired(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    samples = [sample(i, 1) for i in range(40)]
    whole = pool_realism(samples).layers["relu2_1"]
    monkeypatch.setattr("kintsugi.evaluation.realism.pooling.KERNEL_CELLS", 200)
    part = pool_realism(samples).layers["relu2_1"]
    assert part.distance == whole.distance
    assert part.kid != whole.kid
    assert part.kid == pytest.approx(whole.kid, rel=0.25)
    assert abs(part.kid_floor or 0) < whole.kid / 4


def test_a_channel_that_the_originals_do_not_use_does_not_decide() -> None:
    def with_dead_channel(number: int, value: float) -> CellSample:
        known = sample(number)
        for side, level in ((known.first, 0.0), (known.second, 0.0), (known.fill, value)):
            side["relu2_1"][:, 0] = level
        return known

    found = pool_realism([with_dead_channel(i, 2.0) for i in range(6)]).layers["relu2_1"]
    # One deviation of the others: 1/8, or 4 times that at most.
    assert found.floor < found.distance < 1


def test_photographs_without_cells_are_left_out_of_a_layer() -> None:
    empty = {"relu2_1": np.zeros((0, 8), np.float16)}
    thin = CellSample("thin", empty, empty, empty, 1.0, 1.0)
    found = pool_realism([*(sample(i) for i in range(4)), thin])
    assert (found.photographs, found.layers["relu2_1"].photographs) == (5, 4)
    assert pool_realism([thin]).layers == {}


def test_resamples_of_a_kernel_distance_begin_with_all_and_are_those_of_the_interval() -> None:
    samples = [sample(number, 0.5) for number in range(6)]
    found = kernel_resamples(samples, "relu2_1")
    layer = pool_realism(samples).layers["relu2_1"]
    assert len(found) == 1 + RESAMPLES
    assert found[0] == layer.kid
    assert (layer.kid_low, layer.kid_high) == tuple(np.nanpercentile(found[1:], (2.5, 97.5)))
    with pytest.raises(ValueError, match="1 photographs with cells of relu2_1"):
        kernel_resamples(samples[:1], "relu2_1")

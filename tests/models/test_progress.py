"""How far a computation is, as one number."""

import pytest

from kintsugi.models.progress import Step


def test_the_number_rises_and_later_scales_count_for_more() -> None:
    steps = [Step(crop, 2, scale, 3) for crop in range(2) for scale in range(3)]
    shares = [step.fraction for step in steps]
    assert shares == sorted(set(shares))
    assert shares[0] == 0
    assert shares[-1] < 1
    assert shares[:4] == pytest.approx([0, 1 / 14, 3 / 14, 1 / 2])
    assert Step(3, 4, 0, 1).fraction == 0.75

"""Seams and detail against values worked out by hand."""

import pytest
import torch

from kintsugi.evaluation.realism.pixels import laplacian_energy, outline_step

LEVEL = 1 / 255


def flat(level: float, side: int = 16) -> torch.Tensor:
    return torch.full((1, 3, side, side), level / 255)


def hole(top: int, left: int, height: int, width: int, side: int = 16) -> torch.Tensor:
    mask = torch.zeros(1, 1, side, side)
    mask[..., top : top + height, left : left + width] = 1
    return mask


def test_a_step_by_hand() -> None:
    mask = hole(4, 4, 6, 6)
    # Nine grey levels higher on every side of the outline: (9 + 1) / (0 + 1).
    assert outline_step(flat(100), flat(109), mask) == pytest.approx(10, rel=1e-4)
    assert outline_step(flat(100), flat(91), mask) == pytest.approx(10, rel=1e-4)
    assert outline_step(flat(100), flat(100), mask) == 1
    # Only neighbours of the outline count, on both axes: a spot in the middle does not.
    spot = flat(100)
    spot[..., 6:8, 6:8] = 1
    assert outline_step(flat(100), spot, mask) == 1
    # One of the four sides is off: a quarter of the step.
    side = flat(100)
    side[..., 4:10, 4] = 112 / 255
    corner = 4 * 6
    expected = 12 * (6 + 2) / corner + 1
    assert outline_step(flat(100), side, mask) == pytest.approx(expected, rel=1e-4)


def test_a_hole_at_the_border_has_no_outline_there() -> None:
    mask = hole(0, 0, 16, 8)
    assert outline_step(flat(10), flat(19), mask) == pytest.approx(10, rel=1e-4)
    with pytest.raises(ValueError, match="nothing known"):
        outline_step(flat(10), flat(19), torch.ones(1, 1, 16, 16))


def test_laplacian_by_hand() -> None:
    # One bright pixel of 10 on black: -40 there, 10 at each of its four neighbours.
    truth, mask = flat(0), torch.ones(1, 1, 16, 16)
    truth[..., 8, 8] = 10 * LEVEL
    energy = (40**2 + 4 * 10**2) / 256
    assert laplacian_energy(truth, flat(0), mask) == pytest.approx(1 / (energy + 1), rel=1e-3)
    assert laplacian_energy(flat(0), truth, mask) == pytest.approx(energy + 1, rel=1e-3)
    assert laplacian_energy(truth, truth, mask) == 1
    # Where both are flat, there is as much detail.
    assert laplacian_energy(flat(3), flat(200), mask) == 1


def test_a_seam_is_no_detail() -> None:
    assert laplacian_energy(flat(100), flat(200), hole(4, 4, 6, 6)) == 1
    # A hole that is too thin to have an inside is judged as a whole.
    assert laplacian_energy(flat(100), flat(200), hole(4, 4, 2, 6)) > 100


def test_no_hole_is_refused() -> None:
    for judge in (outline_step, laplacian_energy):
        with pytest.raises(ValueError, match="no hole"):
            judge(flat(0), flat(0), torch.zeros(1, 1, 16, 16))

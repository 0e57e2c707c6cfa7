"""Each check of the demo fails when what it checks is not so."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.demo.checks import (
    CheckFailed,
    check_fills_differ,
    check_loss_fell,
    check_outside_unchanged,
    save_result,
)

HOLE = np.zeros((8, 8), dtype=bool)
HOLE[2:5, 3:6] = True
PHOTO = np.arange(192, dtype=np.uint8).reshape(8, 8, 3)


def filled(value: int) -> np.ndarray:
    answer = PHOTO.copy()
    answer[HOLE] = value
    return answer


def test_pixels_outside_the_hole_must_not_change() -> None:
    assert "55 pixels" in check_outside_unchanged(PHOTO, filled(7), HOLE)
    touched = filled(7)
    touched[0, 0, 1] += 1
    with pytest.raises(CheckFailed, match="1 pixels outside"):
        check_outside_unchanged(PHOTO, touched, HOLE)


def test_the_hole_must_be_filled() -> None:
    with pytest.raises(CheckFailed, match="nothing was filled"):
        check_outside_unchanged(PHOTO, PHOTO, HOLE)


def test_fills_must_differ() -> None:
    assert "differ by 20" in check_fills_differ(filled(10), filled(30), HOLE)
    with pytest.raises(CheckFailed, match="same fill"):
        check_fills_differ(filled(10), filled(10), HOLE)


@pytest.mark.parametrize("losses", [[1.0], [1.0, 1.0], [1.0, 2.0], [1.0, float("nan")], []])
def test_the_loss_must_fall(losses: list[float]) -> None:
    rows = [{"step": step, "fixed/perceptual": loss} for step, loss in enumerate(losses)]
    with pytest.raises(CheckFailed, match="did not fall"):
        check_loss_fell({"run": "r", "metrics": rows})
    rows = [{"fixed/perceptual": 2.0}, {"loss/perceptual": 9.0}, {"fixed/perceptual": 1.5}]
    assert check_loss_fell({"run": "r", "metrics": rows}).endswith("from 2.000 to 1.500")


def test_the_picture_has_hole_mask_and_answers_side_by_side(tmp_path: Path) -> None:
    save_result(tmp_path / "r.png", PHOTO, HOLE, [filled(7), filled(9)])
    picture = np.asarray(Image.open(tmp_path / "r.png"))
    assert picture.shape == (8, 4 * 8 + 3 * 8, 3)
    assert (picture[:, :8][HOLE] == 255).all()
    assert (picture[:, :8][~HOLE] == PHOTO[~HOLE]).all()
    assert (picture[:, 16:24][HOLE] == 255).all()
    assert (picture[:, 16:24][~HOLE] == 0).all()
    assert (picture[:, 32:40] == filled(7)).all()
    assert (picture[:, 48:] == filled(9)).all()

"""What the bundled release makes of photographs that nobody trained it on."""

from pathlib import Path

import numpy as np
import pytest

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.data.sample_photos import copy_sample_photos
from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.evaluation.metrics import hole_l1_percent, known_pixels_equal
from kintsugi.evaluation.realism.realism import hole_figures
from kintsugi.imaging.codec import decode_image
from kintsugi.inference.methods import CLASSICAL, ReleaseMethod, open_release

PHOTOS = ("astronaut.png", "chelsea.png", "coffee.png", "rocket.jpg")


@pytest.mark.slow
def test_it_fills_with_detail_and_near_the_truth(tmp_path: Path) -> None:
    copy_sample_photos(str(tmp_path))
    method = ReleaseMethod(open_release(BUNDLED_RELEASE)[0])
    hole = np.zeros((256, 256), dtype=bool)
    hole[80:176, 80:176] = True
    differences, detail = [], []
    for name in PHOTOS:
        truth = square_crop(decode_image((tmp_path / name).read_bytes()).pixels, 256)
        filled, smooth = method(truth, hole), CLASSICAL["smooth"](truth, hole)
        assert known_pixels_equal(filled, truth, hole)
        differences.append([hole_l1_percent(each, truth, hole) for each in (filled, smooth)])
        detail.append([hole_figures(truth, each, hole)["laplacian"] for each in (filled, smooth)])
    ours, smooth = np.mean(differences, axis=0)
    assert ours < 1.4 * smooth
    ours, smooth = np.mean(detail, axis=0)
    assert ours > 4 * smooth

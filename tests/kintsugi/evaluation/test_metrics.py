"""Metrics against values worked out by hand, and against their own definitions in loops."""

import math
import sys

import numpy as np
import pytest
import torch

from kintsugi.errors import ConfigError
from kintsugi.evaluation.metrics import (
    PSNR_CEILING_DB,
    Mask,
    Pixels,
    VggDistance,
    hole_l1_percent,
    hole_psnr_db,
    known_pixels_equal,
    measure,
    structural_similarity,
)
from kintsugi.models.networks.vgg import Vgg19Relu3


def flat(level: int, side: int = 16) -> Pixels:
    return np.full((side, side, 3), level, np.uint8)


def hole(side: int = 16) -> Mask:
    mask = np.zeros((side, side), np.bool_)
    mask[4:10, 5:12] = True
    return mask


def noise(seed: int, side: int = 32) -> Pixels:
    return np.random.default_rng(seed).integers(0, 256, (side, side, 3), np.uint8)


def test_l1_and_psnr_by_hand() -> None:
    truth, answer = flat(200), flat(200)
    answer[hole()] = (149, 200, 200)
    # One of three channels is off by 51 of 255.
    assert hole_l1_percent(answer, truth, hole()) == pytest.approx(100 * 51 / 255 / 3)
    expected = 10 * math.log10(255**2 / (51**2 / 3))
    assert hole_psnr_db(answer, truth, hole()) == pytest.approx(expected)
    # The sign does not matter, nor do unsigned bytes wrap around.
    assert hole_l1_percent(truth, answer, hole()) == hole_l1_percent(answer, truth, hole())


def test_black_for_white_is_the_worst() -> None:
    assert hole_l1_percent(flat(0), flat(255), hole()) == pytest.approx(100)
    assert hole_psnr_db(flat(0), flat(255), hole()) == pytest.approx(0)


def test_only_the_hole_counts() -> None:
    truth, answer = flat(10), flat(10)
    answer[~hole()] = 250
    assert hole_l1_percent(answer, truth, hole()) == 0
    assert hole_psnr_db(answer, truth, hole()) == PSNR_CEILING_DB
    assert not known_pixels_equal(answer, truth, hole())
    answer = flat(10)
    answer[hole()] = 250
    assert known_pixels_equal(answer, truth, hole())


def test_ssim_is_one_for_equal_images_and_local() -> None:
    truth, mask = noise(0), hole(32)
    assert structural_similarity(truth, truth, mask) == pytest.approx((1, 1))
    answer = truth.copy()
    answer[mask] = noise(1)[mask]
    whole, inside = structural_similarity(answer, truth, mask)
    assert inside < 0.6
    assert inside < whole < 1
    # A change far from the hole is none of the hole's.
    answer = truth.copy()
    answer[28:, 28:] = 0
    whole, inside = structural_similarity(answer, truth, mask)
    assert inside == pytest.approx(1)
    assert whole < 1


def test_ssim_of_one_window_by_its_formula() -> None:
    truth, answer = noise(0, 7), noise(1, 7)
    middle = np.zeros((7, 7), np.bool_)
    middle[3, 3] = True
    expected = []
    for channel in range(3):
        a, t = answer[..., channel].astype(float), truth[..., channel].astype(float)
        c1, c2 = (0.01 * 255) ** 2, (0.03 * 255) ** 2
        covariance = ((a - a.mean()) * (t - t.mean())).sum() / 48
        expected.append(
            (2 * a.mean() * t.mean() + c1)
            * (2 * covariance + c2)
            / ((a.mean() ** 2 + t.mean() ** 2 + c1) * (a.var(ddof=1) + t.var(ddof=1) + c2))
        )
    # 7 px leave one whole window, so the mean over the image is the same value.
    whole, inside = structural_similarity(answer, truth, middle)
    assert inside == pytest.approx(np.mean(expected))
    assert whole == pytest.approx(np.mean(expected))


def test_ssim_says_which_package_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "skimage.metrics", None)
    with pytest.raises(ConfigError, match=r"kintsugi-inpainting\[eval\]"):
        structural_similarity(flat(0), flat(0), hole())


def test_vgg_distance_by_its_definition() -> None:
    encoder = Vgg19Relu3.random(0)
    answer, truth = noise(0), noise(1)
    layers = {1: 64, 6: 128, 11: 256}
    total = 0.0
    maps = []
    for pixels in (answer, truth):
        x = torch.from_numpy(pixels).permute(2, 0, 1)[None] / 255
        x = (x - encoder.mean) / encoder.std
        kept = {}
        for index, layer in enumerate(encoder.features):
            x = layer(x)
            if index in layers:
                kept[index] = x[0].double().clone()
        maps.append(kept)
    for index, channels in layers.items():
        one, other = (
            (kept[index] / kept[index].norm(dim=0)).reshape(channels, -1) for kept in maps
        )
        total += float(((one - other) ** 2).sum(0).mean())
    assert VggDistance(encoder)(answer, truth) == pytest.approx(total, rel=1e-4)


def test_vgg_distance_of_equal_and_of_unequal_images() -> None:
    distance = VggDistance(Vgg19Relu3.random(0))
    assert distance(noise(0), noise(0)) == 0
    near = noise(0).copy()
    near[:2, :2] = 0
    assert 0 < distance(near, noise(0)) < distance(noise(1), noise(0)) <= 6
    # A black image has cells of length zero.
    assert math.isfinite(distance(flat(0, 32), noise(0)))


def test_measure_names_every_metric() -> None:
    names = set(measure(noise(0), noise(1), hole(32)))
    assert names == {
        "hole_l1_percent",
        "hole_psnr_db",
        "ssim",
        "hole_ssim",
        "known_equal",
    }
    with_vgg = measure(noise(0), noise(1), hole(32), VggDistance(Vgg19Relu3.random(0)))
    assert set(with_vgg) - names == {"vgg_distance"}

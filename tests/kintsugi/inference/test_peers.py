"""Other programs' ways to fill: only the hole is theirs, and a missing package is named."""

import sys
import types
from typing import Any

import numpy as np
import pytest

from kintsugi.errors import ConfigError
from kintsugi.evaluation.entrants import open_classical
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.inference.peers import PEER_PACKAGES, PEERS


def photo_with_hole(height: int = 96, width: int = 120) -> tuple[Pixels, Mask]:
    mask = np.zeros((height, width), np.bool_)
    mask[30:60, 20:54] = True
    rows, columns = np.mgrid[0:height, 0:width]
    stripes = 128 + 60 * np.sin(columns / 3)[..., None] * np.array([1.0, 0.6, 0.2])
    grain = np.random.default_rng(0).normal(0, 8, (height, width, 1))
    return (stripes + grain + rows[..., None] / 4).clip(0, 255).astype(np.uint8), mask


@pytest.mark.parametrize("name", list(PEERS))
def test_only_the_hole_changes(name: str) -> None:
    pytest.importorskip(PEER_PACKAGES[name])
    pixels, mask = photo_with_hole()
    before = pixels.copy()
    blank = np.where(mask[..., None], np.uint8(0), pixels)
    filled = PEERS[name](blank, mask)
    assert (filled.shape, filled.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(filled[~mask], pixels[~mask])
    assert np.array_equal(pixels, before)
    # Colours and stripes go on: rows, columns and channels are where they belong.
    assert np.abs(filled[mask].astype(int) - pixels[mask]).mean() < 40
    assert np.abs(filled[mask].mean(axis=0) - pixels[mask].mean(axis=0)).max() < 25
    # What is in the hole is not looked at, and the answer is the same every time.
    other = np.where(mask[..., None], np.uint8(7), pixels)
    assert np.array_equal(PEERS[name](other, mask), filled)


@pytest.mark.parametrize("name", list(PEERS))
def test_a_missing_package_is_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    package = PEER_PACKAGES[name]
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(ConfigError, match=rf"needs the package {package}.*pip install {package}"):
        PEERS[name](*photo_with_hole())


def test_what_a_program_does_around_the_hole_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    module: Any = types.ModuleType("resynthesizer")
    module.resynthesize = lambda image, mask: image.point(lambda level: 9)
    monkeypatch.setitem(sys.modules, "resynthesizer", module)
    pixels, mask = photo_with_hole()
    filled = PEERS["resynthesizer"](pixels, mask)
    assert (filled[mask] == 9).all()
    assert np.array_equal(filled[~mask], pixels[~mask])


def test_each_is_known_by_its_package() -> None:
    for name, package in PEER_PACKAGES.items():
        pytest.importorskip(package)
        assert open_classical(name).identity.startswith(f"{name} {package} ")

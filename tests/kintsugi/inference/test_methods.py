"""Ways to fill a hole: known pixels stay, and what makes a release unusable is said."""

import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from kintsugi.errors import ConfigError, StorageError
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.inference.methods import CLASSICAL, CoarseFill, Method, ReleaseMethod, open_release
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.models.weights import ReleaseConfig, save_release

TINY = ModelConfig("tiny")


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    return build_inpainter(TINY, Vgg19Relu3.random(0), seed=0)


@pytest.fixture
def release(inpainter: Inpainter, tmp_path: Path) -> Path:
    config = ReleaseConfig(name="tiny", model=TINY, encoder="random (seed 0)")
    save_release(tmp_path / "release", inpainter, config, card="")
    return tmp_path / "release"


def photo_with_hole(side: int = 64) -> tuple[Pixels, Mask]:
    mask = np.zeros((side, side), np.bool_)
    mask[20:40, 8:30] = True
    return np.random.default_rng(0).integers(0, 256, (side, side, 3), np.uint8), mask


@pytest.mark.parametrize("name", ["ours", *CLASSICAL])
def test_only_the_hole_changes(inpainter: Inpainter, name: str) -> None:
    method: Method = ReleaseMethod(inpainter) if name == "ours" else CLASSICAL[name]
    pixels, mask = photo_with_hole()
    before = pixels.copy()
    filled = method(pixels, mask)
    assert (filled.shape, filled.dtype) == (pixels.shape, np.uint8)
    assert np.array_equal(filled[~mask], pixels[~mask])
    assert not np.array_equal(filled[mask], pixels[mask])
    assert np.array_equal(pixels, before)
    # What is in the hole is not looked at.
    blank = np.where(mask[..., None], np.uint8(7), pixels)
    assert np.array_equal(method(blank, mask), filled)


@pytest.mark.parametrize("scales", [1, 2])
def test_g1_alone_fills_what_g1_draws(inpainter: Inpainter, scales: int) -> None:
    pixels, mask = photo_with_hole(64 * scales)
    filled = CoarseFill(inpainter, FillOptions(scales=scales))(pixels, mask)
    assert np.array_equal(filled[~mask], pixels[~mask])
    assert not np.array_equal(filled, ReleaseMethod(inpainter)(pixels, mask))
    if scales == 1:
        with torch.inference_mode():
            image, hole = image_to_tensor(pixels, "cpu"), mask_to_tensor(mask, "cpu")
            coarse = tensor_to_image(inpainter.image2feature.fill(image, hole))
        assert np.abs(filled.astype(int) - coarse).max() <= 1


def test_g1_alone_draws_the_first_scale_of_a_release_that_searches_pixels(
    inpainter: Inpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = inpainter.image2feature, inpainter.feature2image
    searching = Inpainter(*parts, MatchingConfig(pixels=True))
    fill, sides = inpainter.image2feature.fill, []

    def watched(image: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        sides.append(image.shape[-1])
        return fill(image, mask)

    monkeypatch.setattr(inpainter.image2feature, "fill", watched)
    pixels, mask = photo_with_hole(256)
    for each in (searching, inpainter):
        filled = CoarseFill(each)(pixels, mask)
        assert np.array_equal(filled[~mask], pixels[~mask])
    assert sides == [128, 256]


def test_a_release_fills_at_as_many_scales_as_asked_for(inpainter: Inpainter) -> None:
    pixels, mask = photo_with_hole(128)
    one, two = (ReleaseMethod(inpainter, FillOptions(scales=n))(pixels, mask) for n in (1, 2))
    assert not np.array_equal(one, two)


def test_classical_methods_continue_a_flat_image() -> None:
    mask = photo_with_hole()[1]
    pixels = np.full((64, 64, 3), (10, 200, 90), np.uint8)
    for method in CLASSICAL.values():
        assert np.abs(method(pixels, mask).astype(int) - pixels).max() <= 2


def test_opencv_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "cv2", None)
    with pytest.raises(ConfigError, match=r"kintsugi-inpainting\[eval\]"):
        CLASSICAL["telea"](*photo_with_hole())


def test_patchmatch_missing_names_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "patchmatch", None)
    with pytest.raises(ConfigError, match=r"PyPatchMatch.*kintsugi-inpainting\[eval\]"):
        CLASSICAL["patchmatch"](*photo_with_hole())


def test_patchmatch_without_its_library_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("patchmatch.patch_match.patchmatch_available", False)
    with pytest.raises(ConfigError, match="C library"):
        CLASSICAL["patchmatch"](*photo_with_hole())


def test_a_release_opens_by_its_uri(inpainter: Inpainter, release: Path) -> None:
    opened, config = open_release(release.as_uri())
    assert config.name == "tiny"
    pixels, mask = photo_with_hole()
    assert np.array_equal(
        ReleaseMethod(opened)(pixels, mask), ReleaseMethod(inpainter)(pixels, mask)
    )


def test_what_is_no_release_is_named(release: Path, tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        open_release(str(tmp_path / "nowhere"))
    (release / "model.safetensors").write_bytes(b"altered")
    with pytest.raises(StorageError, match=rf"{release}/model\.safetensors has digest"):
        open_release(str(release))

"""Neural patch synthesis: known pixels stay, the hole moves towards known patches, seeded."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.networks.smooth_fill import smooth_fill
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.patch_synthesis import SynthesisOptions, synthesise_patches

QUICK = SynthesisOptions(scales=2, iterations=6, rematch_every=3)


@pytest.fixture(scope="module")
def encoder() -> Vgg19Relu3:
    return Vgg19Relu3.random(0)


def stripes(height: int = 64, width: int = 64) -> Tensor:
    """A texture of 8 px period, in colour."""
    phase = torch.arange(width) * (2 * torch.pi / 8)
    waves = torch.stack([torch.sin(phase + shift) for shift in (0.0, 1.0, 2.0)])
    return (0.5 + 0.4 * waves)[None, :, None].expand(1, 3, height, width).contiguous()


def hole(height: int = 64, width: int = 64) -> Tensor:
    mask = torch.zeros(1, 1, height, width)
    mask[..., 24:40, 24:40] = 1
    return mask


@pytest.mark.slow
def test_only_the_hole_changes_and_what_was_in_it_does_not_matter(encoder: Vgg19Relu3) -> None:
    image, mask = stripes(), hole()
    spoilt = torch.where(mask == 1, torch.nan, image)
    before = spoilt.clone()
    filled = synthesise_patches(encoder, spoilt, mask, QUICK)
    assert torch.equal(filled[mask.expand_as(image) == 0], image[mask.expand_as(image) == 0])
    assert torch.equal(spoilt.isnan(), before.isnan())
    assert filled.isfinite().all()
    assert 0 <= filled.min() <= filled.max() <= 1
    assert torch.equal(filled, synthesise_patches(encoder, image, mask.bool(), QUICK))


@pytest.mark.slow
def test_a_seed_decides(encoder: Vgg19Relu3) -> None:
    first, again, other = (
        synthesise_patches(encoder, stripes(), hole(), QUICK, seed=seed) for seed in (0, 0, 1)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


@pytest.mark.slow
def test_it_finds_the_texture_that_a_smooth_fill_lacks(encoder: Vgg19Relu3) -> None:
    image, mask = stripes(), hole()
    options = SynthesisOptions(scales=1, iterations=60, smoothness=0.0)
    filled = synthesise_patches(encoder, image, mask, options)
    smooth = smooth_fill(image, mask)
    inside = mask.expand_as(image) == 1

    def contrast(answer: Tensor) -> float:
        return float(answer[inside].std() / image[inside].std())

    assert contrast(smooth) < 0.6
    assert contrast(filled) > contrast(smooth) + 0.1
    features = [encoder(each) for each in (filled, smooth, image)]
    distances = [(each - features[2]).square().sum() for each in features]
    assert distances[0] < distances[1]


@pytest.mark.slow
def test_any_size_and_a_start(encoder: Vgg19Relu3) -> None:
    image, mask = stripes(70, 93), hole(70, 93)
    options = SynthesisOptions(scales=3, iterations=1)
    plain = synthesise_patches(encoder, image, mask, options)
    assert plain.shape == image.shape
    started = synthesise_patches(encoder, image, mask, options, start=torch.ones_like(image))
    assert not torch.equal(plain, started)
    assert torch.equal(started * (1 - mask), image * (1 - mask))


def test_refuses_what_cannot_be_filled(encoder: Vgg19Relu3) -> None:
    image, mask = stripes(), hole()
    with pytest.raises(ValueError, match="the mask is empty"):
        synthesise_patches(encoder, image, mask * 0)
    with pytest.raises(ValueError, match="the mask is full"):
        synthesise_patches(encoder, image, mask * 0 + 1)
    with pytest.raises(ValueError, match="mask is 60x64 px and the image 64x64"):
        synthesise_patches(encoder, image, mask[..., :60])
    with pytest.raises(ValueError, match="iterations=0"):
        SynthesisOptions(iterations=0)

"""Keys: standardised channels, and the known side as blurry as the fill."""

import pytest
import torch

from kintsugi.models.match.keys import _fine_share, blur_known, gaussian_blur, standardise
from tests.models.match.test_patch_swap import features_of, mask_of

LUMA = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)


def test_known_cells_are_standardised_per_channel_and_photograph() -> None:
    features = features_of(0, 2, 5, 9, 8) * 3 + 7
    mask = torch.cat([mask_of(36, 32, (8, 20, 8, 20)), mask_of(36, 32, (0, 4, 0, 32))])
    got = standardise(features, mask)
    for item in range(2):
        known = torch.nn.functional.max_pool2d(mask[item], 4)[0] == 0
        cells = got[item][:, known]
        torch.testing.assert_close(cells.mean(1), torch.zeros(5), atol=1e-5, rtol=0)
        torch.testing.assert_close(cells.std(1, correction=0), torch.ones(5))
        # The hole is moved and scaled with the rest, not brought to mean 0 by itself.
        slope = features[item][:, known].std(1, correction=0)
        differences = features[item][:, ~known].diff(dim=1) / slope[:, None]
        torch.testing.assert_close(got[item][:, ~known].diff(dim=1), differences)


def test_any_number_of_channels_is_standardised_alike() -> None:
    features = features_of(1, 1, 37, 8, 8)
    mask = mask_of(32, 32, (8, 20, 8, 20))
    got = standardise(features, mask)
    for channel in (0, 15, 16, 36):
        alone = standardise(features[:, channel : channel + 1], mask)
        torch.testing.assert_close(got[:, channel : channel + 1], alone)


def test_a_constant_channel_becomes_zero_and_no_known_cell_changes_nothing() -> None:
    features = torch.full((1, 2, 6, 6), 3.0)
    assert not standardise(features, mask_of(24, 24, (8, 12, 8, 12))).any()
    assert torch.equal(standardise(features, mask_of(24, 24, (0, 24, 0, 24))), features)


@pytest.mark.parametrize("value", [torch.nan, torch.inf, -torch.inf])
@pytest.mark.parametrize("place", [(0, 1), (5, 5)], ids=["known", "hole"])
def test_a_value_that_is_not_finite_harms_only_itself(value: float, place: tuple[int, int]) -> None:
    features = features_of(1, 1, 20, 9, 8) + 3
    mask = mask_of(36, 32, (12, 28, 12, 28))
    spoilt = features.clone()
    spoilt[0, 17, *place] = value
    got, expected = standardise(spoilt, mask), standardise(features, mask)
    others = torch.arange(20) != 17
    assert torch.equal(got[:, others], expected[:, others])
    # The rest of its own channel is standardised by what is left of it.
    left = torch.nn.functional.max_pool2d(mask, 4)[0, 0] == 0
    left[place] = False
    cells = got[0, 17][left]
    assert cells.mean().item() == pytest.approx(0, abs=1e-5)
    assert cells.std(correction=0).item() == pytest.approx(1, abs=1e-5)
    finite = got[0, 17].isfinite()
    assert not finite[place]
    assert finite.sum() == 9 * 8 - 1


@pytest.mark.parametrize("sigma", [1.0, 2.0, 4.0])
def test_the_known_side_becomes_as_blurry_as_the_hole(sigma: float) -> None:
    sharp = gaussian_blur(
        torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1)), 1.0
    )
    # A gradient under the noise: photographs have more broad detail than fine.
    sharp = sharp + torch.linspace(0, 1, 128).view(1, 1, 1, -1)
    mask = mask_of(128, 128, (32, 96, 32, 96))
    filled = sharp * (1 - mask) + gaussian_blur(sharp, sigma) * mask
    got = blur_known(filled, mask)
    assert torch.equal(got * mask, filled * mask)
    known, hole = mask_of(128, 128, (0, 20, 0, 128)), mask_of(128, 128, (45, 83, 45, 83))
    shares = [
        _fine_share((image * LUMA).sum(1, keepdim=True), where)
        for image, where in ((filled, known), (got, known), (got, hole))
    ]
    assert shares[1] <= 1.2 * shares[2] < shares[0]


def test_noise_in_a_smooth_hole_does_not_make_it_sharp() -> None:
    """A coarse fill has hardly any detail; what there is of it may be fine noise."""
    generator = torch.Generator().manual_seed(0)
    image = gaussian_blur(torch.rand(1, 3, 96, 96, generator=generator), 1.0)
    mask = mask_of(96, 96, (24, 72, 24, 72))
    noise = 0.002 * torch.rand(1, 3, 96, 96, generator=generator)
    filled = image * (1 - mask) + (0.5 + noise) * mask
    got = blur_known(filled, mask)
    known = (1 - mask).bool().expand_as(image)
    assert got[known].std() < 0.5 * image[known].std()


def test_a_sharp_hole_leaves_the_image_as_it_is() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(2))
    mask = mask_of(64, 64, (16, 48, 16, 48))
    smooth_outside = gaussian_blur(image, 3.0) * (1 - mask) + image * mask
    assert torch.equal(blur_known(smooth_outside, mask), smooth_outside)


def test_every_photograph_has_its_own_blur() -> None:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(3))
    mask = mask_of(64, 64, (16, 48, 16, 48)).expand(2, 1, 64, 64)
    fill = torch.cat([gaussian_blur(image[:1], 3.0), image[1:]])
    image = image * (1 - mask) + fill * mask
    both = blur_known(image, mask)
    for item in range(2):
        alone = blur_known(image[item : item + 1], mask[item : item + 1])
        assert torch.equal(both[item : item + 1], alone)
    assert not torch.equal(both[0], image[0])


@pytest.mark.parametrize("box", [(0, 64, 0, 64), (0, 64, 0, 63), (30, 32, 0, 64), (5, 6, 5, 6)])
def test_odd_holes_are_no_trouble(box: tuple[int, int, int, int]) -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    assert blur_known(image, mask_of(64, 64, box)).isfinite().all()

"""kintsugi.models.matching: each preference reaches the match; last matches start the next."""

import weakref

import pytest
import torch
from torch import Tensor

from kintsugi.models import matching
from kintsugi.models.match.approximate import upsample_matches
from kintsugi.models.match.keys import blur_known, standardise
from kintsugi.models.match.patch_swap import match_patches, paste_patches, patch_swap
from kintsugi.models.match.pixel.pixel_synthesis import search_pixels
from kintsugi.models.matching import Encoded, MatchingConfig, keys_image, match, search_scale
from kintsugi.models.networks.cells import append_pixels
from tests.models.match.test_patch_swap import features_of, mask_of

MASK = mask_of(64, 64, (20, 44, 16, 48))


def test_the_defaults_are_the_papers() -> None:
    features = features_of(0, 1, 8, 16, 16)
    matched = match(MatchingConfig(), Encoded(features, None), MASK)
    assert torch.equal(matched.features, patch_swap(features, MASK))
    assert torch.equal(matched.indices, match_patches(features, MASK))


def test_keys_are_compared_and_features_copied() -> None:
    features, keys = features_of(1, 1, 8, 16, 16), features_of(2, 1, 8, 16, 16)
    matched = match(MatchingConfig(), Encoded(features, keys), MASK)
    assert torch.equal(matched.features, patch_swap(features, MASK, keys=keys))
    assert not torch.equal(matched.features, patch_swap(features, MASK))


def test_standardised_keys() -> None:
    features = features_of(3, 1, 8, 16, 16) * torch.arange(1.0, 9).view(1, 8, 1, 1)
    for kind in ("standardised", "matched-standardised"):
        matched = match(MatchingConfig(keys=kind), Encoded(features, None), MASK)
        expected = match_patches(standardise(features, MASK), MASK)
        assert torch.equal(matched.indices, expected)
        assert torch.equal(matched.features, paste_patches(features, expected, MASK))
    plain = match_patches(features, MASK)
    assert not torch.equal(expected, plain)
    later = match(MatchingConfig(keys=kind), Encoded(features, None), MASK, previous=expected)
    assert torch.equal(later.indices, plain), "the fill of a later scale is not coarse"


def test_only_matched_keys_have_an_image_of_their_own() -> None:
    image = torch.rand(1, 3, 64, 64, generator=torch.Generator().manual_seed(4))
    image = image * (1 - MASK) + 0.5 * MASK
    for kind in ("plain", "standardised"):
        assert keys_image(MatchingConfig(keys=kind), image, MASK) is None
    for kind in ("matched", "matched-standardised"):
        blurred = keys_image(MatchingConfig(keys=kind), image, MASK)
        assert blurred is not None
        assert torch.equal(blurred, blur_known(image, MASK))


def test_the_guard_is_the_releases() -> None:
    features = features_of(5, 1, 8, 16, 16)
    config = MatchingConfig(guard=2)
    matched = match(config, Encoded(features, None), MASK)
    assert torch.equal(matched.indices, match_patches(features, MASK, guard=2))
    assert not torch.equal(matched.indices, match_patches(features, MASK))


def test_the_last_scales_matches_start_the_approximate_search() -> None:
    features = features_of(6, 1, 8, 16, 16)
    coarse = match_patches(features_of(7, 1, 8, 8, 8), mask_of(32, 32, (10, 22, 8, 24)))
    matched = match(
        MatchingConfig(method="approximate"), Encoded(features, None), MASK, previous=coarse, seed=3
    )
    init = upsample_matches(coarse, (8, 8), (16, 16))
    expected = match_patches(features, MASK, method="approximate", init=init, seed=3)
    assert torch.equal(matched.indices, expected)


def test_the_first_scale_is_matched_again_by_what_was_pasted() -> None:
    features, keys = features_of(8, 1, 8, 16, 16), features_of(9, 1, 8, 16, 16)
    encoded, config = Encoded(features, keys), MatchingConfig(guard=1, repeats=2)
    pasted = match(MatchingConfig(guard=1), encoded, MASK).features
    for _ in range(2):
        indices = match_patches(pasted, MASK, guard=1)
        pasted = paste_patches(features, indices, MASK)
    matched = match(config, encoded, MASK)
    assert torch.equal(matched.features, pasted)
    assert torch.equal(matched.indices, indices)
    later = match(config, encoded, MASK, previous=match_patches(keys, MASK))
    assert torch.equal(later.features, match(MatchingConfig(guard=1), encoded, MASK).features)


def test_pixels_count_against_features_as_much_as_asked_for() -> None:
    features, image = features_of(10, 1, 256, 16, 16), torch.rand(1, 3, 64, 64)
    cells = append_pixels(features, image)
    alone = match(MatchingConfig(), Encoded(features, None), MASK)
    # Not compared, but copied along.
    along = match(MatchingConfig(), Encoded(cells, None), MASK)
    assert torch.equal(along.indices, alone.indices)
    assert torch.equal(along.features, paste_patches(cells, alone.indices, MASK))
    # Each of the two has its way where it outweighs the other.
    pixels = standardise(cells[:, 256:], MASK)
    for colour, decisive in ((1e-6, features), (100.0, pixels)):
        matched = match(MatchingConfig(colour=colour), Encoded(cells, None), MASK)
        agree = matched.indices == match_patches(decisive, MASK)
        assert agree.float().mean() > 0.99
    equal = match(MatchingConfig(colour=1.0), Encoded(cells, None), MASK)
    scale = (features.square().sum(1).mean() / 48).sqrt()
    assert torch.equal(equal.indices, match_patches(torch.cat([features, scale * pixels], 1), MASK))


def test_a_cell_without_numbers_spoils_no_other() -> None:
    cells = append_pixels(features_of(12, 1, 256, 16, 16), torch.rand(1, 3, 64, 64))
    whole = match(MatchingConfig(colour=0.25), Encoded(cells, None), MASK).indices
    cells[0, 3, 0, 0] = torch.inf
    spoilt = match(MatchingConfig(colour=0.25), Encoded(cells, None), MASK).indices
    assert (spoilt == whole).float().mean() > 0.95


def test_repeats_compare_the_pixels_that_were_pasted() -> None:
    cells = append_pixels(features_of(11, 1, 256, 16, 16), torch.rand(1, 3, 64, 64))
    first = match(MatchingConfig(colour=4.0), Encoded(cells, None), MASK)
    again = match(MatchingConfig(colour=4.0), Encoded(first.features, None), MASK)
    repeated = match(MatchingConfig(colour=4.0, repeats=1), Encoded(cells, None), MASK)
    assert torch.equal(repeated.indices, again.indices)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("keys", "sharp"),
        ("method", "fast"),
        ("guard", -1),
        ("repeats", -1),
        ("repeats", 21),
        ("colour", -0.1),
        ("colour", 101.0),
    ],
)
def test_what_is_no_preference_is_refused(field: str, value: object) -> None:
    config = MatchingConfig()
    # Past the type checker that tests run under; a release's file meets none.
    object.__setattr__(config, field, value)
    with pytest.raises(ValueError, match=f"{field}={value!r}"):
        config.__post_init__()


def test_a_first_scale_that_is_a_guide_is_small() -> None:
    assert MatchingConfig().first_side == 256
    assert MatchingConfig(pixels=True).first_side == 128


def test_a_scale_is_searched_from_what_was_drawn_in_its_hole() -> None:
    image, drawn = (torch.rand(1, 3, 64, 64) for _ in range(2))
    pasted = torch.where(MASK > 0, drawn, image)
    found = search_scale(image, MASK, guide=drawn, seed=3)
    expected = search_pixels(pasted, MASK, seed=3)
    assert torch.equal(found.image, expected.image)
    assert torch.equal(found.sources, expected.sources)
    again = search_scale(found.image, MASK, previous=found.sources, seed=3)
    expected = search_pixels(found.image, MASK, previous=found.sources, seed=3)
    assert torch.equal(again.image, expected.image)
    assert torch.equal(again.sources, expected.sources)


def test_keys_of_ones_own_are_gone_before_the_paste(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[weakref.ref[Tensor]] = []

    def standardised(features: Tensor, mask: Tensor) -> Tensor:
        made.append(weakref.ref(keys := standardise(features, mask)))
        return keys

    def pasted(features: Tensor, indices: Tensor, mask: Tensor) -> Tensor:
        assert made[0]() is None
        return paste_patches(features, indices, mask)

    monkeypatch.setattr(matching, "standardise", standardised)
    monkeypatch.setattr(matching, "paste_patches", pasted)
    features = features_of(0, 1, 8, 16, 16)
    match(MatchingConfig(keys="standardised"), Encoded(features, None), MASK)
    assert len(made) == 1

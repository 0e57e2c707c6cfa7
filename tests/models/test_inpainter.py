"""The whole method: any size, known pixels to the bit, and nothing of the hole's content."""

import pytest
import torch
from torch import Tensor

from models.inpainter import Inpainter, MatchingConfig
from models.patch_swap import patch_swap
from models.scales import FillOptions
from tests.models.test_patch_swap import mask_of
from tests.models.test_scales import photo


def assert_fills(inpainter: Inpainter, image: Tensor, mask: Tensor) -> Tensor:
    """Known pixels equal, hole in range, the same twice, blind to the hole's content."""
    filled = inpainter.inpaint(image, mask)
    hole = mask.expand_as(image) > 0
    assert filled.shape == image.shape
    assert torch.equal(filled[~hole], image[~hole])
    assert filled[hole].min() >= 0
    assert filled[hole].max() <= 1
    assert torch.equal(inpainter.inpaint(image.where(~hole, torch.tensor(1e6)), mask), filled)
    return filled


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((1, 5), (0, 1, 2, 3)),
        ((5, 1), (0, 2, 0, 1)),
        ((37, 50), (10, 30, 20, 45)),
        ((64, 64), (0, 20, 44, 64)),
        ((256, 256), (64, 192, 64, 192)),
        ((300, 1000), (100, 160, 900, 1000)),
    ],
)
def test_any_size(
    inpainter: Inpainter, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert_fills(inpainter, photo(*size), mask_of(*size, box))


def test_512_px_in_two_scales(inpainter: Inpainter) -> None:
    image, mask = photo(512, 512), mask_of(512, 512, (200, 300, 180, 330))
    two = assert_fills(inpainter, image, mask)
    assert not torch.equal(inpainter.inpaint(image, mask, FillOptions(scales=1)), two)


def test_a_hole_larger_than_the_known_part(inpainter: Inpainter) -> None:
    assert_fills(inpainter, photo(128, 128), mask_of(128, 128, (0, 128, 0, 100)))


def test_no_known_patch_at_all(inpainter: Inpainter) -> None:
    # Every cell holds a hole pixel: nothing to match, and still an answer.
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., ::4, ::4] = 1
    assert_fills(inpainter, photo(64, 64), mask)


def test_one_scale_is_infer_match_translate(inpainter: Inpainter) -> None:
    image, mask = photo(96, 64), mask_of(96, 64, (20, 60, 16, 40))
    with torch.inference_mode():
        features = inpainter.image2feature(image, mask).features
        whole = inpainter.feature2image(patch_swap(features, mask))
        assert torch.equal(inpainter(image, mask), whole)
    hole = mask.expand_as(image) > 0
    torch.testing.assert_close(inpainter.inpaint(image, mask)[hole], whole[hole])


def test_the_release_decides_the_guard(inpainter: Inpainter) -> None:
    guarded = Inpainter(inpainter.image2feature, inpainter.feature2image, MatchingConfig(guard=3))
    features = torch.randn(1, 256, 24, 24, generator=torch.Generator().manual_seed(0))
    mask = mask_of(96, 96, (32, 64, 32, 64))
    assert torch.equal(guarded.match(features, mask), patch_swap(features, mask, guard=3))
    assert not torch.equal(guarded.match(features, mask), inpainter.match(features, mask))


def test_two_photographs_get_two_fills(inpainter: Inpainter) -> None:
    mask = mask_of(96, 96, (32, 64, 32, 64))
    image = photo(96, 96)
    fills = [inpainter.inpaint(i, mask) * mask for i in (image, image.flip(1))]
    assert not torch.equal(*fills)


def test_growing_fills_more_and_feathering_blends(inpainter: Inpainter) -> None:
    image, mask = photo(96, 96), mask_of(96, 96, (32, 64, 32, 64))
    grown = inpainter.inpaint(image, mask, FillOptions(grow_mask=8))
    same = inpainter.inpaint(image, mask_of(96, 96, (24, 72, 24, 72)))
    assert torch.equal(grown, same)
    plain, soft = (
        inpainter.inpaint(image, mask),
        inpainter.inpaint(image, mask, FillOptions(feather=8)),
    )
    hole = mask.expand_as(image) > 0
    torch.testing.assert_close(soft[hole], plain[hole])
    assert not torch.equal(soft[..., 32:64, 64:72], image[..., 32:64, 64:72])
    assert torch.equal(soft[..., :22, :], image[..., :22, :])


@pytest.mark.parametrize(
    ("box", "message"), [((0, 0, 0, 0), "empty"), ((0, 64, 0, 64), "whole image")]
)
def test_refuses_empty_and_full_masks(
    inpainter: Inpainter, box: tuple[int, int, int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        inpainter.inpaint(photo(64, 64), mask_of(64, 64, box))

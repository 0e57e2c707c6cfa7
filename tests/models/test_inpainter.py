"""The whole method: any size, known pixels to the bit, and nothing of the hole's content."""

from itertools import pairwise
from typing import Any

import pytest
import torch
from torch import Tensor

from kintsugi.models.inpainter import Inpainter
from kintsugi.models.match.patch_swap import patch_swap
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.plan.fill_plan import FillOptions
from kintsugi.models.progress import Step
from tests.models.match.patterns import checker, off_by
from tests.models.match.test_patch_swap import mask_of
from tests.models.plan.test_fill_plan import photo


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
        ((150, 700), (50, 110, 640, 700)),
    ],
)
@pytest.mark.slow
def test_any_size(
    inpainter: Inpainter, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    assert_fills(inpainter, photo(*size), mask_of(*size, box))


@pytest.mark.slow
def test_a_side_of_512_px_in_two_scales(inpainter: Inpainter) -> None:
    image, mask = photo(128, 512), mask_of(128, 512, (40, 90, 100, 400))
    two = assert_fills(inpainter, image, mask)
    assert not torch.equal(inpainter.inpaint(image, mask, FillOptions(scales=1)), two)


@pytest.mark.slow
def test_it_reports_every_scale_of_every_hole(inpainter: Inpainter) -> None:
    image, mask = photo(64, 4000), mask_of(64, 4000, (20, 40, 10, 40))
    mask[..., 20:40, 3960:3990] = 1
    steps: list[Step] = []
    inpainter.inpaint(image, mask, progress=steps.append)
    assert steps == [Step(0, 2, 0, 1), Step(1, 2, 0, 1)]
    steps.clear()
    image, mask = photo(128, 512), mask_of(128, 512, (40, 90, 100, 400))
    inpainter.inpaint(image, mask, progress=steps.append)
    assert steps == [Step(0, 1, 0, 2), Step(0, 1, 1, 2)]


@pytest.fixture(scope="module")
def searching(inpainter: Inpainter) -> Inpainter:
    """One that fills holes with copied pixels."""
    parts = inpainter.image2feature, inpainter.feature2image
    return Inpainter(*parts, MatchingConfig(pixels=True))


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((37, 50), (10, 30, 20, 45)),
        ((64, 64), (0, 20, 44, 64)),
        ((200, 136), (64, 150, 64, 136)),
        pytest.param((1, 5), (0, 1, 2, 3), marks=pytest.mark.slow),
        pytest.param((5, 1), (0, 2, 0, 1), marks=pytest.mark.slow),
        pytest.param((256, 256), (64, 192, 64, 192), marks=pytest.mark.slow),
        pytest.param((150, 700), (50, 110, 640, 700), marks=pytest.mark.slow),
        pytest.param((128, 128), (0, 128, 0, 100), marks=pytest.mark.slow),
    ],
)
def test_pixels_are_searched_at_any_size(
    searching: Inpainter, size: tuple[int, int], box: tuple[int, int, int, int]
) -> None:
    image, mask = photo(*size), mask_of(*size, box)
    filled = assert_fills(searching, image, mask)
    spoilt = image.masked_fill(mask > 0, float("nan"))
    assert torch.equal(searching.inpaint(spoilt, mask), filled)


def test_a_texture_goes_on_whatever_the_networks_draw(searching: Inpainter) -> None:
    """Theirs are random weights."""
    image, mask = checker(256, 256), mask_of(256, 256, (96, 160, 96, 160))
    filled = searching.inpaint(image, mask, FillOptions(align_colour=False))
    assert off_by(filled, image, mask) < 0.02


def test_a_search_draws_the_first_scale_alone_which_is_small(
    searching: Inpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mask = photo(256, 512), mask_of(256, 512, (80, 180, 100, 400))
    drawn, searched = [], []
    translate, search = searching.translate, searching.search

    def draw(*args: Tensor) -> Tensor:
        drawn.append(translate(*args))
        return drawn[-1]

    def look(image: Tensor, mask: Tensor, **given: Any) -> Any:
        searched.append((image.shape[-1], given, search(image, mask, **given)))
        return searched[-1][2]

    monkeypatch.setattr(searching, "translate", draw)
    monkeypatch.setattr(searching, "search", look)
    steps: list[Step] = []
    searching.inpaint(image, mask, FillOptions(seed=5), progress=steps.append)
    assert [each.shape[-1] for each in drawn] == [128]
    assert [side for side, _, _ in searched] == [128, 256, 512]
    assert [given["seed"] for _, given, _ in searched] == [5, 5, 5]
    assert searched[0][1]["guide"] is drawn[0]
    # Each later scale begins with the sources of the one before, and with no guide.
    for before, (_, given, _) in pairwise(searched):
        assert given["previous"] is before[2].sources
        assert "guide" not in given
    assert steps == [Step(0, 1, scale, 3) for scale in range(3)]


def test_a_search_can_be_given_up_before_each_step(searching: Inpainter) -> None:
    class GivenUp(Exception):
        pass

    image, mask = photo(256, 128), mask_of(256, 128, (40, 90, 20, 60))
    for count in range(5):
        left = count

        def check() -> None:
            nonlocal left
            if not left:
                raise GivenUp
            left -= 1

        with pytest.raises(GivenUp):
            searching.inpaint(image, mask, check=check)


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
    filled = inpainter.inpaint(image, mask, FillOptions(align_colour=False))
    torch.testing.assert_close(filled[hole], whole[hole])


def test_later_scales_are_encoded_once(
    inpainter: Inpainter, monkeypatch: pytest.MonkeyPatch
) -> None:
    image, mask = photo(128, 128), mask_of(128, 128, (40, 88, 40, 88))
    matched = Inpainter(
        inpainter.image2feature, inpainter.feature2image, MatchingConfig(keys="matched")
    )
    encode, sides = matched.features, []

    def counted(image: Tensor, *colours: Tensor) -> Tensor:
        sides.append(image.shape[-1])
        return encode(image, *colours)

    monkeypatch.setattr(matched, "features", counted)
    matched.inpaint(image, mask, FillOptions(scales=2))
    assert sides == [64, 64, 128]


def test_the_release_decides_how_it_matches(inpainter: Inpainter) -> None:
    image, mask = photo(96, 96), mask_of(96, 96, (32, 64, 32, 64))
    parts = inpainter.image2feature, inpainter.feature2image
    guarded = Inpainter(*parts, MatchingConfig(guard=3))
    encoded = inpainter.infer(image, mask)
    expected = patch_swap(encoded.features, mask, guard=3)
    assert torch.equal(guarded.match(encoded, mask).features, expected)
    assert not torch.equal(inpainter.match(encoded, mask).features, expected)
    assert encoded.keys is None
    matched = Inpainter(*parts, MatchingConfig(keys="matched"))
    assert matched.infer(image, mask).keys is not None
    assert not torch.equal(matched.inpaint(image, mask), inpainter.inpaint(image, mask))


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


@pytest.mark.parametrize(
    ("content", "style"),
    [((1, 5), (16, 16)), ((37, 50), (300, 17)), ((64, 1100), (90, 70)), ((80, 64), (350, 250))],
)
@pytest.mark.slow
def test_a_style_transfer_of_any_size(
    inpainter: Inpainter,
    content: tuple[int, int],
    style: tuple[int, int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # So that the last style is one of those that are too large.
    monkeypatch.setattr("kintsugi.models.plan.style_plan.STYLE_SIDE", 256)
    pictures = photo(*content), photo(*style)
    styled = inpainter.stylize(*pictures)
    assert styled.shape == pictures[0].shape
    assert styled.min() >= 0
    assert styled.max() <= 1
    assert torch.equal(inpainter.stylize(*pictures), styled)


def test_without_strength_the_content_is_only_translated(inpainter: Inpainter) -> None:
    content, style = photo(96, 128), photo(64, 64)
    with torch.inference_mode():
        expected = inpainter.translate(inpainter.features(content))
    assert torch.equal(inpainter.stylize(content, style, strength=0.0), expected)
    assert not torch.equal(inpainter.stylize(content, style, strength=0.1), expected)


@pytest.mark.parametrize("size", [(96, 128), (70, 51)])
def test_a_picture_in_its_own_style_is_only_translated(
    inpainter: Inpainter, size: tuple[int, int]
) -> None:
    content = photo(*size)
    plain = inpainter.stylize(content, content, strength=0.0)
    assert torch.equal(inpainter.stylize(content, content), plain)


def test_a_style_transfer_refuses_wrong_arguments(inpainter: Inpainter) -> None:
    with pytest.raises(ValueError, match="choose 0"):
        inpainter.stylize(photo(64, 64), photo(64, 64), strength=1.5)
    with pytest.raises(ValueError, match="at least 16x16"):
        inpainter.stylize(photo(64, 64), photo(64, 15))


def test_a_transfer_reports_every_tile(inpainter: Inpainter) -> None:
    steps: list[Step] = []
    inpainter.stylize(photo(64, 1500), photo(32, 32), progress=steps.append)
    assert steps == [Step(tile, len(steps), 0, 1) for tile in range(len(steps))]
    assert len(steps) > 1

"""Holes filled with copied pixels: textures go on exactly, at every place and size of a hole."""

from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode

from kintsugi.models.match.pixel.pixel_search import NO_SOURCE
from kintsugi.models.match.pixel.pixel_synthesis import search_pixels
from kintsugi.models.matching import search_scale
from tests.models.match.patterns import Draw, checker, clouds, guided, noise, off_by, stripes
from tests.models.match.test_patch_swap import Box, mask_of


def fill(image: Tensor, mask: Tensor, *, seed: int = 0) -> Tensor:
    """From a blurred guide; what every fill keeps is checked."""
    begun = guided(image, mask)
    found, sources = search_pixels(begun, mask, seed=seed)
    hole = mask.expand_as(image) > 0
    assert found.shape == image.shape
    assert torch.equal(found[~hole], image[~hole])
    assert found.isfinite().all()
    assert found.min() >= 0
    assert found.max() <= 1
    assert_sources(sources, mask)
    filled: Tensor = found
    return filled


def assert_sources(sources: Tensor, mask: Tensor) -> None:
    """Where something is copied it is a known pixel, and every hole pixel is copied."""
    height, width = mask.shape[-2:]
    assert sources.shape == (1, height, width)
    assert sources.dtype == torch.int32
    flat = mask.flatten() > 0
    known = sources[sources >= 0].long()
    assert known.max() < height * width
    assert not flat[known].any()


BOXES: dict[str, Box] = {
    "middle": (36, 92, 36, 92),
    "left": (40, 88, 0, 30),
    "right": (40, 88, 98, 128),
    "bottom": (98, 128, 40, 88),
    "corner": (0, 30, 0, 30),
    "other corner": (90, 128, 90, 128),
    "from edge to edge": (50, 80, 0, 128),
    "a pixel at the corner": (127, 128, 127, 128),
    "three from the edge": (60, 70, 115, 125),
}


@pytest.mark.parametrize("box", BOXES.values(), ids=BOXES)
@pytest.mark.parametrize("draw", [checker, stripes], ids=["checker", "stripes"])
def test_a_texture_that_repeats_goes_on(draw: Draw, box: Box) -> None:
    image, mask = draw(128, 128), mask_of(128, 128, box)
    assert off_by(fill(image, mask), image, mask) < 0.01


@pytest.mark.parametrize("size", [(64, 64), (200, 136), (70, 65), (136, 40), (33, 250)])
def test_any_size(size: tuple[int, int]) -> None:
    image = stripes(*size)
    mask = mask_of(*size, (size[0] // 3, size[0] // 2, size[1] // 3, size[1] // 2))
    assert off_by(fill(image, mask), image, mask) < 0.01


def test_a_horizon_goes_on() -> None:
    size, mask = (128, 128), mask_of(128, 128, (40, 88, 40, 88))
    image = noise(*size) * 0.1 + 0.3
    image[..., :60, :] += torch.tensor([0.0, 0.2, 0.5])[:, None, None]
    found = fill(image, mask)
    blue = found[0, 2, 40:88, 40:88].mean(1)
    assert (blue[:18] > 0.7).all()
    assert (blue[22:] < 0.5).all()


def test_thin_holes_in_many_places() -> None:
    image, mask = checker(96, 96), torch.zeros(1, 1, 96, 96)
    mask[..., 20, :] = mask[..., :, 33] = mask[..., 70:, 60] = 1
    mask[..., 0, 50] = mask[..., 90, 95] = 1
    assert off_by(fill(image, mask), image, mask) < 0.01


def test_a_single_pixel_and_two_holes_far_apart() -> None:
    image = checker(96, 160)
    mask = mask_of(96, 160, (50, 51, 20, 21), (10, 40, 120, 150))
    assert off_by(fill(image, mask), image, mask) < 0.01


def test_hardly_anything_is_known() -> None:
    """One patch of 7x7 px and what is too small for one."""
    image, mask = noise(64, 64), torch.ones(1, 1, 64, 64)
    mask[..., 30:37, 20:27] = mask[..., 2, 2:5] = 0
    found, sources = search_pixels(guided(image, mask), mask)
    assert torch.equal(found[..., 30:37, 20:27], image[..., 30:37, 20:27])
    assert torch.equal(found[..., 2, 2:5], image[..., 2, 2:5])
    assert found.isfinite().all()
    assert set(sources.unique().tolist()) == {-1, 33 * 64 + 23}


def test_without_a_known_patch_the_image_comes_back() -> None:
    image, mask = noise(64, 64), torch.zeros(1, 1, 64, 64)
    mask[..., ::4, ::4] = 1
    for previous in (None, torch.full((1, 32, 32), -1, dtype=torch.int32)):
        found, sources = search_pixels(image, mask, previous=previous)
        assert torch.equal(found, image)
        assert (sources == -1).all()
        assert sources.shape == (1, 64, 64)
    whole = search_pixels(image, torch.ones_like(mask))
    assert torch.equal(whole.image, image)


def test_without_a_hole_the_image_comes_back() -> None:
    image = noise(64, 64)
    found, sources = search_pixels(image, torch.zeros(1, 1, 64, 64))
    assert torch.equal(found, image)
    assert (sources == -1).all()


def test_the_seed_decides() -> None:
    image, mask = noise(160, 160), mask_of(160, 160, (30, 130, 30, 130))
    one, same, other = (search_pixels(guided(image, mask), mask, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(one.image, same.image)
    assert torch.equal(one.sources, same.sources)
    assert not torch.equal(one.image, other.image)


def test_what_is_drawn_of_known_pixels_does_not_count_and_nothing_is_written_to() -> None:
    image, mask = stripes(96, 96), mask_of(96, 96, (30, 60, 30, 60))
    drawn = guided(image, mask)
    before = drawn.clone(), mask.clone()
    first = search_pixels(drawn, mask)
    assert torch.equal(drawn, before[0])
    assert torch.equal(mask, before[1])
    # As a scale calls it: the hole of the image does not count, nor what is drawn outside of it.
    spoilt = image.masked_fill(mask > 0, float("nan"))
    elsewhere = drawn.where(mask > 0, torch.tensor(float("nan")))
    again = search_scale(spoilt, mask, guide=elsewhere)
    assert torch.equal(again.image, first.image)
    assert torch.equal(again.sources, first.sources)


def test_the_guide_decides_between_two_textures_that_fit_as_well() -> None:
    """Two fields of unlike colour, between them the hole: it becomes what was drawn there."""
    size, mask = (128, 160), mask_of(128, 160, (0, 128, 50, 110))
    image = 0.1 + 0.3 * checker(*size)
    image[..., 80:] += 0.5
    for level, (low, high) in ((0.3, (0.0, 0.5)), (0.75, (0.5, 1.0))):
        guide = torch.where(mask > 0, level, image)
        found, sources = search_pixels(guide, mask)
        deep = found[..., 20:108, 70:90]
        assert deep.min() >= low
        assert deep.max() <= high
        columns = sources[0, 20:108, 70:90] % 160
        assert ((columns < 80) == (level < 0.5)).all()


@pytest.mark.parametrize(("draw", "least"), [(noise, 0.6), (clouds, 0.75), (checker, 0.95)])
def test_contrast_is_kept(draw: Draw, least: float) -> None:
    """Copies average: where it is not given back, clouds keep 0.65 of it."""
    image, mask = draw(160, 160), mask_of(160, 160, (48, 112, 48, 112))
    found, whole = (_detail(each, (52, 108, 52, 108)) for each in (fill(image, mask), image))
    assert least * whole < found < 1.3 * whole


def test_a_later_scale_goes_on_from_the_one_before() -> None:
    """Between two places that look the same, what was copied at the smaller scale decides."""
    large, mask = noise(256, 256), mask_of(256, 256, (100, 148, 100, 148))
    large[..., 128:] = large[..., :128].clone()
    small, small_mask = F.avg_pool2d(large, 2), F.max_pool2d(mask, 2)
    first = search_pixels(guided(small, small_mask), small_mask)
    begun = torch.where(mask > 0, F.interpolate(first.image, scale_factor=2.0), large)
    found, sources = search_pixels(begun, mask, previous=first.sources, seed=3)
    assert torch.equal(found[mask.expand_as(found) == 0], large[mask.expand_as(found) == 0])
    assert_sources(sources, mask)
    # Most go on to within a pixel or two of where they were.
    hole = mask[0, 0] > 0
    before = first.sources[0].repeat_interleave(2, 0).repeat_interleave(2, 1)[hole]
    now = sources[0][hole]
    apart = torch.stack([now // 256 - before // 128 * 2, now % 256 - before % 128 * 2]).abs()
    assert (apart.amax(0) <= 3).float().mean() > 0.6
    assert _detail(found, (104, 144, 104, 144)) > 0.6 * _detail(large, (104, 144, 104, 144))


def test_a_later_scale_begins_without_help_where_there_were_no_sources() -> None:
    image, mask = checker(128, 128), mask_of(128, 128, (40, 80, 40, 80))
    nothing = torch.full((1, 64, 64), -1, dtype=torch.int32)
    found, sources = search_pixels(guided(image, mask), mask, previous=nothing)
    assert_sources(sources, mask)
    assert found.isfinite().all()


def test_sources_of_a_scale_of_another_shape_are_brought_to_this_one() -> None:
    """Sides are rounded to whole cells: halves are not exact."""
    # The right half is the left one again, and nothing else in it is alike.
    image, mask = noise(200, 68).repeat(1, 1, 1, 2), mask_of(200, 136, (60, 120, 92, 128))
    height, width = 104, 64
    rows, columns = torch.meshgrid(torch.arange(height), torch.arange(width), indexing="ij")
    around = F.max_pool2d(F.adaptive_max_pool2d(mask, (height, width)), 7, 1, 3)[0, 0]
    before = torch.where(around > 0, rows * width + columns - width // 2, NO_SOURCE)
    begun = torch.where(mask > 0, 0.5, image)
    found, sources = search_pixels(begun, mask, previous=before[None].int())
    assert_sources(sources, mask)
    assert off_by(found, image, mask) < 0.02
    # Without them that is not found.
    nowhere = search_pixels(begun, mask, previous=torch.full_like(before, NO_SOURCE)[None].int())
    assert off_by(nowhere.image, image, mask) > 0.1


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        (torch.zeros(2, 3, 64, 64), torch.zeros(2, 1, 64, 64)),
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 1, 64, 60)),
        (torch.zeros(1, 1, 64, 64), torch.zeros(1, 1, 64, 64)),
        (torch.zeros(1, 3, 64, 64), torch.zeros(1, 3, 64, 64)),
    ],
)
def test_what_is_no_photograph_with_its_mask_is_refused(image: Tensor, mask: Tensor) -> None:
    with pytest.raises(ValueError, match=r"image is \(.* and mask \(.*give one image"):
        search_pixels(image, mask)


class _DrawnOnTheCpu(TorchFunctionMode):
    """What has a generator is drawn where that one is, whatever the default device."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        if "generator" in kwargs:
            kwargs.setdefault("device", "cpu")
        return func(*args, **kwargs)


def test_all_is_made_on_the_images_device() -> None:
    """What would be made on the default device does not mix with the image's: it has no data."""
    image, mask = noise(160, 160), mask_of(160, 160, (30, 130, 30, 130))
    drawn = guided(image, mask)
    first = search_pixels(drawn, mask)
    later = search_pixels(first.image, mask, previous=first.sources)
    with torch.device("meta"), _DrawnOnTheCpu():
        again = search_pixels(drawn, mask)
        assert torch.equal(again.image, first.image)
        again = search_pixels(first.image, mask, previous=first.sources)
        assert torch.equal(again.image, later.image)
        assert torch.equal(again.sources, later.sources)


def _detail(image: Tensor, box: Box) -> float:
    """How much pixels differ from their neighbours: standard deviation."""
    top, bottom, left, right = box
    part = image[..., top:bottom, left:right]
    around = F.avg_pool2d(image, 3, 1, 1)[..., top:bottom, left:right]
    return float((part - around).std())


def test_what_fits_as_well_is_taken_from_the_same_height() -> None:
    tile = torch.rand(1, 3, 8, 8, generator=torch.Generator().manual_seed(3))
    image = tile.repeat(1, 1, 12, 12)
    mask = torch.zeros(1, 1, 96, 96)
    mask[..., 36:60, 36:60] = 1
    sources = search_pixels(image, mask).sources[0]
    rows, columns = (sources >= 0).nonzero(as_tuple=True)
    found = sources[rows, columns]
    down, right = (found // 96 - rows).abs().float(), (found % 96 - columns).abs().float()
    # Each eighth shift fits, whatever its direction.
    assert right.mean() > 4
    assert down.mean() < right.mean() / 2


def test_what_is_level_may_come_from_further_away(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = clouds(128, 128), mask_of(128, 128, (32, 96, 32, 96))

    def columns_away() -> float:
        sources = search_pixels(guided(image, mask), mask).sources[0]
        _, columns = (sources >= 0).nonzero(as_tuple=True)
        return float((sources[sources >= 0] % 128 - columns).abs().float().mean())

    away = columns_away()
    monkeypatch.setattr("kintsugi.models.match.pixel.source_cost._FREE", 0.0)
    assert away > 1.1 * columns_away()


def test_what_was_copied_often_is_copied_less(monkeypatch: pytest.MonkeyPatch) -> None:
    image, mask = clouds(128, 128), mask_of(128, 128, (32, 96, 32, 96))
    begun = guided(image, mask)

    def copied_alike() -> float:
        sources = search_pixels(begun, mask).sources
        copies = torch.bincount(sources[sources >= 0].long(), minlength=128 * 128)
        return float(copies.float().square().sum())

    often = copied_alike()
    monkeypatch.setattr("kintsugi.models.match.pixel.source_cost._REPEATED", 0.0)
    assert often < 0.9 * copied_alike()


def test_of_a_thing_that_is_there_once_less_is_copied(monkeypatch: pytest.MonkeyPatch) -> None:
    # A texture with one disc, and a guide that cannot decide between the two.
    image, mask = clouds(128, 128) * 0.3, mask_of(128, 128, (40, 88, 48, 112))
    rows, columns = torch.meshgrid(torch.arange(128), torch.arange(128), indexing="ij")
    disc = (rows - 64) ** 2 + (columns - 26) ** 2 < 12**2
    red = torch.tensor([1.0, 0.2, 0.1])
    image[:, :, disc] = red[:, None]
    texture = image[0][:, ~disc & (mask[0, 0] == 0)].mean(1)
    begun = torch.where(mask > 0, (0.7 * texture + 0.3 * red)[:, None, None], image)

    def copied() -> int:
        return int((search_pixels(begun, mask).image[:, :1][mask > 0] > 0.6).sum())

    less = copied()
    monkeypatch.setattr("kintsugi.models.match.pixel.source_cost._RARE", 0.0)
    assert less < 0.8 * copied()

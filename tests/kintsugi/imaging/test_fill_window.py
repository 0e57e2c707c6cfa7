"""A plan on the window is the plan on the photograph: the same crops, to the pixel."""

import numpy as np
import pytest
import torch

from kintsugi.imaging import fill_window as window
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.fill_window import fill_window, seen_window
from kintsugi.models.compose.colour import grow as grow_tensor
from kintsugi.models.plan import crops
from kintsugi.models.plan.crops import crops_of

SIDES = [(700, 5200), (3000, 3600), (2500, 640)]


def moved(mask: Mask, top: int, left: int) -> list[tuple[int, ...]]:
    found = crops_of(torch.from_numpy(mask).float()[None, None])
    shift = (top, top, left, left)
    return [
        tuple(end + by for box in crop for end, by in zip(box, shift, strict=True))
        for crop in found
    ]


def check(mask: Mask) -> None:
    top, bottom, left, right = fill_window(mask, 0)
    part = mask[top:bottom, left:right]
    assert part.sum() == mask.sum()
    assert moved(part, top, left) == moved(mask, 0, 0)


def draw(height: int, width: int, generator: np.random.Generator) -> Mask:
    """One to five holes of any size, near one another or far apart, some at the border."""
    mask = np.zeros((height, width), np.bool_)
    spread = generator.choice([0.05, 0.3, 1.0])
    corner = generator.uniform(0, 1, 2) * (1 - spread)
    for _ in range(generator.integers(1, 6)):
        side = (int(2 ** generator.uniform(0, 9)), int(2 ** generator.uniform(0, 9)))
        place = [
            int((at + spread * generator.choice([0, 1, generator.uniform()])) * whole)
            for at, whole in zip(corner, (height, width), strict=True)
        ]
        row, column = (min(at, s - 1) for at, s in zip(place, (height, width), strict=True))
        mask[row : row + side[0], column : column + side[1]] = True
    return mask


@pytest.mark.parametrize(("height", "width"), SIDES)
@pytest.mark.parametrize("seed", range(6))
def test_holes_of_every_kind(height: int, width: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    for _ in range(4):
        check(draw(height, width, generator))


@pytest.mark.parametrize("where", ["thin line", "specks", "frame", "corners"])
def test_holes_that_are_parted_or_joined(where: str) -> None:
    mask = np.zeros((4000, 5200), np.bool_)
    if where == "thin line":
        mask[200:220, 100:5100] = True
    elif where == "specks":
        mask[50:3900:90, 40:5100:110] = True
    elif where == "frame":
        mask[:6] = mask[-6:] = mask[:, :6] = mask[:, -6:] = True
    else:
        mask[:31, :31] = mask[-31:, -31:] = True
    check(mask)


def test_a_small_hole_needs_a_small_part() -> None:
    mask = np.zeros((5000, 6400), np.bool_)
    mask[2000:2031, 3000:3031] = True
    top, bottom, left, right = fill_window(mask, 64)
    assert (bottom - top) * (right - left) < 2_000_000


def test_the_numbers_are_those_of_the_plan() -> None:
    for name in ("SMALLEST_CROP", "BLOCK", "MOST_NEAR_GROUPS", "NEAR_BLOCKS"):
        assert getattr(window, name) == getattr(crops, name)
    assert crops.PART_CONTEXT <= crops.SMALLEST_CROP


def test_a_picture_is_filled_within_its_window_alone() -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3000, 2600, 3), np.uint8)
    mask = np.zeros((3000, 2600), np.bool_)
    mask[1000:1040, 2000:2100] = True
    seen: list[tuple[int, ...]] = []

    def black(part: Pixels, hole: Mask) -> Pixels:
        seen.append(part.shape)
        return np.where(hole[..., None], 0, part).astype(np.uint8)

    filled = window.fill_within(pixels, mask, 5, black)
    assert np.array_equal(filled, np.where(mask[..., None], 0, pixels))
    assert seen[0][0] * seen[0][1] < 0.3 * mask.size
    unseen = np.dstack([pixels, np.zeros((3000, 2600), np.uint8)])
    unseen[0, 0, 3] = 255

    def looked_at(part: Pixels, hole: Mask) -> Pixels:
        seen.append(part.shape)
        return part[..., :3]

    window.fill_within(unseen, mask, 5, looked_at)
    assert seen[-1] == (3000, 2600, 4), "what can be seen lies outside of the window"


def far_away(seen: slice) -> tuple[Pixels, Mask]:
    """A picture of which some columns can be seen, and a hole on its left."""
    pixels, mask = np.zeros((600, 3000, 4), np.uint8), np.zeros((600, 3000), np.bool_)
    mask[280:320, 300:340] = True
    pixels[:, seen] = 255
    return pixels, mask


def test_the_window_reaches_to_what_the_fill_is_made_from() -> None:
    whole = (0, 600, 0, 3000)
    pixels, mask = far_away(slice(2900, 3000))
    assert seen_window(pixels, mask, 0) == whole
    assert seen_window(pixels[..., :3], mask, 0) == fill_window(mask, 0)
    pixels, mask = far_away(slice(345, 350))
    assert seen_window(pixels, mask, 0) == fill_window(mask, 0)
    # Its middle rows are hole once that has grown; above and below them it is seen.
    assert seen_window(pixels, mask, 64) == fill_window(mask, 64)
    pixels[:216] = pixels[384:] = 0
    assert seen_window(pixels, mask, 63) == fill_window(mask, 63)
    assert seen_window(pixels, mask, 64) == whole


@pytest.mark.parametrize("by", [0, 1, 5, 64])
def test_a_hole_grows_as_in_the_plan(by: int) -> None:
    mask = np.random.default_rng(by).random((90, 70)) > 0.998
    expected = grow_tensor(torch.from_numpy(mask).float()[None, None], by)[0, 0].numpy() > 0
    np.testing.assert_array_equal(window._grown(mask, by), expected)

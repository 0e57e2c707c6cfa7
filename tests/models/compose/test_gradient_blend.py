"""Gradient-domain blending: what is off goes, what is right stays, known pixels to the bit."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.compose.gradient_blend import (
    _conjugate_gradients,
    _crossing,
    _edge_screening,
    _most_of_shade,
    _on_pixels,
    _parts,
    _screening,
    _shade,
    _sharpness,
    _texture,
    _touching,
    blend_gradients,
)
from tests.models.match.patterns import noise, waves
from tests.models.match.test_patch_swap import Box, mask_of

BOXES: list[Box] = [(20, 44, 20, 44), (0, 30, 20, 44), (34, 64, 30, 64), (5, 6, 0, 1)]


def gradients(image: Tensor) -> tuple[Tensor, Tensor]:
    """To the right and the lower neighbour; 0 behind the last one."""
    right, down = torch.zeros_like(image[0]), torch.zeros_like(image[0])
    right[..., :-1], down[..., :-1, :] = image[0].diff(dim=-1), image[0].diff(dim=-2)
    return right, down


def hole_of(*boxes: Box) -> Tensor:
    return mask_of(64, 64, *boxes)[0, 0] > 0


def off(image: Tensor, other: Tensor, hole: Tensor) -> Tensor:
    return (image - other).abs()[0][:, hole]


def away(line: int, pixels: int, *, rows: bool) -> Tensor:
    """True where a 96 or 64 px image is at least so many pixels from a row or a column."""
    side = 96 if rows else 64
    far = (torch.arange(side) + 0.5 - line).abs() > pixels
    return far[:, None] if rows else far[None]


@pytest.mark.parametrize("box", BOXES)
def test_a_perfect_fill_stays_as_it_is(box: Box) -> None:
    image, hole = noise(64, 64), hole_of(box)
    before = image.clone()
    blended = blend_gradients(image, hole, *gradients(image))
    assert off(blended, image, hole).max() < 1e-5
    assert torch.equal(image, before)


@pytest.mark.parametrize("box", BOXES)
def test_known_pixels_stay_to_the_bit(box: Box) -> None:
    image, hole = noise(64, 64), hole_of(box)
    wished = torch.rand(2, 3, 64, 64) - 0.5
    blended = blend_gradients(image, hole, *wished)
    assert torch.equal(blended[0][:, ~hole], image[0][:, ~hole])
    assert blended.min() >= 0
    assert blended.max() <= 1
    assert off(blended, image, hole).max() > 0.01


def test_a_narrow_fill_that_is_off_by_a_shade_loses_its_seam() -> None:
    image, hole = 0.3 + 0.4 * waves(64, 64), hole_of((30, 36, 0, 64))
    shifted = image.clone()
    shifted[0][:, hole] += 0.2
    blended = blend_gradients(shifted, hole, *gradients(image))
    assert off(blended, image, hole).max() < 0.04


def test_in_texture_the_seam_of_a_large_fill_goes_and_its_shade_stays_deep_inside() -> None:
    image, hole = 0.2 + 0.6 * noise(64, 64), hole_of((8, 56, 8, 56))
    shifted = image.clone()
    shifted[0][:, hole] += 0.2
    blended = blend_gradients(shifted, hole, *gradients(image))
    assert off(blended, image, hole_of((8, 9, 20, 44))).mean() < 0.1
    # So what is wrong on one side of the hole does not come out on the other.
    assert off(blended, image, hole_of((31, 33, 31, 33))).mean() > 0.15
    steps = [each.abs().amax() for each in gradients(blended - image)]
    assert max(steps) < 0.1


@pytest.mark.parametrize("grain", [0.0, 0.015])
def test_a_shade_in_a_sky_goes_all_over_a_large_fill(grain: float) -> None:
    rows = torch.linspace(0.5, 0.7, 128)[None, None, :, None].expand(1, 3, 128, 128)
    sky = rows + grain * torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    hole = mask_of(128, 128, (24, 104, 24, 104))[0, 0] > 0
    shifted = sky.clone()
    shifted[0][:, hole] += 0.06
    blended = blend_gradients(shifted, hole, *gradients(sky))
    assert off(blended, sky, hole).mean() < (0.5 if grain else 0.25) * 0.06
    steps = [each.abs().amax() for each in gradients(blended - sky)]
    assert max(steps) < (0.008 if grain else 0.003)


def test_where_two_copies_meet_neither_takes_the_others_colour() -> None:
    image, hole = torch.full((1, 3, 96, 96), 0.7), mask_of(96, 96, (16, 80, 16, 80))[0, 0] > 0
    image[..., 48:, :] = 0.2
    # Each of the two is smooth: no patch has seen both.
    blended = blend_gradients(image, hole, *torch.zeros(2, 3, 96, 96))
    assert off(blended, image, hole & away(48, 5, rows=True)).max() < 0.02
    # And where they meet is an edge as those of the picture, two pixels to each side.
    assert 0.1 < float(blended[0, 0, 47, 48] - blended[0, 0, 48, 48]) < 0.3


def test_at_the_outline_another_thing_keeps_its_edge() -> None:
    """A known mast before a filled sky: no fog of its colour, and no cut."""
    image, hole = torch.full((1, 3, 64, 64), 0.7), hole_of((8, 56, 8, 40))
    image[..., 40:44] = 0.1
    blended = blend_gradients(image, hole, *torch.zeros(2, 3, 64, 64))
    assert off(blended, image, hole & away(40, 6, rows=False)).max() < 0.02
    assert float(blended[0, 0, 32, 39]) < 0.45


@pytest.mark.parametrize("grain", [0.0, 0.015])
@pytest.mark.parametrize("height", [0.2, 0.4])
def test_a_step_in_a_background_out_of_focus_is_as_soft_as_that(
    grain: float, height: float
) -> None:
    """Nothing around is steeper than 0.02 a pixel: where the fill begins is hardly steeper."""
    ramp = 0.7 - height + 0.02 * torch.arange(height / 0.02)
    flat = torch.full((96,), 0.7)
    flat[:38], flat[38 : 38 + len(ramp)] = 0.7 - height, ramp
    image = flat.expand(1, 3, 96, 96).clone()
    hole = mask_of(96, 96, (8, 88, 60, 90))[0, 0] > 0
    # What was copied is of the ramp's foot.
    image[0][:, hole] = 0.7 - height
    noise_ = grain * torch.randn(1, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    wished = gradients(noise_)
    blended = blend_gradients(image + noise_, hole, *wished) - noise_
    profile = blended[0, :, 30:66].mean((0, 1))
    assert float(image[0, 0, 48].diff().abs().max()) > 0.1
    assert float(profile[40:92].diff().abs().max()) < 0.04


def test_a_step_next_to_a_sharp_edge_is_sharp_and_far_from_one_soft() -> None:
    def steepest(edge_at: int | None) -> float:
        image, hole = torch.full((1, 3, 96, 160), 0.7), mask_of(96, 160, (8, 88, 8, 40))[0, 0] > 0
        image[0][:, hole] = 0.4
        if edge_at is not None:
            image[..., edge_at:] = 0.1
        blended = blend_gradients(image, hole, *torch.zeros(2, 3, 96, 160))
        return float(blended[0, 0, 48, 36:41].diff().abs().max())

    assert steepest(50) > 0.1
    assert steepest(None) < 0.05
    assert steepest(110) == steepest(None)


@pytest.mark.parametrize("inside", [False, True])
def test_a_step_is_as_steep_as_the_edge_around(inside: bool) -> None:
    """At the outline, where one side changes, and between two copies, where both do."""
    # Next to the hole, 0.08 a pixel.
    beyond = (0.08 * (torch.arange(120.0) - 54)).clamp(0, 0.6)
    hole = mask_of(96, 120, (8, 88, 26, 52))[0, 0] > 0
    image = (0.2 + beyond if inside else 0.7 - beyond).expand(1, 3, 96, 120).clone()
    image[..., :26] = 0.7
    image[..., 8:88, 26:52] = 0.2
    if inside:
        image[..., 26:39] = 0.7
    blended = blend_gradients(image, hole, *torch.zeros(2, 3, 96, 120))
    profile = blended[0, 0, 48, 20:46]
    assert 0.055 < float(profile.diff().abs().max()) < 0.105


def test_a_sharp_edge_that_is_wished_makes_steps_sharp_and_one_of_the_colours_does_not() -> None:
    def steepest(*, wish: bool, colours: bool) -> float:
        image, hole = torch.full((1, 3, 96, 96), 0.7), mask_of(96, 96, (8, 88, 8, 60))[0, 0] > 0
        image[0][:, hole] = 0.4
        right, down = torch.zeros(2, 3, 96, 96)
        if colours:
            image[..., 40:44, 20:24] = 0.9
        if wish:
            right[..., 8:88, 30] = 0.3
            image[..., 8:88, 31:60] += 0.3
            image[..., 8:88, 45:60] -= 0.3
            right[..., 8:88, 44] = -0.3
        blended = blend_gradients(image, hole, right, down)
        return float(blended[0, 0, 70, 56:61].diff().abs().max())

    assert steepest(wish=False, colours=False) < 0.05
    assert steepest(wish=True, colours=False) > 0.1
    assert steepest(wish=False, colours=True) < 0.06


def test_channels_step_together() -> None:
    """What is an edge in one channel is one in all: no fringes of colour."""
    image, hole = torch.full((1, 3, 64, 64), 0.7), hole_of((8, 56, 8, 40))
    image[..., 40:] = torch.tensor([0.1, 0.66, 0.68])[:, None, None]
    blended = blend_gradients(image, hole, *torch.zeros(2, 3, 64, 64))
    change = (blended - image)[0, :, 32, 20:40]
    torch.testing.assert_close(change[1] / 0.04, change[0] / 0.6, atol=0.02, rtol=0)


def test_a_wire_that_the_vote_blurred_comes_back() -> None:
    image, hole = torch.full((1, 3, 64, 64), 0.7), hole_of((16, 48, 16, 48))
    image[..., 31, :] = 0.1
    blurred = image.clone()
    blurred[..., 29:34, :] = F.avg_pool2d(image, (3, 1), 1, (1, 0))[..., 29:34, :]
    dull = torch.where(hole, blurred, image)
    blended = blend_gradients(dull, hole, *gradients(image))
    assert off(blended, image, hole).max() < 0.05


def test_gradients_win_over_colours_near_by() -> None:
    """Texture that was averaged away comes back."""
    image, hole = 0.2 + 0.6 * noise(64, 64), hole_of((16, 48, 16, 48))
    dull = image.clone()
    dull[0][:, hole] = image[0][:, hole].mean()
    blended = blend_gradients(dull, hole, *gradients(image))
    assert off(blended, image, hole).mean() < 0.3 * off(dull, image, hole).mean()


def test_what_is_wished_between_known_pixels_does_not_count() -> None:
    """Be it NaN, and in a smooth picture, where each edge that counted would be seen."""
    image, hole = torch.full((1, 3, 64, 64), 0.6), hole_of((20, 44, 20, 44), (2, 6, 50, 60))
    image[0][:, hole] = 0.3
    right, down = torch.zeros(2, 3, 64, 64)
    across, along = hole.clone(), hole.clone()
    across[:, :-1] |= hole[:, 1:]
    along[:-1] |= hole[1:]
    nothing = torch.full((3, 64, 64), torch.nan)
    changed = right.where(across, nothing), down.where(along, nothing)
    blended = blend_gradients(image, hole, right, down)
    assert torch.equal(blended, blend_gradients(image, hole, *changed))
    assert (blended - image).abs().max() > 0.01


def test_it_solves_what_it_says() -> None:
    """Against a dense solver, in a picture that is hole up to two of its edges."""
    generator = torch.Generator().manual_seed(0)
    image = 0.5 + 0.05 * torch.rand(1, 3, 9, 10, generator=generator)
    hole = torch.zeros(9, 10, dtype=torch.bool)
    hole[2:, 3:8], hole[4, 6] = True, False
    wishes = [
        (torch.rand(shape, generator=generator) - 0.5) * 0.1 for shape in ((3, 9, 9), (3, 8, 10))
    ]
    texture = _texture(*wishes, hole.float())
    wishes = [
        torch.where(_touching(hole, axis), wish, 0)
        for wish, axis in zip(wishes, (-1, -2), strict=True)
    ]
    steps = [
        torch.where(_touching(hole, axis), wish - image[0].diff(dim=axis), 0)
        for wish, axis in zip(wishes, (-1, -2), strict=True)
    ]
    sharpest = _sharpness(image[0], hole, (slice(0, 9), slice(0, 10)), *wishes)
    limit = _most_of_shade(texture, sharpest)
    shades = [_shade(step, limit, axis) for step, axis in zip(steps, (-1, -2), strict=True)]
    edges = [step - shade for step, shade in zip(steps, shades, strict=True)]
    seen = [
        edge.abs().amax(0) * torch.where(_crossing(hole, axis), 1.0, 0.5)
        for edge, axis in zip(edges, (-1, -2), strict=True)
    ]
    sharp = _edge_screening(_on_pixels(*seen), sharpest)
    change = _dense(shades, _screening(texture), hole) + _dense(edges, sharp, hole)
    solved = (image[0][:, hole].T + change).clamp(0, 1)
    blended = blend_gradients(image, hole, F.pad(wishes[0], (0, 1)), F.pad(wishes[1], (0, 0, 0, 1)))
    torch.testing.assert_close(blended[0][:, hole].T.double(), solved, atol=2e-3, rtol=0)
    assert (blended - image).abs().max() > 0.01


def _dense(wished: list[Tensor], screening: Tensor, hole: Tensor) -> Tensor:
    """The change of each hole pixel, by the normal equations written out; others do not change."""
    places = {tuple(place): number for number, place in enumerate(hole.nonzero().tolist())}
    matrix = torch.zeros(len(places), len(places), dtype=torch.float64)
    wanted = torch.zeros(len(places), 3, dtype=torch.float64)
    for (row, column), number in places.items():
        matrix[number, number] += screening[row, column].double()
        for below, beyond in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            other = row + below, column + beyond
            if not (0 <= other[0] < hole.shape[0] and 0 <= other[1] < hole.shape[1]):
                continue
            # The wish belongs to the upper or the left one of the two.
            first = min((row, column), other)
            wish = wished[0 if beyond else 1][:, first[0], first[1]].double()
            matrix[number, number] += 1
            wanted[number] += -wish if first == (row, column) else wish
            if other in places:
                matrix[number, places[other]] -= 1
    change: Tensor = torch.linalg.solve(matrix, wanted)
    return change


def test_a_picture_that_is_all_hole_keeps_to_its_colours() -> None:
    image = waves(32, 32)
    hole = torch.ones(32, 32, dtype=torch.bool)
    torch.testing.assert_close(blend_gradients(image, hole, *gradients(image)), image)


SPECKS: list[Box] = [(10, 14, 10, 15), (60, 66, 100, 104), (12, 15, 180, 186)]


def test_parts_that_lie_apart_are_solved_each_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    image = noise(80, 200)
    wished = (torch.rand(2, 3, 80, 200) - 0.5) / 4
    hole = mask_of(80, 200, *SPECKS)[0, 0] > 0
    sizes: list[int] = []

    def solve(wanted: Tensor, *args: object) -> Tensor:
        sizes.append(wanted[0].numel())
        return _conjugate_gradients(wanted, *args)

    monkeypatch.setattr("kintsugi.models.compose.gradient_blend._conjugate_gradients", solve)
    blended = blend_gradients(image, hole, *wished)
    # A pixel around each: on cells and on pixels, for shades and for edges.
    assert sum(sizes) < 4 * 2 * (6 * 7 + 8 * 6 + 5 * 8)
    for speck in SPECKS:
        alone = mask_of(80, 200, speck)[0, 0] > 0
        # The others' pixels are known ones here.
        one = blend_gradients(image, alone, *wished)
        torch.testing.assert_close(blended[0][:, alone], one[0][:, alone], atol=0.01, rtol=0)
    assert off(blended, image, hole).mean() > 0.01


def test_a_thousand_specks_are_solved_in_few_parts() -> None:
    hole = torch.zeros(400, 600, dtype=torch.bool)
    hole[5::20, 5::20] = True
    parts = _parts(hole)
    assert 1 <= len(parts) <= 64
    covered = torch.zeros_like(hole, dtype=torch.int)
    for box, inside in parts:
        covered[box] += inside
    assert torch.equal(covered, hole.int())

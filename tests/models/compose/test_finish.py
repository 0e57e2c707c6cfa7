"""What becomes of a fill's image after Feature2Image: whose shades it has, and its detail."""

import dataclasses

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from models.build import ModelConfig, build_inpainter
from models.compose.finish import FinishConfig, finish, guide_of
from models.inpainter import Inpainter
from models.matching import MatchingConfig
from models.networks.cells import features_of, pixels_of, with_pixels
from models.networks.vgg import Vgg19Relu3
from models.plan.fill_plan import FillOptions
from tests.models.match.test_patch_swap import mask_of
from tests.models.plan.test_fill_plan import photo

PIXELS = ModelConfig("tiny", translator_input="features+pixels")


def guide(shades: Tensor, depth: float = 0.0) -> Tensor:
    """Those shades, everything as deep."""
    return torch.cat([shades, torch.full_like(shades[:, :1], depth)], 1)


def test_nothing_asked_for_is_nothing_done() -> None:
    image = torch.rand(1, 3, 32, 48)
    assert finish(FinishConfig(), image, torch.rand(1, 4, 16, 24)) is image


def test_shades_come_from_before_and_texture_from_the_image() -> None:
    generator = torch.Generator().manual_seed(0)
    texture = 0.02 * torch.randn(1, 3, 64, 64, generator=generator)
    texture = texture - F.interpolate(F.avg_pool2d(texture, 4), scale_factor=4)
    image = 0.3 + texture
    shades = torch.full((1, 3, 32, 32), 0.5)
    for share in (0.25, 1.0):
        finished = finish(FinishConfig(shade=share), image, guide(shades))
        torch.testing.assert_close(finished, image + 0.2 * share)
    # One cell's shade stays with it, to neighbouring cells.
    shades = F.avg_pool2d(image, 2)
    shades[..., 16:18, 16:18] += 0.2
    moved = (finish(FinishConfig(shade=1.0), image, guide(shades)) - image).abs().amax(1)[0] > 1e-6
    rows, columns = moved.nonzero().unbind(1)
    assert (rows.min(), rows.max()) == (30, 37)
    assert (columns.min(), columns.max()) == (30, 37)


def test_fine_shades_are_what_differs_within_a_cell() -> None:
    generator = torch.Generator().manual_seed(0)
    image = 0.3 + 0.02 * torch.randn(1, 3, 64, 64, generator=generator)
    drawn = F.avg_pool2d(image, 2)
    # One pair of pixels darker, the other lighter: the cell's mean is as it was.
    shades = drawn.clone()
    shades[..., 16, 16:18] += 0.1
    shades[..., 17, 16:18] -= 0.1
    assert torch.equal(finish(FinishConfig(shade=1.0), image, guide(shades)), image)
    part, whole = (finish(FinishConfig(fine_shade=x), image, guide(shades)) for x in (0.25, 1.0))
    torch.testing.assert_close(part - image, (whole - image) / 4, rtol=1e-4, atol=1e-6)
    assert ((whole - image)[..., 32:34, 33:35] > 0.02).all()
    assert ((whole - image)[..., 34:36, 33:35] < -0.02).all()
    # With both all that is coarser than two pixels goes over, and what is finer stays.
    flat = finish(
        FinishConfig(shade=1.0, fine_shade=1.0), image, guide(torch.full_like(shades, 0.5))
    )
    finer = image - F.interpolate(drawn, scale_factor=2, mode="bilinear")
    torch.testing.assert_close(flat, 0.5 + finer)


def test_seams_between_cells_are_levelled_and_nothing_else() -> None:
    # A slope, with a small step between the cells of columns 7 and 8 and a large one at 31.
    slope = torch.linspace(0.2, 0.5, 64).expand(1, 3, 64, 64)
    columns, rows = torch.arange(64), torch.arange(64)[:, None]
    stepped = slope + 0.01 * (columns >= 32) + 0.4 * (columns >= 52) + 0.01 * (rows >= 20)
    shades = torch.zeros(1, 3, 32, 32)
    finished = finish(FinishConfig(deblock=0.03), stepped, guide(shades))
    moved = (finished - stepped).abs() > 1e-4
    assert moved[..., :8, :].any(dim=(0, 1, 2)).nonzero().flatten().tolist() == [30, 31, 32, 33]
    assert moved[..., :16].any(dim=(0, 1, 3)).nonzero().flatten().tolist() == [18, 19, 20, 21]
    step = float(slope[0, 0, 0, 32] - slope[0, 0, 0, 31])
    left = float(finished[0, 0, 0, 32] - finished[0, 0, 0, 31]) - step
    assert 0.004 < left < 0.007
    # Off the cells' edges it is the picture's own.
    inside = slope + 0.01 * (columns >= 30)
    torch.testing.assert_close(finish(FinishConfig(deblock=0.03), inside, guide(shades)), inside)


def test_detail_is_raised_and_flat_parts_stay() -> None:
    image = torch.full((1, 3, 64, 64), 0.5)
    image[..., 32:] += 0.05 * (-1) ** torch.arange(32)
    finished = finish(FinishConfig(detail=1.0), image, guide(torch.zeros(1, 3, 32, 32)))
    torch.testing.assert_close(finished[..., :28], image[..., :28])
    grown = (finished[..., 40:60] - 0.5).abs() / 0.05
    assert 1.5 < grown.min() <= grown.max() < 2
    wild = finish(
        FinishConfig(detail=4.0), (20 * image - 9.5).clamp(0, 1), guide(image[..., ::2, ::2])
    )
    assert (float(wild.min()), float(wild.max())) == (0, 1)


def test_deep_in_a_hole_detail_is_raised_more() -> None:
    image = 0.5 + 0.02 * (-1) ** torch.arange(64).expand(1, 3, 64, 64)
    shades = torch.zeros(1, 3, 32, 32)
    config = FinishConfig(detail=0.5, deep_detail=1.0)
    for depth, alike in ((0.0, 0.5), (0.5, 1.0), (1.0, 1.5)):
        finished = finish(config, image, guide(shades, depth))
        expected = finish(FinishConfig(detail=alike), image, guide(shades))
        torch.testing.assert_close(finished, expected)


def test_depth_is_counted_from_the_nearest_known_cell() -> None:
    image, features = torch.rand(1, 3, 160, 200), torch.rand(1, 256, 40, 50)
    mask = mask_of(160, 200, (40, 160, 40, 200))
    guided = guide_of(with_pixels(features, image), mask)
    assert guided is not None
    torch.testing.assert_close(guided[:, :3], F.avg_pool2d(image, 2))
    cells = guided[0, 3, ::2, ::2] * 12
    rows, columns = torch.arange(40)[:, None] - 9, torch.arange(50) - 9
    # The hole ends at the picture's frame, which is no edge of it.
    expected = torch.minimum(rows, columns).clamp(0, 12)
    torch.testing.assert_close(cells, expected.float())
    assert guide_of(features, mask) is None


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("shade", -0.1),
        ("shade", 1.1),
        ("fine_shade", 1.5),
        ("deblock", 2.0),
        ("detail", -1.0),
        ("detail", 4.1),
        ("deep_detail", -0.5),
        ("deep_detail", 4.5),
    ],
)
def test_what_makes_no_sense_is_refused(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"{name}={value}: choose 0 to "):
        FinishConfig(**{name: value})


def test_a_network_without_pixels_has_nothing_to_finish_by(inpainter: Inpainter) -> None:
    for name in ("shade", "fine_shade", "deblock", "detail", "deep_detail"):
        finishing = FinishConfig(**{name: 0.5})
        with pytest.raises(ValueError, match="takes pixels, which this Feature2Image is not given"):
            Inpainter(inpainter.image2feature, inpainter.feature2image, finishing=finishing)
    image, mask = photo(64, 64), mask_of(64, 64, (20, 44, 20, 44))
    assert inpainter.match(inpainter.infer(image, mask), mask).guide is None


def test_shades_are_those_of_a_predicted_first_fill(encoder: Vgg19Relu3) -> None:
    """Which is trained for colours alone; keys and features are G1's."""
    model = dataclasses.replace(PIXELS, generator_input="predicted")
    inpainter = build_inpainter(model, encoder, seed=1)
    generator = inpainter.image2feature.generator
    assert generator.first_fill is not None
    torch.nn.init.constant_(generator.first_fill.end.bias, 0.1)
    torch.nn.init.normal_(generator.up[-1].get_parameter("conv.weight"), 0, 0.1)
    image, mask = photo(96, 96), mask_of(96, 96, (32, 64, 32, 64))
    with torch.inference_mode():
        encoded = inpainter.infer(image, mask)
        coarse = inpainter.image2feature.fill(image, mask)
        begun = generator.begin(image, mask)
    assert not torch.equal(begun, coarse)
    assert torch.equal(features_of(encoded.features), inpainter.image2feature.encoder(coarse))
    assert torch.equal(pixels_of(encoded.features), begun)


def test_with_all_the_shade_a_fill_has_the_mean_colours_of_the_coarse_one(
    encoder: Vgg19Relu3,
) -> None:
    image, mask = photo(96, 96), mask_of(96, 96, (32, 64, 32, 64))
    plain = build_inpainter(PIXELS, encoder, seed=1, matching=MatchingConfig(guard=1))
    parts = plain.image2feature, plain.feature2image
    kept = Inpainter(*parts, plain.matching, finishing=FinishConfig(shade=1.0))
    with torch.inference_mode():
        coarse = plain.image2feature.fill(image, mask)
        matched = plain.match(plain.infer(image, mask), mask)
    assert matched.guide is not None
    torch.testing.assert_close(matched.guide[:, :3], F.avg_pool2d(coarse, 2))
    options = FillOptions(align_colour=False)
    cells = (..., slice(9, 15), slice(9, 15))

    def apart(inpainter: Inpainter) -> float:
        filled = inpainter.inpaint(image, mask, options)
        return float((F.avg_pool2d(filled, 4) - F.avg_pool2d(coarse, 4))[cells].abs().mean())

    assert apart(kept) < 0.3 * apart(plain)

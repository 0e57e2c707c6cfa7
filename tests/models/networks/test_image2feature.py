"""G1's layers against the paper's table, and what Image2Feature keeps of its input."""

import math
from typing import get_args

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.build import ModelConfig, build_generator
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.image2feature import (
    CoarseGenerator,
    GeneratorInput,
    Image2Feature,
    paste_known,
)
from kintsugi.models.networks.layers import ConvBlock, ResidualBlock, UpBlock, Upsampling
from kintsugi.models.networks.smooth_fill import smooth_fill
from kintsugi.models.networks.vgg import Vgg19Relu3


def shapes_of(blocks: list[nn.Module], run: nn.Module, *inputs: Tensor) -> list[tuple[int, ...]]:
    """Output shapes of some blocks, without the batch, during one run."""
    shapes: list[tuple[int, ...]] = []
    hooks = [
        block.register_forward_hook(lambda _m, _i, out: shapes.append(tuple(out.shape[1:])))
        for block in blocks
    ]
    run(*inputs)
    for hook in hooks:
        hook.remove()
    return shapes


@pytest.fixture(scope="module")
def paper() -> CoarseGenerator:
    with torch.device("meta"):
        return CoarseGenerator((64, 128, 256)).eval()


def test_layer_table_at_256_px(paper: CoarseGenerator) -> None:
    image, mask = torch.zeros(1, 3, 256, 256, device="meta"), torch.zeros(1, 1, 256, 256).to("meta")
    blocks = [*paper.down, *paper.blocks, *paper.up]
    assert shapes_of(blocks, paper, image, mask) == [
        (64, 128, 128),
        (128, 64, 64),
        (256, 32, 32),
        *[(256, 32, 32)] * 9,
        (128, 64, 64),
        (64, 128, 128),
        (3, 256, 256),
    ]
    kinds = [type(block) for block in blocks]
    assert kinds == [ConvBlock] * 3 + [ResidualBlock] * 9 + [UpBlock] * 3


def test_kernels_dilation_and_norms(paper: CoarseGenerator) -> None:
    convolutions = [m for m in paper.modules() if isinstance(m, nn.Conv2d | nn.ConvTranspose2d)]
    assert [conv.kernel_size[0] for conv in convolutions] == [4] * 3 + [3] * 18 + [4] * 3
    assert [conv.dilation[0] for conv in convolutions[3:21]] == [2, 1] * 9
    assert all(isinstance(conv, nn.ConvTranspose2d) for conv in convolutions[21:])
    # Batch norm after every convolution but the last, which ends in tanh.
    assert sum(isinstance(m, nn.BatchNorm2d) for m in paper.modules()) == 23
    assert [type(layer) for layer in paper.up[-1].after] == [nn.Tanh]


def test_number_of_parameters(paper: CoarseGenerator) -> None:
    down = 16 * (3 * 64 + 64 * 128 + 128 * 256) + 2 * (64 + 128 + 256)
    middle = 9 * (2 * 9 * 256 * 256 + 2 * 2 * 256)
    up = 16 * (256 * 128 + 128 * 64 + 64 * 3) + 3 + 2 * (128 + 64)
    assert sum(p.numel() for p in paper.parameters()) == down + middle + up == 11_944_195


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
@pytest.mark.parametrize("side", [32, 40, 56, 64, 104])
def test_every_multiple_of_8_works(upsampling: Upsampling, side: int) -> None:
    network = build_generator(ModelConfig("tiny", generator_upsampling=upsampling), seed=0).eval()
    image, mask = torch.zeros(1, 3, side, 72), torch.zeros(1, 1, side, 72)
    filled = network(image, mask)
    assert filled.shape == image.shape
    assert filled.min() >= 0
    assert filled.max() <= 1


@pytest.mark.parametrize(("height", "width"), [(60, 64), (64, 65), (24, 64)])
def test_refuses_other_sides(paper: CoarseGenerator, height: int, width: int) -> None:
    with pytest.raises(ValueError, match=f"{width}x{height}.*multiples of 8 and at least 32"):
        paper(torch.zeros(1, 3, height, width), torch.zeros(1, 1, height, width))


def test_what_is_in_the_hole_is_not_seen(inpainter: Inpainter, generator: torch.Generator) -> None:
    image = torch.rand(2, 3, 64, 64, generator=generator)
    mask = torch.zeros(2, 1, 64, 64)
    mask[0, :, 10:30, 20:50] = 1
    mask[1, :, :40] = 1
    first = inpainter.image2feature(image, mask)
    second = inpainter.image2feature(image * (1 - mask) + 0.7 * mask, mask)
    assert torch.equal(first.coarse, second.coarse)
    assert torch.equal(first.features, second.features)
    known = (mask == 0).expand_as(image)
    assert torch.equal(first.coarse[known], image[known])
    assert first.features.shape == (2, 256, 16, 16)
    assert torch.equal(first.features, inpainter.image2feature.encode(first.coarse))


@pytest.mark.parametrize("input", get_args(GeneratorInput))
@pytest.mark.parametrize("value", [torch.nan, torch.inf])
def test_a_hole_may_hold_nan(input: GeneratorInput, value: float) -> None:
    network = build_generator(ModelConfig("tiny", generator_input=input), seed=0).eval()
    image, mask = torch.rand(1, 3, 32, 40), torch.zeros(1, 1, 32, 40)
    mask[..., 8:20, 10:30] = 1
    assert torch.equal(network(image.where(mask == 0, value), mask), network(image, mask))


def test_the_papers_input_is_the_image_with_a_grey_hole() -> None:
    network = build_generator(ModelConfig("tiny"), seed=0).eval()
    image, mask = torch.rand(1, 3, 32, 40), torch.zeros(1, 1, 32, 40)
    mask[..., 8:20, 10:30] = 1
    seen: list[Tensor] = []
    network.down.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    predicted = network(image, mask)
    grey = image.clone()
    grey[mask.expand_as(image) > 0] = 0.5
    assert torch.equal(seen[0], grey * 2 - 1)
    answer = network.up(network.blocks(network.down(grey * 2 - 1)))
    assert torch.equal(predicted, (answer + 1) / 2)


def smooth_generator(last: float = 0.0) -> CoarseGenerator:
    """An untrained one that adds the tanh of ``last`` to the smooth fill, everywhere."""
    network = build_generator(ModelConfig("tiny", generator_input="smooth"), seed=0).eval()
    nn.init.constant_(network.up[-1].get_parameter("conv.bias"), last)
    return network


def a_batch_with_holes() -> tuple[Tensor, Tensor]:
    image, mask = torch.rand(2, 3, 40, 32), torch.zeros(2, 1, 40, 32)
    mask[0, :, 8:20, 10:30], mask[1, :, :, 20:] = 1, 1
    return image, mask


def test_from_a_smooth_fill_it_sees_that_and_the_mask_and_begins_as_that() -> None:
    image, mask = a_batch_with_holes()
    smooth = smooth_fill(image, mask)
    network = smooth_generator()
    seen: list[Tensor] = []
    network.down.register_forward_pre_hook(lambda _, inputs: seen.append(inputs[0]))
    assert torch.equal(network(image, mask), smooth)
    assert torch.equal(seen[0], torch.cat([smooth * 2 - 1, mask], 1))


@pytest.mark.parametrize("last", [0.1, -0.4, 2.0])
def test_what_is_added_to_a_smooth_fill_gives_colours_and_keeps_its_gradient(last: float) -> None:
    image, mask = a_batch_with_holes()
    network = smooth_generator(last)
    filled = network(image, mask)
    whole = smooth_fill(image, mask) + math.tanh(last)
    torch.testing.assert_close(filled, whole.clamp(0, 1))
    assert 0 <= filled.min() <= filled.max() <= 1
    # What lies outside 0-1 is brought back as if nothing had been clamped.
    assert (whole < 0).any() or (whole > 1).any()
    bias = network.up[-1].get_parameter("conv.bias")
    (gradient,) = torch.autograd.grad(filled.sum(), bias)
    slope = filled[:, 0].numel() * (1 - math.tanh(last) ** 2)
    torch.testing.assert_close(gradient, torch.full((3,), slope), rtol=1e-4, atol=0)


def test_the_coarse_fill_depends_on_the_known_part(
    inpainter: Inpainter, generator: torch.Generator
) -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 24:40, 24:40] = 1
    images = [torch.rand(1, 3, 64, 64, generator=generator) for _ in range(2)]
    coarse = [inpainter.image2feature(image, mask).coarse * mask for image in images]
    assert not torch.equal(*coarse)


def test_gradients_reach_the_generator_and_not_the_encoder(inpainter: Inpainter) -> None:
    network = inpainter.image2feature
    mask = torch.zeros(1, 1, 32, 32)
    mask[..., 8:24, 8:24] = 1
    features = network(torch.rand(1, 3, 32, 32), mask).features
    gradients = torch.autograd.grad(features.sum(), list(network.generator.parameters()))
    assert all(gradient.abs().sum() > 0 for gradient in gradients)
    assert not any(parameter.requires_grad for parameter in network.encoder.parameters())


def test_paste_known_is_exact() -> None:
    image, filled = torch.rand(1, 3, 9, 9), torch.rand(1, 3, 9, 9)
    mask = (torch.rand(1, 1, 9, 9) < 0.5).float()
    pasted = paste_known(filled, image, mask)
    hole = (mask > 0).expand_as(image)
    assert torch.equal(pasted[hole], filled[hole])
    assert torch.equal(pasted[~hole], image[~hole])


def test_paste_known_blends_and_what_is_not_taken_does_not_matter() -> None:
    image, filled = torch.rand(1, 3, 9, 9) - 0.5, torch.rand(1, 3, 9, 9)
    alpha = (torch.rand(1, 1, 9, 9) * 1.5 - 0.25).clamp(0, 1)
    assert ((alpha == 0).any(), (alpha == 1).any()) == (True, True)
    expected = image * (1 - alpha) + filled * alpha
    assert torch.equal(paste_known(filled, image, alpha), expected)
    spoilt = paste_known(
        filled.where(alpha > 0, torch.inf), image.where(alpha < 1, torch.nan), alpha
    )
    assert torch.equal(spoilt, expected)


@pytest.mark.parametrize("input", ["grey", "smooth", "predicted"])
def test_colours_are_those_of_the_network_that_learnt_them(input: GeneratorInput) -> None:
    generator = build_generator(ModelConfig("tiny", generator_input=input), seed=0).eval()
    torch.nn.init.normal_(generator.up[-1].get_parameter("conv.weight"), 0, 0.1)
    network = Image2Feature(generator, Vgg19Relu3.random(0))
    image, mask = torch.rand(1, 3, 64, 64), torch.zeros(1, 1, 64, 64)
    mask[..., 16:40, 16:40] = 1
    with torch.no_grad():
        coarse, taken = network.fills(image, mask)
        initial = generator.compute_initial_fill(image, mask)
        assert torch.equal(coarse, network.fill(image, mask))
        assert torch.equal(coarse, paste_known(generator(image, mask), image, mask))
    assert torch.equal(taken, initial if input == "predicted" else coarse)
    assert not torch.equal(initial, coarse)


def test_drawn_at_half_the_size_it_is_enlarged() -> None:
    half = build_generator(ModelConfig("tiny", generator_output="half"), seed=0).eval()
    image, mask = torch.rand(1, 3, 64, 96), torch.zeros(1, 1, 64, 96)
    mask[..., 16:40, 16:40] = 1
    with torch.no_grad():
        drawn = half(image, mask)
        seen = torch.where(mask == 1, 0.0, image * 2 - 1)
        small = half.up(half.blocks(half.down(seen)))
    assert small.shape == (1, 3, 32, 48)
    enlarged = F.interpolate(small, (64, 96), mode="bilinear", align_corners=False)
    assert torch.equal(drawn, (enlarged + 1) / 2)

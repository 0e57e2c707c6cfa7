"""G2's layers against the paper's table, and the sizes it takes."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from kintsugi.models.build import ModelConfig, build_translator
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.cells import append_pixels, pixels_of
from kintsugi.models.networks.feature2image import Feature2Image, TranslatorWidths, add_pixel_inputs
from kintsugi.models.networks.layers import Upsampling
from tests.models.networks.test_image2feature import shapes_of


@pytest.fixture(scope="module")
def paper() -> Feature2Image:
    with torch.device("meta"):
        return Feature2Image(TranslatorWidths(first=256, inner=512, last=128)).eval()


def has_norm(block: nn.Module) -> bool:
    return any(isinstance(layer, nn.BatchNorm2d) for layer in block.modules())


def test_layer_table_at_256_px(paper: Feature2Image) -> None:
    features = torch.zeros(1, 256, 64, 64, device="meta")
    assert shapes_of([*paper.down], paper, features) == [
        (256, 64, 64),
        (512, 32, 32),
        (512, 16, 16),
        (512, 8, 8),
        (512, 4, 4),
        (512, 2, 2),
        (512, 1, 1),
    ]
    assert shapes_of([*paper.up, paper.head], paper, features) == [
        (512, 2, 2),
        (512, 4, 4),
        (512, 8, 8),
        (512, 16, 16),
        (512, 32, 32),
        (256, 64, 64),
        (128, 128, 128),
        (3, 256, 256),
    ]


def test_seven_blocks_down_and_eight_up_the_first_six_with_skips(paper: Feature2Image) -> None:
    up = [*paper.up, paper.head]
    assert (len(paper.down), len(up)) == (7, 8)
    # What a block takes beyond the output of the one before it comes by a skip.
    outputs = [512, 512, 512, 512, 512, 256, 128]
    taken = [block.conv.in_channels for block in up[1:]]
    assert [t - o for t, o in zip(taken, outputs, strict=True)] == [512] * 5 + [256, 0]


def test_no_norm_on_few_cells_nor_at_the_end(paper: Feature2Image) -> None:
    assert [has_norm(block) for block in paper.down] == [True] * 4 + [False] * 3
    assert [has_norm(block) for block in paper.up] == [False] * 2 + [True] * 5
    assert not has_norm(paper.head)


def test_number_of_parameters(paper: Feature2Image) -> None:
    down = 9 * (256 * 256 + 256 * 512 + 5 * 512 * 512) + 2 * (256 + 3 * 512) + 3 * 512
    up = 9 * (512 * 512 + 4 * 1024 * 512 + 1024 * 256 + 512 * 128 + 128 * 3)
    # Two blocks and the head have a bias, the other five a scale and a shift.
    after = 2 * 512 + 3 + 2 * (3 * 512 + 256 + 128)
    assert sum(p.numel() for p in paper.parameters()) == down + up + after


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
@pytest.mark.parametrize("shape", [(2, 2), (6, 4), (10, 18), (16, 62), (34, 8)])
def test_every_multiple_of_8_pixels_works(upsampling: Upsampling, shape: tuple[int, int]) -> None:
    config = ModelConfig("tiny", translator_upsampling=upsampling)
    network = build_translator(config, seed=0).eval()
    image = network(torch.rand(1, 256, *shape))
    assert image.shape == (1, 3, 4 * shape[0], 4 * shape[1])
    assert image.min() >= 0
    assert image.max() <= 1


def test_one_crop_of_128_px_trains() -> None:
    # One value a channel has no batch statistics: a norm there would raise.
    network = build_translator(ModelConfig("tiny"), seed=0).train()
    image = network(torch.rand(1, 256, 32, 32))
    gradients = torch.autograd.grad(image.sum(), list(network.parameters()))
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_every_level_reaches_the_image(inpainter: Inpainter) -> None:
    network = inpainter.feature2image
    features = torch.rand(1, 256, 32, 32)
    plain = network(features)
    for block in network.down:
        hook = block.register_forward_hook(lambda _m, _i, out: torch.zeros_like(out))
        assert not torch.equal(network(features), plain)
        hook.remove()


def test_the_image_does_not_depend_on_the_layout_in_memory(inpainter: Inpainter) -> None:
    # Through the serving graph features arrive in another layout than in one process.
    network = inpainter.feature2image
    features = torch.rand(1, 256, 64, 64)
    other = features.contiguous(memory_format=torch.channels_last)
    assert torch.equal(network(features), network(other))


def test_gradients_in_bfloat16_are_the_same_every_time() -> None:
    """A map one column wide once got as gradient whatever lay in memory."""
    network = build_translator(ModelConfig("tiny"), seed=0)
    features = torch.rand(1, 256, 32, 32, generator=torch.Generator().manual_seed(0))
    seen = []
    for _ in range(4):
        # Freed at once: what is not written over is NaN.
        torch.full((2**20,), torch.nan, dtype=torch.bfloat16)
        network.zero_grad()
        with torch.autocast("cpu", torch.bfloat16):
            image = network(features)
        image.square().mean().backward()
        seen.append([parameter.grad.clone() for parameter in network.parameters()])
    for again in seen[1:]:
        assert all(torch.equal(one, other) for one, other in zip(again, seen[0], strict=True))


@pytest.mark.parametrize("upsampling", ["resize", "transposed"])
def test_trained_without_pixels_it_draws_the_same_and_keeps_half_of_them(
    upsampling: Upsampling,
) -> None:
    config = ModelConfig("tiny", translator_upsampling=upsampling)
    plain = build_translator(config, seed=0).eval()
    both = build_translator(replace(config, translator_input="features+pixels"), seed=1).eval()
    both.load_state_dict(add_pixel_inputs(plain.state_dict()))
    features, image = torch.rand(1, 256, 16, 24), torch.rand(1, 3, 64, 96)
    cells = append_pixels(features, image)
    torch.testing.assert_close(both(cells), (plain(features) + pixels_of(cells)) / 2)


def test_pixels_are_taken_by_share_and_looked_at() -> None:
    config = ModelConfig("tiny", translator_input="features+pixels")
    network = build_translator(config, seed=0).eval()
    features, image = torch.rand(1, 256, 16, 16), torch.rand(1, 3, 64, 64)
    bias = network.head.conv.get_parameter("bias")
    with torch.no_grad():
        bias[3] = -100
        assert torch.equal(network(append_pixels(features, image)), image)
        bias[3] = 100
        drawn = network(append_pixels(features, image))
        assert not torch.equal(network(append_pixels(features, 1 - image)), drawn)

"""The context encoder's layers against its publication, and what it keeps of its input."""

import pytest
import torch
from torch import nn

from kintsugi.models.build import ModelConfig, build_context_encoder, build_image_discriminator
from kintsugi.models.networks.context_encoder import CONTEXT_SIDE, ContextEncoder
from kintsugi.models.networks.layers import Upsampling

TINY = ModelConfig("tiny")


def test_layers_at_paper_size() -> None:
    with torch.device("meta"):
        network = ContextEncoder(64, 4000)
    sides: list[tuple[int, ...]] = []
    blocks = [*network.down, network.bottleneck[0], network.bottleneck[2], *network.up]
    for block in blocks:
        block.register_forward_hook(lambda _m, _i, out: sides.append(tuple(out.shape[1:3])))
    network(torch.zeros(2, 3, 128, 128, device="meta"), torch.zeros(2, 1, 128, 128).to("meta"))
    assert sides == [
        *[(64, 64), (64, 32), (128, 16), (256, 8), (512, 4)],
        *[(4000, 1), (512, 4)],
        *[(256, 8), (128, 16), (64, 32), (64, 64), (3, 128)],
    ]
    # Its publication has 71 million.
    assert 70e6 < sum(each.numel() for each in network.parameters()) < 72e6
    assert not any(isinstance(each, nn.BatchNorm2d) for each in network.down[0].modules())


@pytest.mark.parametrize("upsampling", ["transposed", "resize"])
@pytest.mark.parametrize(("height", "width"), [(128, 128), (64, 200), (256, 136)])
def test_it_fills_pictures_of_any_size(height: int, width: int, upsampling: Upsampling) -> None:
    network = build_context_encoder(ModelConfig("tiny", upsampling), seed=0).eval()
    generator = torch.Generator().manual_seed(0)
    image = torch.rand(1, 3, height, width, generator=generator)
    mask = torch.zeros(1, 1, height, width)
    mask[..., 20:40, 24:56] = 1
    holed = torch.where(mask == 1, torch.nan, image)
    with torch.no_grad():
        filled = network.fill(image, mask)
        # What is in the hole is not looked at.
        assert torch.equal(network.fill(holed, mask), filled)
        whole = network(image, mask)
    assert torch.equal(filled * (1 - mask), image * (1 - mask))
    assert torch.equal(filled * mask, whole * mask)
    assert (whole.min() >= 0, whole.max() <= 1) == (True, True)


def test_every_pixel_depends_on_all_known_ones() -> None:
    network = build_context_encoder(TINY, seed=0).eval()
    image = torch.rand(1, 3, CONTEXT_SIDE, CONTEXT_SIDE, requires_grad=True)
    mask = torch.zeros(1, 1, CONTEXT_SIDE, CONTEXT_SIDE)
    network(image, mask)[0, :, 64, 64].sum().backward()
    assert image.grad is not None
    seen = image.grad[0].abs().sum(0) > 0
    assert seen[0, 0]
    assert seen[-1, -1]


def test_the_discriminator_judges_a_whole_picture_at_once() -> None:
    network = build_image_discriminator(TINY, seed=0).eval()
    assert network(torch.rand(2, 3, 128, 128)).shape == (2, 1, 1, 1)
    assert network(torch.rand(1, 3, 256, 256)).shape == (1, 1, 5, 5)

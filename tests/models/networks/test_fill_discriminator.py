"""The discriminator of the initial fill: its grids, its fields and what it looks at."""

from pathlib import Path

import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kintsugi.models.build import ModelConfig, build_fill_discriminator
from kintsugi.models.networks.fill_discriminator import (
    LOCAL_STRIDE,
    WIDE_STRIDE,
    DiscriminatorOutput,
)
from kintsugi.models.networks.vgg import Vgg19Relu3

TINY = ModelConfig("tiny")


def judge(network: nn.Module, encoder: Vgg19Relu3, image: torch.Tensor) -> DiscriminatorOutput:
    share = torch.zeros(len(image), 1, *image.shape[-2:])
    share[..., 8:24, 8:24] = 1
    judged: DiscriminatorOutput = network(image, share, encoder.pyramid(image))
    return judged


def test_it_gives_a_fine_and_a_wide_grid_for_any_size(encoder: Vgg19Relu3) -> None:
    network = build_fill_discriminator(TINY, seed=0)
    for height, width in ((64, 64), (32, 72)):
        local, wide = judge(network, encoder, torch.rand(2, 3, height, width)).logits
        assert local.shape == (2, 1, height // LOCAL_STRIDE, width // LOCAL_STRIDE)
        assert wide.shape == (2, 1, height // WIDE_STRIDE, width // WIDE_STRIDE)


def test_image_mask_and_maps_count(encoder: Vgg19Relu3) -> None:
    network = build_fill_discriminator(TINY, seed=0).eval()
    image, share = torch.rand(1, 3, 32, 32), torch.rand(1, 1, 32, 32)
    maps = encoder.pyramid(image)
    local = network(image, share, maps).logits[0]
    others = [
        network(image.flip(-1), share, maps),
        network(image, 1 - share, maps),
        network(image, share, encoder.pyramid(image.flip(-1))),
    ]
    assert not any(torch.equal(local, other.logits[0]) for other in others)


def test_a_fill_gets_a_gradient_by_both_ways(encoder: Vgg19Relu3) -> None:
    network = build_fill_discriminator(TINY, seed=0)
    image = torch.rand(1, 3, 32, 32, requires_grad=True)
    local, wide = judge(network, encoder, image).logits
    for logits in (local, wide):
        (gradient,) = torch.autograd.grad(logits.sum(), image, retain_graph=True)
        assert gradient.isfinite().all()
        assert gradient.abs().sum() > 0


def test_a_spectral_norm_bounds_every_convolution() -> None:
    network = build_fill_discriminator(TINY, seed=0).eval()
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            largest = torch.linalg.matrix_norm(layer.weight.detach().flatten(1), 2)
            assert 0.9 < largest < 1.1


def test_its_state_goes_through_a_file(encoder: Vgg19Relu3, tmp_path: Path) -> None:
    network, other = (build_fill_discriminator(TINY, seed=seed) for seed in range(2))
    image = torch.rand(2, 3, 32, 32)
    judge(network, encoder, image)
    save_file(network.state_dict(), tmp_path / "d.safetensors")
    other.load_state_dict(load_file(tmp_path / "d.safetensors"))
    for _ in range(2):
        one, two = judge(network, encoder, image), judge(other, encoder, image)
        assert all(torch.equal(*pair) for pair in zip(one.logits, two.logits, strict=True))


def test_the_pyramid_is_what_the_encoder_computes(encoder: Vgg19Relu3) -> None:
    image = torch.rand(1, 3, 32, 24)
    first, second, third = encoder.pyramid(image)
    assert torch.equal(third, encoder(image))
    assert first.shape == (1, 64, 32, 24)
    assert second.shape == (1, 128, 16, 12)
    assert all((each >= 0).all() for each in (first, second, third))

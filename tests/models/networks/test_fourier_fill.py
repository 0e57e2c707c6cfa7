"""The Fourier network stands in the U-Net's place, and sees the whole image."""

import pytest
import torch
from torch import Tensor

from kintsugi.models.build import ModelConfig, build_generator, build_initial_fill
from kintsugi.models.networks.fourier_fill import FourierFillPredictor
from kintsugi.models.networks.initial_fill import FillNetwork, FillPredictor, shrunk
from kintsugi.models.networks.smooth_fill import smooth_fill

FFC = ModelConfig("tiny", generator_input="predicted", initial_fill="ffc")


def a_network() -> FillNetwork:
    """As after some training: its last convolution is not zero."""
    network = build_initial_fill(FFC, seed=0).eval()
    generator = torch.Generator().manual_seed(1)
    torch.nn.init.normal_(network.end.weight, 0, 0.02, generator=generator)
    return network


def a_batch(height: int, width: int) -> tuple[Tensor, Tensor]:
    image, mask = torch.rand(2, 3, height, width), torch.zeros(2, 1, height, width)
    mask[0, :, 10:26, 9:30], mask[1, :, :, 20:] = 1, 1
    return image, mask


def test_the_configuration_chooses() -> None:
    assert isinstance(build_initial_fill(ModelConfig("tiny"), seed=0), FillPredictor)
    assert isinstance(build_initial_fill(FFC, seed=0), FourierFillPredictor)


@pytest.mark.parametrize(("height", "width"), [(72, 104), (32, 32), (40, 136)])
def test_untrained_it_is_the_smooth_fill_at_any_size(height: int, width: int) -> None:
    image, mask = a_batch(height, width)
    network = build_initial_fill(FFC, seed=0).eval()
    assert torch.equal(network(image, mask), shrunk(image, mask))
    assert torch.equal(network.fill(image, mask), smooth_fill(image, mask))


@pytest.mark.parametrize(("height", "width"), [(72, 104), (32, 32), (40, 136)])
def test_it_fills_any_size_the_same_each_time(height: int, width: int) -> None:
    image, mask = a_batch(height, width)
    network = a_network()
    once = network(image, mask)
    assert once.shape == (2, 3, height // 4, width // 4)
    assert not torch.equal(once, shrunk(image, mask))
    assert torch.equal(once, network(image, mask))
    other = image.where(mask == 0, torch.nan)
    assert torch.equal(once, network(other, mask))
    # An image's fill does not depend on its batch.
    torch.testing.assert_close(network(image[:1], mask[:1]), once[:1])


def test_one_layer_sees_from_corner_to_corner() -> None:
    """A sixth of the image's side is further than its local convolutions reach."""
    image, mask = a_batch(256, 256)
    image.requires_grad_()
    far = a_network()(image, mask)[0, :, :4, :4].sum()
    (gradient,) = torch.autograd.grad(far, image)
    assert gradient[0, :, -8:, -8:].abs().sum() > 0


def test_every_weight_learns() -> None:
    image, mask = a_batch(64, 64)
    network = a_network().train()
    network(image, mask).square().mean().backward()  # type: ignore[no-untyped-call]
    for name, parameter in network.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.abs().sum() > 0, name


def test_g1_begins_with_it() -> None:
    image, mask = a_batch(64, 64)
    generator = build_generator(FFC, seed=0).eval()
    assert isinstance(generator.initial_fill, FourierFillPredictor)
    torch.nn.init.constant_(generator.initial_fill.end.bias, 0.1)
    assert torch.equal(generator(image, mask), generator.initial_fill.fill(image, mask))

"""Networks in channels_last, as training on a GPU has them, and their losses in bfloat16."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from kintsugi.models.build import (
    ModelConfig,
    build_feature_discriminator,
    build_generator,
    build_pair_discriminator,
    build_translator,
)
from kintsugi.models.losses import (
    AdversarialLoss,
    discriminator_adversarial,
    generator_adversarial,
    hole_weights,
    squared_distance,
    weighted_l1,
)
from kintsugi.models.match.patch_swap import patch_swap
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.precision import autocast

PAPER = ModelConfig("tiny")
OTHER = ModelConfig(
    "tiny", "resize", "transposed", discriminator_norm="spectral", generator_input="smooth"
)


def drawn(seed: int, *shape: int) -> Tensor:
    return torch.rand(shape, generator=torch.Generator().manual_seed(seed))


IMAGE, FEATURES = drawn(0, 2, 3, 64, 64), drawn(1, 2, 256, 16, 16)
MASK = torch.zeros(2, 1, 64, 64)
MASK[0, :, 10:40, 30:50], MASK[1, :, 32:, :40] = 1, 1


def vgg(_config: ModelConfig, *, seed: int) -> Vgg19Relu3:
    return Vgg19Relu3.random(seed)


CALLS: dict[str, tuple[Callable[..., nn.Module], list[Tensor]]] = {
    "G1": (build_generator, [IMAGE, MASK]),
    "G2": (build_translator, [FEATURES]),
    "D1": (build_pair_discriminator, [IMAGE, IMAGE.flip(0)]),
    "D2": (build_feature_discriminator, [FEATURES, IMAGE]),
    "encoder": (vgg, [IMAGE]),
}

TRAINED = ["G1", "G2", "D1", "D2"]


@pytest.mark.parametrize(
    ("name", "config"), [*((name, PAPER) for name in CALLS), *((name, OTHER) for name in TRAINED)]
)
def test_channels_last_gives_the_same_answer_and_gradients(name: str, config: ModelConfig) -> None:
    build, inputs = CALLS[name]
    results = []
    for layout in (torch.contiguous_format, torch.channels_last):
        network = build(config, seed=0).to(memory_format=layout).double()
        given = [tensor.double().contiguous(memory_format=layout) for tensor in inputs]
        given[-1] = given[-1].detach().requires_grad_()
        answer = network(*given)
        trained = [parameter for parameter in network.parameters() if parameter.requires_grad]
        # G1 looks at its mask, which asks for no gradient, last.
        taken = trained if name == "G1" else [*trained, given[-1]]
        weights = drawn(2, *answer.shape).to(answer)
        results.append([answer, *torch.autograd.grad((answer * weights).sum(), taken)])
    for tensor, expected in zip(*results, strict=True):
        torch.testing.assert_close(tensor, expected, rtol=1e-4, atol=1e-6)


def assert_trains(network: nn.Module, loss: Tensor) -> None:
    """A backward pass gives every weight a finite gradient, and one at least a change."""
    assert loss.dtype == torch.float32
    assert loss.isfinite()
    parameters = list(network.parameters())
    gradients = torch.autograd.grad(loss, parameters)
    assert all(gradient.isfinite().all() for gradient in gradients)
    assert any(gradient.any() for gradient in gradients)


@pytest.mark.slow
@pytest.mark.parametrize(("config", "kind"), [(PAPER, "log"), (PAPER, "lsgan"), (OTHER, "hinge")])
def test_stage_1_trains_in_bfloat16(
    encoder: Vgg19Relu3, config: ModelConfig, kind: AdversarialLoss
) -> None:
    generator = build_generator(config, seed=0)
    discriminator = build_pair_discriminator(config, seed=1)
    condition = IMAGE * (1 - MASK)
    with autocast("cpu", "bfloat16"):
        filled = paste_known(generator(IMAGE, MASK), IMAGE, MASK)
        features, target = encoder(filled), encoder(IMAGE)
        perceptual = weighted_l1(features, target, hole_weights(MASK, *features.shape[-2:]))
        fake = discriminator(condition, filled)
        loss = 10 * perceptual.float() + generator_adversarial(fake, kind)
        assert_trains(generator, loss)
        real, fake = discriminator(condition, IMAGE), discriminator(condition, filled.detach())
        assert_trains(discriminator, discriminator_adversarial(real, fake, kind))


@pytest.mark.slow
@pytest.mark.parametrize("config", [PAPER, OTHER])
def test_stage_2_trains_in_bfloat16(encoder: Vgg19Relu3, config: ModelConfig) -> None:
    generator = build_translator(config, seed=0)
    discriminator = build_feature_discriminator(config, seed=1)
    with autocast("cpu", "bfloat16"):
        target = encoder(IMAGE)
        swapped = patch_swap(target, MASK)
        drawn_image = generator(swapped)
        fake = discriminator(swapped, drawn_image)
        loss = 10 * squared_distance(encoder(drawn_image), target) + generator_adversarial(fake)
        assert_trains(generator, loss.float())
        real = discriminator(swapped, IMAGE)
        fake = discriminator(swapped, drawn_image.detach())
        assert_trains(discriminator, discriminator_adversarial(real, fake))

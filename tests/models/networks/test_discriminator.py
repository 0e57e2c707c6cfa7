"""The two PatchGANs: their field of 70 px, their shapes and their norms."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn

from kintsugi.models.build import ModelConfig, build_feature_discriminator, build_pair_discriminator
from kintsugi.models.networks.discriminator import PairDiscriminator
from kintsugi.models.networks.layers import INIT_STD

TINY = ModelConfig("tiny")
SPECTRAL = ModelConfig("tiny", discriminator_norm="spectral")


def field(logits: torch.Tensor, of: torch.Tensor) -> list[int]:
    """Height and width of the input that the middle logit looks at."""
    middle = logits[0, 0, logits.shape[2] // 2, logits.shape[3] // 2]
    (gradient,) = torch.autograd.grad(middle, of, retain_graph=True)
    seen = gradient[0].abs().sum(0).nonzero()
    extent: list[int] = (seen.max(0).values - seen.min(0).values + 1).tolist()
    return extent


def test_pair_discriminator_judges_patches_of_70_px() -> None:
    network = build_pair_discriminator(TINY, seed=0).eval()
    pair = [torch.rand(1, 3, 160, 160, requires_grad=True) for _ in range(2)]
    logits = network(*pair)
    assert [field(logits, image) for image in pair] == [[70, 70], [70, 70]]


def test_feature_discriminator_judges_patches_of_70_px() -> None:
    network = build_feature_discriminator(TINY, seed=0).eval()
    features = torch.rand(1, 256, 40, 40, requires_grad=True)
    image = torch.rand(1, 3, 160, 160, requires_grad=True)
    logits = network(features, image)
    assert field(logits, image) == [70, 70]
    # The cells next to the same patch.
    assert field(logits, features) == [16, 16]


def test_both_give_30_by_30_logits_at_256_px() -> None:
    image = torch.rand(2, 3, 256, 256)
    pair = build_pair_discriminator(TINY, seed=0)
    assert pair(image, image).shape == (2, 1, 30, 30)
    feature = build_feature_discriminator(TINY, seed=0)
    assert feature(torch.rand(2, 256, 64, 64), image).shape == (2, 1, 30, 30)


def test_layers_of_the_70_px_patchgan_at_paper_size() -> None:
    with torch.device("meta"):
        network = PairDiscriminator(64)
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64, 128, 256, 512, 1]
    assert [c.stride[0] for c in convolutions] == [2, 2, 2, 1, 1]
    assert {c.kernel_size for c in convolutions} == {(4, 4)}
    assert convolutions[0].in_channels == 6
    normed = [any(isinstance(m, nn.BatchNorm2d) for m in block) for block in network.body]
    assert normed == [False, True, True, True, False]


Build = Callable[..., nn.Module]
BOTH: list[tuple[Build, tuple[int, ...]]] = [
    (build_pair_discriminator, (2, 3, 64, 64)),
    (build_feature_discriminator, (2, 256, 16, 16)),
]


def convolutions_of(network: nn.Module) -> list[nn.Conv2d]:
    return [layer for layer in network.modules() if isinstance(layer, nn.Conv2d)]


def largest_singular_value(weight: torch.Tensor) -> float:
    return float(torch.linalg.matrix_norm(weight.detach().flatten(1), 2))


@pytest.mark.parametrize(("build", "_shape"), BOTH)
def test_a_spectral_norm_bounds_every_convolution_from_the_first_step_on(
    build: Build, _shape: tuple[int, ...]
) -> None:
    network = build(SPECTRAL, seed=0).eval()
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in network.modules())
    for layer in convolutions_of(network):
        assert largest_singular_value(layer.weight) == pytest.approx(1, abs=0.05)
        # The weights under it are drawn as all others are.
        original = layer.get_parameter("parametrizations.weight.original")
        assert original.std().item() == pytest.approx(INIT_STD, rel=0.1)


@pytest.mark.parametrize(("build", "shape"), BOTH)
def test_training_refines_the_spectral_norm_and_evaluation_leaves_it(
    build: Build, shape: tuple[int, ...]
) -> None:
    network = build(SPECTRAL, seed=0)
    condition, image = torch.rand(shape), torch.rand(2, 3, 64, 64)

    def state() -> dict[str, torch.Tensor]:
        return {name: tensor.clone() for name, tensor in network.state_dict().items()}

    before = state()
    network.eval()(condition, image)
    assert all(torch.equal(tensor, before[name]) for name, tensor in state().items())
    # As in a step: the truth and the fill are judged before one backward pass.
    network.train()
    (network(condition, image).mean() - network(condition, image * 0.5).mean()).backward()
    changed = {name for name, tensor in state().items() if not torch.equal(tensor, before[name])}
    # The last convolution has one channel: its two vectors are exact at once.
    last = [name for name in before if name.endswith("_u")][-1].removesuffix("_u")
    vectors = {name for name in before if name.endswith(("_u", "_v"))}
    assert changed == {name for name in vectors if not name.startswith(last)}
    for parameter in network.parameters():
        assert parameter.grad is not None
        assert parameter.grad.isfinite().all()


@pytest.mark.parametrize(("build", "shape"), BOTH)
@pytest.mark.parametrize("config", [TINY, SPECTRAL], ids=["batch", "spectral"])
def test_a_state_goes_through_a_file(
    build: Build, shape: tuple[int, ...], config: ModelConfig, tmp_path: Path
) -> None:
    network, other = build(config, seed=0), build(config, seed=1)
    condition, image = torch.rand(shape), torch.rand(2, 3, 64, 64)
    network(condition, image)
    save_file(network.state_dict(), tmp_path / "discriminator.safetensors")
    other.load_state_dict(load_file(tmp_path / "discriminator.safetensors"))
    for _ in range(2):
        assert torch.equal(network(condition, image), other(condition, image))


def test_the_condition_counts() -> None:
    network = build_pair_discriminator(TINY, seed=0).eval()
    image, condition, other = (torch.rand(1, 3, 64, 64) for _ in range(3))
    assert not torch.equal(network(condition, image), network(other, image))
    assert not torch.equal(network(condition, image), network(image, condition))

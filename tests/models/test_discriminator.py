"""The two PatchGANs: their field of 70 px, their shapes and their norms."""

import torch
from torch import nn

from models.build import ModelConfig, build_feature_discriminator, build_pair_discriminator
from models.discriminator import PairDiscriminator

TINY = ModelConfig("tiny")


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
    # The cells beside the same patch.
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


def test_the_condition_counts() -> None:
    network = build_pair_discriminator(TINY, seed=0).eval()
    image, condition, other = (torch.rand(1, 3, 64, 64) for _ in range(3))
    assert not torch.equal(network(condition, image), network(other, image))
    assert not torch.equal(network(condition, image), network(image, condition))


def test_seeds_decide_the_weights() -> None:
    image = torch.rand(1, 3, 64, 64)
    first, same, other = (
        build_pair_discriminator(TINY, seed=seed).eval()(image, image) for seed in (3, 3, 4)
    )
    assert torch.equal(first, same)
    assert not torch.equal(first, other)

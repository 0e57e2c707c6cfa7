"""Sizes and seeds of the networks that a configuration asks for."""

from collections.abc import Callable

import jaxtyping
import pytest
import torch
from torch import nn

from kintsugi.models.build import (
    SIZES,
    ModelConfig,
    build_context_encoder,
    build_feature_discriminator,
    build_generator,
    build_image_discriminator,
    build_inpainter,
    build_pair_discriminator,
    build_translator,
)
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.image2feature import CoarseGenerator
from kintsugi.models.networks.layers import UpBlock
from kintsugi.models.networks.vgg import Vgg19Relu3

TINY = ModelConfig("tiny")
SPECTRAL = ModelConfig("tiny", discriminator_norm="spectral")
SMOOTH = ModelConfig("tiny", generator_input="smooth")
BUILDS: list[tuple[Callable[..., nn.Module], ModelConfig]] = [
    (build_generator, TINY),
    (build_generator, SMOOTH),
    (build_translator, TINY),
    (build_pair_discriminator, TINY),
    (build_pair_discriminator, SPECTRAL),
    (build_feature_discriminator, TINY),
    (build_feature_discriminator, SPECTRAL),
    (build_context_encoder, TINY),
    (build_image_discriminator, TINY),
    (build_image_discriminator, SPECTRAL),
]


def weights_equal(one: nn.Module, other: nn.Module) -> bool:
    states = one.state_dict(), other.state_dict()
    return all(torch.equal(tensor, states[1][name]) for name, tensor in states[0].items())


def test_the_paper_size_is_the_papers() -> None:
    widths = SIZES["paper"]
    assert widths.generator == (64, 128, 256)
    assert (widths.translator.first, widths.translator.inner) == (256, 512)
    assert widths.discriminator == 64


def test_sizes_differ_in_their_widths_only() -> None:
    with torch.device("meta"):
        networks = [CoarseGenerator(widths.generator) for widths in SIZES.values()]
    names = [list(network.state_dict()) for network in networks]
    assert names[0] == names[1] == names[2]
    counts = [sum(p.numel() for p in network.parameters()) for network in networks]
    assert counts == sorted(counts)


def test_refuses_an_unknown_size() -> None:
    with pytest.raises(ValueError, match="size='huge': choose one of tiny, small, paper"):
        ModelConfig("huge")


@pytest.mark.parametrize(("build", "config"), BUILDS)
def test_a_seed_decides_every_weight_and_nothing_else_is_drawn(
    build: Callable[..., nn.Module], config: ModelConfig
) -> None:
    torch.manual_seed(1)
    before = torch.get_rng_state()
    first = build(config, seed=7)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(2)
    assert weights_equal(first, build(config, seed=7))
    assert not weights_equal(first, build(config, seed=8))


def test_refuses_other_choices_of_a_field(monkeypatch: pytest.MonkeyPatch) -> None:
    # Types are checked in tests only; a release's JSON may hold anything.
    monkeypatch.setattr(jaxtyping.config, "jaxtyping_disable", True)
    for field, choices in (
        ("discriminator_norm", "batch, spectral"),
        ("generator_input", "grey, smooth, predicted"),
        ("translator_upsampling", "resize, transposed"),
    ):
        with pytest.raises(ValueError, match=f"{field}='none': choose one of {choices}"):
            ModelConfig(**{field: "none"})


def test_upsampling_is_chosen_for_each_network() -> None:
    def resizes(network: nn.Module) -> set[bool]:
        return {block.resizes for block in network.modules() if isinstance(block, UpBlock)}

    # The defaults are the paper's: transposed in G1, resized in G2.
    assert resizes(build_generator(TINY, seed=0)) == {False}
    assert resizes(build_translator(TINY, seed=0)) == {True}
    swapped = ModelConfig("tiny", "resize", "transposed")
    assert resizes(build_generator(swapped, seed=0)) == {True}
    assert resizes(build_translator(swapped, seed=0)) == {False}


def test_an_inpainter_holds_the_given_encoder(encoder: Vgg19Relu3) -> None:
    inpainter = build_inpainter(TINY, encoder, seed=3, matching=MatchingConfig(guard=2))
    assert inpainter.image2feature.encoder is encoder
    assert inpainter.matching.guard == 2
    assert not inpainter.training
    assert weights_equal(inpainter.image2feature.generator, build_generator(TINY, seed=3))
    assert weights_equal(inpainter.feature2image, build_translator(TINY, seed=4))

"""Sizes of the networks, and the one place that builds them from a configuration."""

from dataclasses import dataclass

import torch

from models.discriminator import FeatureDiscriminator, PairDiscriminator
from models.feature2image import Feature2Image, TranslatorWidths
from models.image2feature import CoarseGenerator, Image2Feature
from models.inpainter import Inpainter
from models.layers import Upsampling, initialise
from models.matching import MatchingConfig
from models.vgg import Vgg19Relu3


@dataclass(frozen=True)
class Widths:
    """Channels of every network at one size."""

    generator: tuple[int, int, int]
    translator: TranslatorWidths
    discriminator: int


# `paper` is the publication as far as it is known; `small` is what a release carries;
# `tiny` is for tests and demonstrations. Only the widths differ: the layers are the same.
SIZES: dict[str, Widths] = {
    "tiny": Widths((16, 32, 64), TranslatorWidths(first=64, inner=96, last=32), 16),
    "small": Widths((48, 96, 192), TranslatorWidths(first=128, inner=256, last=64), 48),
    "paper": Widths((64, 128, 256), TranslatorWidths(first=256, inner=512, last=128), 64),
}


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a release.

    Attributes:
        size: One of ``SIZES``.
        generator_upsampling: "transposed" (the paper) or "resize", in G1.
        translator_upsampling: "resize" (the paper's better one) or "transposed", in G2.
    """

    size: str = "small"
    generator_upsampling: Upsampling = "transposed"
    translator_upsampling: Upsampling = "resize"

    def __post_init__(self) -> None:
        if self.size not in SIZES:
            raise ValueError(f"size={self.size!r}: choose one of {', '.join(SIZES)}")

    @property
    def widths(self) -> Widths:
        return SIZES[self.size]


def build_generator(config: ModelConfig, *, seed: int) -> CoarseGenerator:
    """G1 with seeded initial weights."""
    network = CoarseGenerator(config.widths.generator, upsampling=config.generator_upsampling)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def build_translator(config: ModelConfig, *, seed: int) -> Feature2Image:
    """G2 with seeded initial weights."""
    network = Feature2Image(config.widths.translator, upsampling=config.translator_upsampling)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def build_pair_discriminator(config: ModelConfig, *, seed: int) -> PairDiscriminator:
    """D1 with seeded initial weights."""
    network = PairDiscriminator(config.widths.discriminator)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def build_feature_discriminator(config: ModelConfig, *, seed: int) -> FeatureDiscriminator:
    """D2 with seeded initial weights."""
    network = FeatureDiscriminator(config.widths.discriminator)
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def build_inpainter(
    config: ModelConfig,
    encoder: Vgg19Relu3,
    *,
    seed: int = 0,
    matching: MatchingConfig = MatchingConfig(),
) -> Inpainter:
    """The whole method with seeded initial weights around a given encoder."""
    return Inpainter(
        Image2Feature(build_generator(config, seed=seed), encoder),
        build_translator(config, seed=seed + 1),
        matching,
    )

"""Sizes of the networks, and the one place that builds them from a configuration."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeVar, get_args

import torch
from torch import nn

from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.context_encoder import ContextEncoder, ImageDiscriminator
from kintsugi.models.networks.discriminator import (
    DiscriminatorNorm,
    FeatureDiscriminator,
    PairDiscriminator,
)
from kintsugi.models.networks.feature2image import Feature2Image, TranslatorInput, TranslatorWidths
from kintsugi.models.networks.fill_discriminator import FillDiscriminator
from kintsugi.models.networks.fourier_fill import FourierFillPredictor
from kintsugi.models.networks.image2feature import (
    CoarseGenerator,
    GeneratorInput,
    GeneratorOutput,
    Image2Feature,
)
from kintsugi.models.networks.initial_fill import FillNetwork, FillPredictor
from kintsugi.models.networks.layers import DilatedConvolutions, Upsampling, initialise
from kintsugi.models.networks.pointer_fill import PointerFillPredictor
from kintsugi.models.networks.vgg import Vgg19Relu3

# Which network predicts the initial fill, of `kintsugi.models.networks`: `initial_fill`,
# `fourier_fill` or `pointer_fill`.
InitialFillKind = Literal["unet", "ffc", "pointer"]


@dataclass(frozen=True)
class Widths:
    """Channels of every network at one size."""

    generator: tuple[int, int, int]
    translator: TranslatorWidths
    discriminator: int
    # Channels of the context encoder: at its first level, and in its bottleneck.
    context: tuple[int, int]
    # Channels of the initial fill's predictor, at its three levels.
    initial_fill: tuple[int, int, int]


# `paper` is the publication as far as it is known; `small` is what a release carries;
# `tiny` is for tests and demonstrations. Only the widths differ: the layers are the same.
SIZES: dict[str, Widths] = {
    "tiny": Widths(
        (16, 32, 64), TranslatorWidths(64, inner=96, last=32), 16, (16, 256), (16, 32, 48)
    ),
    "small": Widths(
        (48, 96, 192), TranslatorWidths(128, inner=256, last=64), 48, (48, 1000), (48, 96, 144)
    ),
    "paper": Widths(
        (64, 128, 256), TranslatorWidths(256, inner=512, last=128), 64, (64, 4000), (64, 128, 256)
    ),
}

_CHOICES: dict[str, tuple[str, ...]] = {
    "size": tuple(SIZES),
    "generator_upsampling": get_args(Upsampling),
    "translator_upsampling": get_args(Upsampling),
    "discriminator_norm": get_args(DiscriminatorNorm),
    "generator_input": get_args(GeneratorInput),
    "generator_output": get_args(GeneratorOutput),
    "generator_dilated": get_args(DilatedConvolutions),
    "translator_input": get_args(TranslatorInput),
    "initial_fill": get_args(InitialFillKind),
}

Network = TypeVar("Network", bound=nn.Module)


@dataclass(frozen=True)
class ModelConfig:
    """Architecture of a release."""

    size: str = "small"
    """Widths of the networks: "tiny" (tests), "small" (releases) or "paper"."""
    generator_upsampling: Upsampling = "transposed"
    """In G1: "transposed" convolutions (the paper), or "resize" and convolve: no checkerboard."""
    translator_upsampling: Upsampling = "resize"
    """In G2: "resize" and convolve (the paper's better one), or "transposed"."""
    generator_output: GeneratorOutput = "whole"
    """The size that G1 draws at: the "whole" crop (the paper, as its layers have it), or "half" of
    its side, enlarged (the paper, as its 128x128 can be read)."""
    generator_dilated: DilatedConvolutions = "first"
    """Which convolutions of G1's residual blocks are dilated: the "first" of each (as the paper's
    successor has it) or "both"."""
    discriminator_norm: DiscriminatorNorm = "batch"
    """In D1 and D2: "batch" norm (the paper), or "spectral" norm of the weights."""
    generator_input: GeneratorInput = "grey"
    """What G1 sees in the hole: mid-"grey" (the paper), and it draws all of the hole; a "smooth"
    fill and the mask, and it draws what the fill lacks; or a "predicted" fill likewise, of a
    network that init_from names."""
    translator_input: TranslatorInput = "features"
    """What G2 sees: the matched "features" (the paper), or "features+pixels": the pixels that were
    copied with them too; it then also decides how much of them stays."""
    initial_fill: InitialFillKind = "unet"
    """The network of the initial fill: "unet" draws colours; "ffc" does with fast Fourier
    convolutions, at 1.8 times the cost; "pointer" copies known cells."""

    def __post_init__(self) -> None:
        for name, choices in _CHOICES.items():
            value = getattr(self, name)
            if value not in choices:
                raise ValueError(f"{name}={value!r}: choose one of {', '.join(choices)}")

    @property
    def widths(self) -> Widths:
        """Channels of each network at this size."""
        return SIZES[self.size]


def build_generator(config: ModelConfig, *, seed: int) -> CoarseGenerator:
    """G1 with seeded initial weights. With a fill as input it begins as that fill."""
    predicts = config.generator_input == "predicted"
    initial_fill = build_initial_fill(config, seed=seed) if predicts else None
    network = _seeded(
        lambda: CoarseGenerator(
            config.widths.generator,
            upsampling=config.generator_upsampling,
            input=config.generator_input,
            output=config.generator_output,
            dilated=config.generator_dilated,
        ),
        seed,
    )
    if config.generator_input != "grey":
        nn.init.zeros_(network.up[-1].get_parameter("conv.weight"))
    network.initial_fill = initial_fill.requires_grad_(False) if initial_fill else None
    return network


def build_initial_fill(config: ModelConfig, *, seed: int) -> FillNetwork:
    """The predictor of G1's initial fill, seeded; untrained it is a smooth fill."""
    widths = config.widths.initial_fill

    def build() -> FillNetwork:
        if config.initial_fill == "ffc":
            return FourierFillPredictor(widths[0])
        if config.initial_fill == "pointer":
            return PointerFillPredictor(widths)
        return FillPredictor(widths)

    network = _seeded(build, seed)
    generator = torch.Generator().manual_seed(seed)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_uniform_(layer.weight, nonlinearity="linear", generator=generator)
    # Queries and keys of nothing would learn nothing.
    if config.initial_fill != "pointer":
        nn.init.zeros_(network.end.weight)
    return network


def build_translator(config: ModelConfig, *, seed: int) -> Feature2Image:
    """G2 with seeded initial weights."""
    return _seeded(
        lambda: Feature2Image(
            config.widths.translator,
            upsampling=config.translator_upsampling,
            input=config.translator_input,
        ),
        seed,
    )


def build_pair_discriminator(config: ModelConfig, *, seed: int) -> PairDiscriminator:
    """D1 with seeded initial weights."""
    width, norm = config.widths.discriminator, config.discriminator_norm
    return _seeded(lambda: PairDiscriminator(width, norm=norm), seed)


def build_feature_discriminator(config: ModelConfig, *, seed: int) -> FeatureDiscriminator:
    """D2 with seeded initial weights."""
    width, norm = config.widths.discriminator, config.discriminator_norm
    return _seeded(lambda: FeatureDiscriminator(width, norm=norm), seed)


def build_fill_discriminator(config: ModelConfig, *, seed: int) -> FillDiscriminator:
    """The initial fill's discriminator with seeded initial weights; its norm is spectral.

    Half as wide as D1: it sees a sixteenth of the pixels, with an encoder's maps.
    """
    return _seeded(lambda: FillDiscriminator(config.widths.discriminator // 2), seed)


def build_context_encoder(config: ModelConfig, *, seed: int) -> ContextEncoder:
    """The ancestor with seeded initial weights; of the architecture size and up-sampling count."""
    width, bottleneck = config.widths.context
    upsampling = config.generator_upsampling
    return _seeded(lambda: ContextEncoder(width, bottleneck, upsampling=upsampling), seed)


def build_image_discriminator(config: ModelConfig, *, seed: int) -> ImageDiscriminator:
    """The ancestor's discriminator with seeded initial weights."""
    width, norm = config.widths.discriminator, config.discriminator_norm
    return _seeded(lambda: ImageDiscriminator(width, norm=norm), seed)


def _seeded(build: Callable[[], Network], seed: int) -> Network:
    # PyTorch's layers draw weights when they are made, which are not kept, from the global
    # generator: others who draw from that one shall not notice.
    with torch.random.fork_rng(devices=[]):
        network = build()
    initialise(network, torch.Generator().manual_seed(seed))
    return network


def build_inpainter(
    config: ModelConfig,
    encoder: Vgg19Relu3,
    *,
    seed: int = 0,
    matching: MatchingConfig = MatchingConfig(),
) -> Inpainter:
    """The whole method with drawn weights.

    Args:
        config: Architecture of G1 and Feature2Image.
        encoder: VGG19 to relu3_1, with its weights.
        seed: Decides G1's weights; the next number decides Feature2Image's.
        matching: How features are compared.
    """
    return Inpainter(
        Image2Feature(build_generator(config, seed=seed), encoder),
        build_translator(config, seed=seed + 1),
        matching,
    )

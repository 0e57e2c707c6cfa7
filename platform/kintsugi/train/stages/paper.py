"""What each training stage computes: its networks, its losses, its pictures; knows no loop.

A stage owns raw networks; the loop hands them back wrapped (DDP) where gradients are
taken. Knows no Ray and no storage.
"""

from dataclasses import dataclass, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import TranslateSection
from kintsugi.data.batches import Batch
from kintsugi.models.build import (
    build_feature_discriminator,
    build_generator,
    build_pair_discriminator,
    build_translator,
)
from kintsugi.models.losses import (
    discriminator_adversarial,
    generator_adversarial,
    hole_weights,
    squared_distance,
    weighted_l1,
)
from kintsugi.models.matching import Encoded, MatchingConfig, keys_image, match
from kintsugi.models.networks.cells import append_pixels, features_of
from kintsugi.models.networks.image2feature import CoarseGenerator, Image2Feature, paste_known
from kintsugi.models.networks.pointer_fill import Pointers
from kintsugi.models.networks.vgg import Vgg19Relu3


@dataclass(frozen=True)
class Output:
    """One forward pass of a generator.

    Attributes:
        condition: What the discriminator sees with the image: the incomplete image
            (B 3 H W) or the swapped features (B 256 h w).
        image: The generator's image, B 3 H W, 0-1, with gradient.
        target: The true image, B 3 H W.
        target_features: Of the true image, B 256 h w, without gradient; None where no loss
            compares features.
        mask: B 1 H W, 1 = hole.
        coarse: The coarse fill, B 3 H W, where it is trained along; of the context encoder the
            whole frame; else None.
        maps: Of the initial fill, where a loss compares them: the encoder's maps of the small
            filled image; else empty.
        target_maps: The same of the small true image, without gradient.
        pointers: Of an initial fill that points at known cells; else empty.
    """

    condition: Tensor
    image: Tensor
    target: Tensor
    target_features: Tensor | None
    mask: Tensor
    coarse: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    target_maps: tuple[Tensor, ...] = ()
    pointers: tuple[Pointers, ...] = ()

    def detached(self) -> Self:
        """The same for the discriminator's step: the generator's graph is not kept."""
        return replace(
            self,
            image=self.image.detach(),
            coarse=None if self.coarse is None else self.coarse.detach(),
            maps=tuple(each.detach() for each in self.maps),
            pointers=(),
        )


class Stage(Protocol):
    """What is trained: one of the paper's two stages, both at once, or another method's network.

    May run under autocast: what it returns is float32.
    """

    generator: nn.Module
    discriminator: nn.Module
    # Of the losses on held-out photographs the one that says which checkpoint is the best.
    criterion: str

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        """Run the generator on a batch; ``step``, from 0, is where schedules stand."""
        ...

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """Weighted losses of the generator by name; their sum is minimised."""
        ...

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """Losses of the discriminator by name, on the detached output."""
        ...

    def to(self, device: torch.device) -> None:
        """Move every network, the frozen ones too."""
        ...


class AdversarialStage:
    """What both stages share: two networks against one another and a frozen encoder."""

    criterion = "perceptual"

    def __init__(
        self,
        config: JobConfig,
        encoder: Vgg19Relu3,
        generator: nn.Module,
        discriminator: nn.Module,
    ) -> None:
        self.weights = config.losses
        self.copies_pixels = config.model.translator_input == "features+pixels"
        self.encoder = encoder
        self.generator = generator
        self.discriminator = discriminator

    def to(self, device: torch.device) -> None:
        for network in (self.encoder, self.generator, self.discriminator):
            network.to(device)

    def encode(self, image: Tensor) -> Tensor:
        """relu3_1 in float32, whatever it is computed in."""
        features: Tensor = self.encoder(image).float()
        return features

    def describe(self, image: Tensor, colours: Tensor | None = None) -> Tensor:
        """What the match copies of an image and whose pixels: `kintsugi.models.networks.cells`."""
        features = self.encode(image)
        behind = image if colours is None else colours
        return append_pixels(features, behind) if self.copies_pixels else features

    def perceptual(self, output: Output) -> Tensor:
        """Distance of the whole image's features (paper section 3.4)."""
        assert output.target_features is not None
        return squared_distance(self.encode(output.image), output.target_features)

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        weights = self.weights
        losses = {"perceptual": weights.perceptual * self.perceptual(output)}
        if weights.pixels:
            losses["pixels"] = weights.pixels * self.pixel_distance(output)
        if weights.adversarial:
            _, fake = _judge(discriminator, output, output.image)
            losses["adversarial"] = weights.adversarial * generator_adversarial(fake, weights.kind)
        return losses

    def pixel_distance(self, output: Output) -> Tensor:
        """Mean absolute difference over the whole image."""
        return F.l1_loss(output.image, output.target)

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        if not self.weights.adversarial:
            return {}
        real, fake = _judge(discriminator, output, output.image.detach())
        return {"discriminator": discriminator_adversarial(real, fake, self.weights.kind)}

    def coarse_perceptual(self, coarse: Tensor, output: Output) -> Tensor:
        """Distance of a coarse fill's features under M_F (paper section 3.2)."""
        assert output.target_features is not None
        features = self.encode(coarse)
        weights = hole_weights(
            output.mask,
            *features.shape[-2:],
            overlap_cells=self.weights.overlap_cells,
            overlap_weight=self.weights.overlap,
        )
        return weighted_l1(features, output.target_features, weights)


def _judge(discriminator: nn.Module, output: Output, image: Tensor) -> tuple[Tensor, Tensor]:
    """Logits of the truth and of ``image``, judged in one pass.

    In both networks' steps alike: batch norm then sees the same batch in both, and DDP
    allows the discriminator one forward per backward.
    """
    condition = torch.cat([output.condition, output.condition])
    logits = discriminator(condition, torch.cat([output.target, image]))
    real, fake = logits.float().chunk(2)
    return real, fake


class Stage1(AdversarialStage):
    """Image2Feature: G1 against D1 on image pairs (paper section 3.2)."""

    def __init__(self, config: JobConfig, encoder: Vgg19Relu3) -> None:
        super().__init__(
            config,
            encoder,
            build_generator(config.model, seed=config.seed),
            build_pair_discriminator(config.model, seed=config.seed + 1),
        )

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        predicted = generator(batch.image, batch.mask).float()
        with torch.no_grad():
            target_features = self.encode(batch.image)
        return Output(
            condition=batch.image * (1 - batch.mask),
            image=paste_known(predicted, batch.image, batch.mask),
            target=batch.image,
            target_features=target_features,
            mask=batch.mask,
        )

    def perceptual(self, output: Output) -> Tensor:
        return self.coarse_perceptual(output.image, output)

    def pixel_distance(self, output: Output) -> Tensor:
        """Mean absolute difference in the hole, per photograph."""
        return weighted_l1(output.image, output.target, output.mask)


class Stage2(AdversarialStage):
    """Feature2Image: G2 against D2 on (features, image) pairs (paper section 3.4).

    Its input is patch-swapped features of the truth; after ``truth_steps`` some samples take
    stage 1's prediction instead.
    """

    def __init__(
        self, config: JobConfig, encoder: Vgg19Relu3, stage1: CoarseGenerator | None
    ) -> None:
        super().__init__(
            config,
            encoder,
            build_translator(config.model, seed=config.seed),
            build_feature_discriminator(config.model, seed=config.seed + 1),
        )
        self.settings = config.translate
        self.matching = training_match(config.translate)
        self.predict: Image2Feature | None = None
        if stage1 is not None:
            self.predict = Image2Feature(stage1.requires_grad_(False), encoder).eval()

    def to(self, device: torch.device) -> None:
        super().to(device)
        if self.predict is not None:
            self.predict.to(device)

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        with torch.no_grad():
            truth = self.describe(batch.image)
            encoded = self._mixed(truth, batch, step)
            swapped = match(self.matching, encoded, batch.mask).features
        return Output(
            condition=features_of(swapped),
            image=generator(swapped).float(),
            target=batch.image,
            target_features=features_of(truth),
            mask=batch.mask,
        )

    def _mixed(self, truth: Tensor, batch: Batch, step: int) -> Encoded:
        """The truth's features, for some samples those of stage 1's prediction instead.

        The truth is as sharp in the hole as around it, so it is compared by its own features.
        """
        # The host's decision: no GPU is asked for it.
        chosen = (batch.draw < prediction_share(self.settings, step)).nonzero().flatten()
        if self.predict is None or not len(chosen):
            return Encoded(truth, None)
        chosen = chosen.to(truth.device, non_blocking=True)
        mask = batch.mask[chosen]
        coarse, colours = (fill.float() for fill in self.predict.fills(batch.image[chosen], mask))
        features = truth.index_copy(0, chosen, self.describe(coarse, colours))
        compared = keys_image(self.matching, coarse, mask)
        if compared is None:
            return Encoded(features, None)
        return Encoded(features, truth.index_copy(0, chosen, self.describe(compared)))


def prediction_share(settings: TranslateSection, step: int) -> float:
    """Share of samples that take predictions in a step: 0, then rising, then all of it."""
    done = step - settings.truth_steps
    if done < 0:
        return 0.0
    return settings.prediction_share * min(1.0, (done + 1) / max(1, settings.ramp_steps))


def training_match(settings: TranslateSection) -> MatchingConfig:
    """How training matches: exactly, whatever the size, as crops are small."""
    return MatchingConfig(
        keys=settings.keys,
        guard=settings.guard,
        method="exact",
        repeats=settings.repeats,
        colour=settings.colour,
    )

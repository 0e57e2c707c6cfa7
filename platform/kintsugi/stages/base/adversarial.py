"""What stages share that train a generator against a discriminator, by the encoder's features."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.models.losses import (
    IMAGE_LOSSES,
    discriminator_adversarial,
    generator_adversarial,
    hole_weights,
    squared_distance,
    weighted_l1,
)
from kintsugi.models.networks.cells import append_pixels
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.stages.base.stage import Output, StageSetup


class AdversarialStage:
    """What both stages share: two networks against one another and a frozen encoder."""

    criterion = "perceptual"

    def __init__(
        self,
        setup: StageSetup,
        encoder: Vgg19Relu3,
        generator: nn.Module,
        discriminator: nn.Module,
    ) -> None:
        self.weights = setup.losses
        self.copies_pixels = setup.model.translator_input == "features+pixels"
        self.encoder = encoder
        self.generator = generator
        self.discriminator = discriminator

    def to(self, device: torch.device) -> None:
        """See Stage."""
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
        """See Stage."""
        weights = self.weights
        losses = {"perceptual": weights.perceptual * self.perceptual(output)}
        if weights.pixels:
            losses["pixels"] = weights.pixels * self.pixel_distance(output)
        for name, weight in weights.image.items():
            distance = IMAGE_LOSSES[name](output.image, output.target, output.mask)
            losses[name] = weight * distance
        if weights.adversarial:
            _, fake = self._judge(discriminator, output, output.image)
            losses["adversarial"] = weights.adversarial * generator_adversarial(fake, weights.kind)
        return losses

    def pixel_distance(self, output: Output) -> Tensor:
        """Mean absolute difference over the whole image."""
        return F.l1_loss(output.image, output.target)

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """See Stage."""
        if not self.weights.adversarial:
            return {}
        real, fake = self._judge(discriminator, output, output.image.detach())
        return {"discriminator": discriminator_adversarial(real, fake, self.weights.kind)}

    def _judge(
        self, discriminator: nn.Module, output: Output, image: Tensor
    ) -> tuple[Tensor, Tensor]:
        condition = output.condition
        return judge(discriminator, (condition, condition), (output.target, image))

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


def judge(discriminator: nn.Module, *inputs: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    """Logits of the truth and of an image, judged in one pass.

    In both networks' steps alike: batch norm then sees the same batch in both, and DDP
    allows the discriminator one forward per backward.

    Args:
        discriminator: The discriminator of the stage.
        inputs: Each of its inputs, of the truth and of the image.
    """
    real, fake = discriminator(*(torch.cat(pair) for pair in inputs)).float().chunk(2)
    return real, fake

"""The context encoder as a stage (Pathak et al. 2016), for comparison; knows no loop and no VGG."""

import torch
from torch import Tensor, nn

from kintsugi.data.batches import Batch
from kintsugi.models.build import build_context_encoder, build_image_discriminator
from kintsugi.models.losses import (
    context_weights,
    discriminator_adversarial,
    generator_adversarial,
    weighted_squares,
)
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.stages.base.adversarial import judge
from kintsugi.stages.base.stage import Output, StageSetup, StageSpec

# Side of a feature cell in pixels: the width of the band is given in cells.
_CELL_PX = 4


class ContextEncoderStage:
    """Squared difference of pixels, and a discriminator that sees whole pictures (section 3.2)."""

    criterion = "reconstruction"

    def __init__(self, setup: StageSetup) -> None:
        self.weights = setup.losses
        self.generator: nn.Module = build_context_encoder(setup.model, seed=setup.seed)
        self.discriminator: nn.Module = build_image_discriminator(setup.model, seed=setup.seed + 1)

    def to(self, device: torch.device) -> None:
        """See Stage."""
        self.generator.to(device)
        self.discriminator.to(device)

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        """See Stage."""
        whole = generator(batch.image, batch.mask).float()
        return Output(
            condition=batch.image * (1 - batch.mask),
            image=paste_known(whole, batch.image, batch.mask),
            target=batch.image,
            target_features=None,
            mask=batch.mask,
            coarse=whole,
        )

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """See Stage."""
        assert output.coarse is not None
        weights = context_weights(
            output.mask,
            overlap_px=_CELL_PX * self.weights.overlap_cells,
            overlap_weight=self.weights.overlap,
        )
        difference = weighted_squares(output.coarse, output.target, weights)
        _, fake = judge(discriminator, (output.target, output.image))
        adversarial = generator_adversarial(fake, self.weights.kind)
        return {
            "reconstruction": self.weights.reconstruction * difference,
            "adversarial": self.weights.adversarial * adversarial,
        }

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """See Stage."""
        real, fake = judge(discriminator, (output.target, output.image.detach()))
        return {"discriminator": discriminator_adversarial(real, fake, self.weights.kind)}


SPEC = StageSpec(
    build=ContextEncoderStage,
    generator={"context_encoder": build_context_encoder},
    discriminator=("image_discriminator", build_image_discriminator),
)

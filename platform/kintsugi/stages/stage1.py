"""Stage 1 of the paper: Image2Feature; knows no loop."""

import torch
from torch import Tensor, nn

from kintsugi.data.batches import Batch
from kintsugi.models.build import build_generator, build_pair_discriminator
from kintsugi.models.losses import weighted_l1
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.stages.base.adversarial import AdversarialStage
from kintsugi.stages.base.stage import Output, StageSetup, StageSpec


class Stage1(AdversarialStage):
    """Image2Feature: G1 against D1 on image pairs (paper section 3.2)."""

    def __init__(self, setup: StageSetup) -> None:
        super().__init__(
            setup,
            setup.open_encoder(),
            build_generator(setup.model, seed=setup.seed),
            build_pair_discriminator(setup.model, seed=setup.seed + 1),
        )

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        """See Stage."""
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
        """See AdversarialStage."""
        return self.coarse_perceptual(output.image, output)

    def pixel_distance(self, output: Output) -> Tensor:
        """Mean absolute difference in the hole, per photograph."""
        return weighted_l1(output.image, output.target, output.mask)


SPEC = StageSpec(
    build=Stage1,
    generator={"infer": build_generator},
    discriminator=("pair_discriminator", build_pair_discriminator),
)

"""Both stages trained at once on their own predictions, for the ablation; knows no loop."""

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn

from kintsugi.data.batches import Batch
from kintsugi.models.build import build_feature_discriminator, build_generator, build_translator
from kintsugi.models.matching import Encoded, MatchingConfig, keys_image, match
from kintsugi.models.networks.cells import features_of
from kintsugi.models.networks.feature2image import Feature2Image
from kintsugi.models.networks.image2feature import CoarseGenerator, paste_known
from kintsugi.stages.base.adversarial import AdversarialStage
from kintsugi.stages.base.stage import Output, StageSetup, StageSpec
from kintsugi.stages.stage2 import training_match


class WholeGenerator(nn.Module):
    """G1, match and G2 as one network; an encoder is lent to each call."""

    def __init__(
        self, infer: CoarseGenerator, translate: Feature2Image, matching: MatchingConfig
    ) -> None:
        super().__init__()
        self.infer = infer
        self.translate = translate
        self.matching = matching

    def compile(self, *args: Any, **kwargs: Any) -> None:
        """Compile both networks, and not the match between them, which goes by what it finds."""
        self.infer.compile(*args, **kwargs)
        self.translate.compile(*args, **kwargs)

    def forward(
        self, batch: Batch, describe: Callable[[Tensor], Tensor]
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Returns: coarse fill, swapped features, image; gradients reach G1 through all three."""
        predicted = self.infer(batch.image, batch.mask).float()
        coarse = paste_known(predicted, batch.image, batch.mask)
        compared = keys_image(self.matching, coarse, batch.mask)
        encoded = Encoded(describe(coarse), None if compared is None else describe(compared))
        swapped = match(self.matching, encoded, batch.mask).features
        return coarse, swapped, self.translate(swapped).float()


class EndToEnd(AdversarialStage):
    """Both networks trained at once on their own predictions, for the ablation.

    The paper rejects it (section 3.4): G2 then learns from what G1 cannot do yet. What is
    copied comes from known windows, so G1 keeps stage 1's perceptual loss among the others.
    """

    def __init__(self, setup: StageSetup) -> None:
        super().__init__(
            setup,
            setup.open_encoder(),
            WholeGenerator(
                build_generator(setup.model, seed=setup.seed),
                build_translator(setup.model, seed=setup.seed + 1),
                training_match(setup.translate),
            ),
            build_feature_discriminator(setup.model, seed=setup.seed + 2),
        )

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        """See Stage."""
        with torch.no_grad():
            truth = self.encode(batch.image)
        coarse, swapped, image = generator(batch, self.describe)
        return Output(
            condition=features_of(swapped).detach(),
            image=image,
            target=batch.image,
            target_features=truth,
            mask=batch.mask,
            coarse=coarse,
        )

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """See Stage."""
        assert output.coarse is not None
        coarse = self.weights.perceptual * self.coarse_perceptual(output.coarse, output)
        return super().generator_losses(output, discriminator) | {"coarse": coarse}


SPEC = StageSpec(
    build=EndToEnd,
    generator={"infer": build_generator, "translate": build_translator},
    discriminator=("feature_discriminator", build_feature_discriminator),
)

"""Stage 2 of the paper: Feature2Image, on matched features; knows no loop."""

import torch
from torch import Tensor, nn

from kintsugi.config.sections import TranslateSection
from kintsugi.data.batches import Batch
from kintsugi.models.build import build_feature_discriminator, build_translator
from kintsugi.models.matching import Encoded, MatchingConfig, keys_image, match
from kintsugi.models.networks.cells import features_of
from kintsugi.models.networks.image2feature import Image2Feature
from kintsugi.stages.base.adversarial import AdversarialStage
from kintsugi.stages.base.stage import Output, StageSetup, StageSpec


class Stage2(AdversarialStage):
    """Feature2Image: G2 against D2 on (features, image) pairs (paper section 3.4).

    Its input is patch-swapped features of the truth; after ``truth_steps`` some samples take
    stage 1's prediction instead.
    """

    def __init__(self, setup: StageSetup) -> None:
        encoder = setup.open_encoder()
        super().__init__(
            setup,
            encoder,
            build_translator(setup.model, seed=setup.seed),
            build_feature_discriminator(setup.model, seed=setup.seed + 1),
        )
        self.settings = setup.translate
        self.matching = training_match(setup.translate)
        self.predict: Image2Feature | None = None
        if setup.translate.prediction_share > 0:
            stage1 = setup.open_stage1().requires_grad_(False)
            self.predict = Image2Feature(stage1, encoder).eval()

    def to(self, device: torch.device) -> None:
        """See Stage."""
        super().to(device)
        if self.predict is not None:
            self.predict.to(device)

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        """See Stage."""
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
        share = prediction_share(self.settings, step)
        # The host's decision: no GPU is asked for it.
        some = [item for item, draw in enumerate(batch.draw.tolist()) if draw < share]
        if self.predict is None or not some:
            return Encoded(truth, None)
        chosen = torch.tensor(some, device=truth.device)
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


SPEC = StageSpec(
    build=Stage2,
    generator={"translate": build_translator},
    discriminator=("feature_discriminator", build_feature_discriminator),
)

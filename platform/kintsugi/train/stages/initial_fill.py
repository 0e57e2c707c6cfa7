"""The predictor of G1's initial fill as a stage, before stage 1; knows no loop and no VGG."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import Batch
from kintsugi.train.stages.paper import Output
from models.build import build_initial_fill, build_pair_discriminator
from models.losses import weighted_l1
from models.networks.image2feature import paste_known
from models.networks.initial_fill import FILL_STRIDE

# Of 1 in the square root of a mean square: its slope ends somewhere.
_SMALLEST_SQUARE = 1e-4
# Errors, root of the mean square, well above this count by their ratios, as decibels do: in an
# even sky a fill that is off by little is seen.
_EVEN = 0.02
# What those ratios count against the absolute difference; then their slopes are alike at 0.08.
_RELATIVE = 0.1


class InitialFillStage:
    """Difference of colours in the hole at a quarter of the resolution, and no opponent.

    A discriminator is built because a run has one; it is never trained.
    """

    criterion = "reconstruction"

    def __init__(self, config: JobConfig) -> None:
        self.weights = config.losses
        self.generator: nn.Module = build_initial_fill(config.model, seed=config.seed)
        self.discriminator: nn.Module = build_pair_discriminator(config.model, seed=config.seed + 1)

    def to(self, device: torch.device) -> None:
        self.generator.to(device)
        self.discriminator.to(device)

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        small = generator(batch.image, batch.mask).float()
        large = F.interpolate(small.detach(), scale_factor=FILL_STRIDE, mode="bilinear")
        return Output(
            condition=batch.image * (1 - batch.mask),
            image=paste_known(large.clamp(0, 1), batch.image, batch.mask),
            target=batch.image,
            target_features=None,
            mask=batch.mask,
            coarse=small,
        )

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        assert output.coarse is not None
        share = F.avg_pool2d(output.mask, FILL_STRIDE)
        target = F.avg_pool2d(output.target, FILL_STRIDE)
        squares = (share * (output.coarse - target).square()).sum((1, 2, 3))
        # Of each photograph for itself, as `weighted_l1`: a small hole counts as much as a large.
        roots = (squares / (3 * share.sum((1, 2, 3)).clamp_min(1)) + _SMALLEST_SQUARE).sqrt()
        relative = _RELATIVE * torch.log1p(roots / _EVEN).mean()
        both = weighted_l1(output.coarse, target, share) + relative
        return {"reconstruction": self.weights.reconstruction * both}

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        return {}

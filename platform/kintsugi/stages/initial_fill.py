"""The predictor of G1's initial fill as a stage, before stage 1; knows no loop.

By differences of colours alone it learns the mean of all that might be there. With the encoder's
maps and an opponent, both at the fill's own resolution, it commits itself to one layout; both are
off by default, and then no encoder is opened.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from kintsugi.config.sections import LossSection
from kintsugi.data.batches import Batch
from kintsugi.models.build import (
    build_fill_discriminator,
    build_initial_fill,
    build_pair_discriminator,
)
from kintsugi.models.fill_losses import discriminator_judged, feature_distance, generator_judged
from kintsugi.models.losses import weighted_l1
from kintsugi.models.networks.fill_discriminator import DiscriminatorOutput
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.models.networks.initial_fill import FILL_STRIDE
from kintsugi.models.networks.pointer_fill import PointedFill
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pointer_loss import pointer_loss
from kintsugi.stages.base.stage import Output, StageSetup, StageSpec

# As a share of 1, in the square root of a mean square: its slope ends somewhere.
_SMALLEST_SQUARE = 1e-4
# Errors, root of the mean square, well above this count by their ratios, as decibels do: in an
# even sky a fill that is off by little is seen.
_EVEN = 0.02
# What those ratios count against the absolute difference; then their slopes are alike at 0.08.
_RELATIVE = 0.1


class InitialFillStage:
    """Differences of colours and of maps in the hole at a quarter of the resolution.

    A discriminator is built because a run has one. Without an adversarial weight it is never
    trained, and is the one that runs of before have.

    The encoder is opened only where a loss needs it.
    """

    criterion = "reconstruction"

    def __init__(self, setup: StageSetup) -> None:
        self.weights = setup.losses
        self.generator: nn.Module = build_initial_fill(setup.model, seed=setup.seed)
        judges = _judges(setup.losses)
        build = build_fill_discriminator if judges else build_pair_discriminator
        self.discriminator: nn.Module = build(setup.model, seed=setup.seed + 1)
        self.encoder: Vgg19Relu3 | None = None
        points = setup.model.initial_fill == "pointer"
        if judges or points or self.weights.fill_perceptual:
            self.encoder = setup.open_encoder()
            self.criterion = "fill_perceptual" if self.weights.fill_perceptual else self.criterion

    def to(self, device: torch.device) -> None:
        """See Stage."""
        for network in (self.generator, self.discriminator, self.encoder):
            if network is not None:
                network.to(device)

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        """See Stage."""
        drawn = generator(batch.image, batch.mask)
        small, pointers = drawn if isinstance(drawn, PointedFill) else (drawn, None)
        small = small.float()
        large = F.interpolate(small.detach(), scale_factor=FILL_STRIDE, mode="bilinear")
        maps: tuple[Tensor, ...] = ()
        target_maps: tuple[Tensor, ...] = ()
        if self.encoder is not None:
            target, share = _shrunk(batch.image), _shrunk(batch.mask)
            if self.weights.adversarial or self.weights.fill_perceptual:
                maps = self.encoder.pyramid(paste_known(small, target, share))
            with torch.no_grad():
                target_maps = self.encoder.pyramid(target)
        return Output(
            condition=batch.image * (1 - batch.mask),
            image=paste_known(large.clamp(0, 1), batch.image, batch.mask),
            target=batch.image,
            target_features=None,
            mask=batch.mask,
            coarse=small,
            maps=maps,
            target_maps=target_maps,
            pointers=pointers,
        )

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """See Stage."""
        weights, share = self.weights, _shrunk(output.mask)
        if output.pointers is not None:
            assert output.coarse is not None
            target = _shrunk(output.target)
            distance = pointer_loss(output.pointers, target, output.target_maps[1:])
            if not output.pointers:
                # The step still goes back through the network: DDP waits for every rank's.
                distance = distance + 0 * output.coarse.sum()
        else:
            distance = _colour_distance(output, share)
        losses = {"reconstruction": weights.reconstruction * distance}
        if weights.fill_perceptual:
            distance = feature_distance(output.maps, output.target_maps, share)
            losses["fill_perceptual"] = weights.fill_perceptual * distance
        if weights.adversarial:
            fake = _judge_fill(discriminator, output, share)
            judged = generator_judged(fake, share, weights.kind)
            losses["adversarial"] = weights.adversarial * judged
            if weights.feature_matching:
                with torch.no_grad():
                    real = _judge_truth(discriminator, output, share)
                distance = feature_distance(fake.activations, real.activations, share)
                losses["feature_matching"] = weights.feature_matching * distance
        return losses

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        """See Stage."""
        if not self.weights.adversarial:
            return {}
        share = _shrunk(output.mask)
        real, fake = _judge_both(discriminator, output, share)
        loss = discriminator_judged(real, fake, share, self.weights.kind)
        return {"discriminator": loss}


def _shrunk(image: Tensor) -> Tensor:
    return F.avg_pool2d(image, FILL_STRIDE)


def _colour_distance(output: Output, share: Tensor) -> Tensor:
    """Absolute difference, and how large its root mean square is by ratio."""
    assert output.coarse is not None
    target = _shrunk(output.target)
    squares = (share * (output.coarse - target).square()).sum((1, 2, 3))
    # Each photograph for itself, as `weighted_l1`: a small hole counts as much as a large.
    roots = (squares / (3 * share.sum((1, 2, 3)).clamp_min(1)) + _SMALLEST_SQUARE).sqrt()
    relative = _RELATIVE * torch.log1p(roots / _EVEN).mean()
    return weighted_l1(output.coarse, target, share) + relative


def _judge_truth(discriminator: nn.Module, output: Output, share: Tensor) -> DiscriminatorOutput:
    judged: DiscriminatorOutput = discriminator(_shrunk(output.target), share, output.target_maps)
    return judged


def _judge_fill(discriminator: nn.Module, output: Output, share: Tensor) -> DiscriminatorOutput:
    judged: DiscriminatorOutput = discriminator(_filled(output, share), share, output.maps)
    return judged


def _judge_both(
    discriminator: nn.Module, output: Output, share: Tensor
) -> tuple[DiscriminatorOutput, DiscriminatorOutput]:
    """The truth and the fill in one pass: DDP allows one forward per backward."""
    images = torch.cat([_shrunk(output.target), _filled(output, share)])
    maps = [torch.cat(pair) for pair in zip(output.target_maps, output.maps, strict=True)]
    judged: DiscriminatorOutput = discriminator(images, torch.cat([share, share]), maps)
    count = len(share)
    (local, wide), activations = judged
    real = DiscriminatorOutput(
        (local[:count], wide[:count]), tuple(each[:count] for each in activations)
    )
    fake = DiscriminatorOutput(
        (local[count:], wide[count:]), tuple(each[count:] for each in activations)
    )
    return real, fake


def _filled(output: Output, share: Tensor) -> Tensor:
    """The small image with its fill: what is known in it is the truth's."""
    assert output.coarse is not None
    return paste_known(output.coarse, _shrunk(output.target), share)


def _judges(losses: LossSection) -> bool:
    return losses.adversarial > 0


SPEC = StageSpec(
    build=InitialFillStage,
    generator={"initial_fill": build_initial_fill},
    discriminator=("fill_discriminator", build_fill_discriminator),
    judges=_judges,
)

"""What a stage is to the loop, and what it is built of; knows no loop, no run and no storage."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Protocol, Self

import torch
from torch import Tensor, nn

from kintsugi.config.sections import LossSection, TranslateSection
from kintsugi.data.batches import Batch
from kintsugi.models.build import ModelConfig
from kintsugi.models.networks.image2feature import CoarseGenerator
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
        target_features: The target features of the true image, B 256 h w, without gradient; None
            where no loss compares features.
        mask: B 1 H W, 1 = hole.
        coarse: The coarse fill, B 3 H W, where it is trained along; of the context encoder the
            whole frame; else None.
        maps: The maps of the initial fill, where a loss compares them: the encoder's maps of the
            small filled image; else empty.
        target_maps: The same of the small true image, without gradient.
        pointers: The pointers of an initial fill that points at known cells, of the images that
            have both a hole and such cells; None of one that draws.
    """

    condition: Tensor
    image: Tensor
    target: Tensor
    target_features: Tensor | None
    mask: Tensor
    coarse: Tensor | None = None
    maps: tuple[Tensor, ...] = ()
    target_maps: tuple[Tensor, ...] = ()
    pointers: tuple[Pointers, ...] | None = None

    def detached(self) -> Self:
        """The same for the discriminator's step: the generator's graph is not kept."""
        return replace(
            self,
            image=self.image.detach(),
            coarse=None if self.coarse is None else self.coarse.detach(),
            maps=tuple(each.detach() for each in self.maps),
            pointers=None,
        )


class Stage(Protocol):
    """What is trained: one of the paper's two stages, both at once, or another method's network.

    May run under autocast: what it returns is float32.
    """

    generator: nn.Module
    discriminator: nn.Module
    # Weights of the losses; without an adversarial one the discriminator is never trained.
    weights: LossSection
    # Which of the losses on held-out photographs says which checkpoint is the best.
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


@dataclass(frozen=True)
class StageSetup:
    """What a stage sees of a run, and no more.

    Attributes:
        model: Architecture of its networks.
        losses: Their weights.
        translate: What features a translator learns from.
        seed: The seed of its networks' first weights.
        open_encoder: Opens the run's encoder.
        open_stage1: Opens the stage 1 whose predictions are mixed in.
    """

    model: ModelConfig
    losses: LossSection
    translate: TranslateSection
    seed: int
    open_encoder: Callable[[], Vgg19Relu3]
    open_stage1: Callable[[], CoarseGenerator]


# `build_...` of `kintsugi.models.build`: architecture and keyword `seed` -> a network.
Builder = Callable[..., nn.Module]


@dataclass(frozen=True)
class StageSpec:
    """What a stage's module declares, as `SPEC`.

    Attributes:
        build: Its networks and losses, at the first step.
        generator: Parts of the method that it trains, and what builds each. Of several, the
            names begin the keys of the generator's state.
        discriminator: The part that judges, and what builds it.
        judges: By the weights of the losses, whether that discriminator is the one that a run
            has; else it has one that is never trained.
    """

    build: Callable[[StageSetup], Stage]
    generator: Mapping[str, Builder]
    discriminator: tuple[str, Builder]
    judges: Callable[[LossSection], bool] = field(default=lambda losses: True)

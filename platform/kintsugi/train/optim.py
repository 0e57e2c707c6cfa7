"""One network's step: gradients in, new weights out; knows no losses, no data and no DDP."""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor, nn

from kintsugi.config.sections import OptimizerSection
from kintsugi.models.precision import Precision


@dataclass
class Update:
    """An optimiser and what surrounds its step.

    Attributes:
        optimizer: The optimizer of one network.
        learning_rate: Right after the warm-up.
        settings: Warm-up, decay and clipping.
    """

    optimizer: torch.optim.Optimizer
    learning_rate: float
    settings: OptimizerSection
    _parameters: list[nn.Parameter] = field(init=False)

    def __post_init__(self) -> None:
        self._parameters = [
            parameter for group in self.optimizer.param_groups for parameter in group["params"]
        ]

    def clear(self) -> None:
        """Forget all gradients."""
        self.optimizer.zero_grad(set_to_none=True)

    def step(self, number: int, scaler: torch.amp.GradScaler) -> Tensor:
        """Take step ``number``, from 0, with the gradients there are.

        Returns: the gradient's Euclidean norm before clipping; not finite where float16
        overflowed, and then nothing is changed.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = self.learning_rate * _share(number, self.settings)
        scaler.unscale_(self.optimizer)
        norm = nn.utils.clip_grad_norm_(self._parameters, self.settings.clip_norm or math.inf)
        scaler.step(self.optimizer)
        return norm


def _share(number: int, settings: OptimizerSection) -> float:
    """Share of the learning rate in step ``number``: rising, then 1, then halved again and again.

    It depends on nothing but the step, so a run may be made longer.
    """
    if number < settings.warmup_steps:
        return (number + 1) / settings.warmup_steps
    if not settings.half_life_steps:
        return 1.0
    return math.pow(0.5, (number - settings.warmup_steps) / settings.half_life_steps)


def scaler_for(device: torch.device, precision: Precision) -> torch.amp.GradScaler:
    """What scales losses so that float16 gradients do not vanish; elsewhere it does nothing."""
    return torch.amp.GradScaler(device.type, enabled=precision == "float16")


def sum_of(losses: Iterable[Tensor]) -> Tensor:
    """The scalar that is minimised."""
    return torch.stack(list(losses)).sum()


def mean_of(parts: Sequence[dict[str, Tensor]]) -> dict[str, Tensor]:
    """Losses of a step that was taken in parts, without gradient."""
    return {name: torch.stack([part[name].detach() for part in parts]).mean() for name in parts[0]}


@torch.no_grad()
def update_ema(average: nn.Module, network: nn.Module, *, decay: float, step: int) -> None:
    """Move the running mean of a network's weights after step ``step``, from 0.

    The first steps weigh more, as ``decay`` would keep the initial weights for long: the mean
    keeps at most (1 + step) / (10 + step). Buffers (statistics of batch norm) are copied.
    """
    kept = min(decay, (1 + step) / (10 + step))
    torch._foreach_lerp_(list(average.parameters()), list(network.parameters()), 1 - kept)
    for mean, now in zip(average.buffers(), network.buffers(), strict=True):
        mean.copy_(now)

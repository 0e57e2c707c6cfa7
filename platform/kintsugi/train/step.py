"""One step of both networks: forward, losses, backward, update; knows no data and no reporting.

Gradients are averaged by DDP when a process group exists.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from kintsugi.config.sections import ComputeSection, OptimizerSection
from kintsugi.data.batches import Batch
from kintsugi.models.precision import autocast
from kintsugi.runs.checkpoints import TrainState
from kintsugi.stages.base.stage import Output, Stage
from kintsugi.train.optim import Update, mean_of, sum_of, update_ema
from kintsugi.train.throughput import Exchange


class TrainStep:
    """Trains the generator, then the discriminator on the same images.

    Args:
        stage: What is trained; its networks are put into training mode.
        state: Holds the optimisers; its ``step`` says which step comes next.
        optimizer: Rates, and what surrounds them.
        compute: Precision, and whether to compile.
        accumulate: In how many equal parts a step's photographs go through the networks.
        device: Where all of it is.
    """

    def __init__(
        self,
        stage: Stage,
        state: TrainState,
        device: torch.device,
        *,
        optimizer: OptimizerSection,
        compute: ComputeSection,
        accumulate: int,
    ) -> None:
        self.stage = stage
        self.state = state
        self._precision = compute.precision
        self._accumulate = accumulate
        self._ema_decay = optimizer.ema_decay
        self._device = device
        self._scaler = state.scaler or torch.amp.GradScaler(device.type, enabled=False)
        self._generator = _wrapped(stage.generator, device, accumulate)
        self._discriminator = _wrapped(stage.discriminator, device, accumulate)
        self.exchange = Exchange(device) if dist.is_initialized() else None
        if self.exchange is not None:
            self.exchange.attach(self._generator)
            self.exchange.attach(self._discriminator)
        if compute.compile:
            compile_networks(stage)
        optimizers = state.optimizers
        self._generator_update = Update(optimizers["generator"], optimizer.generator_lr, optimizer)
        self._discriminator_update = Update(
            optimizers["discriminator"], optimizer.discriminator_lr, optimizer
        )

    def __call__(self, batch: Batch) -> dict[str, Tensor]:
        """Take one step. Returns: losses and lengths of gradients by their names in a row."""
        step = self.state.step
        parts = split(batch, self._accumulate)
        outputs, generator_losses, generator_norm = self._train_generator(parts, step)
        figures = mean_of(generator_losses)
        norms = {"grad_norm/generator": generator_norm}
        if self.stage.weights.adversarial:
            discriminator_losses, norm = self._train_discriminator(outputs, step)
            figures |= mean_of(discriminator_losses)
            norms["grad_norm/discriminator"] = norm
        self._scaler.update()
        if self.state.average is not None:
            average, decay = self.state.average, self._ema_decay
            update_ema(average, self.stage.generator, decay=decay, step=step)
        return {f"loss/{name}": loss for name, loss in figures.items()} | norms

    def _train_generator(
        self, parts: list[Batch], step: int
    ) -> tuple[list[Output], list[dict[str, Tensor]], Tensor]:
        self._generator_update.clear()
        # Through the bare discriminator, with its weights held still: this pass takes
        # gradients to the image only and must not touch DDP's bookkeeping.
        self.stage.discriminator.requires_grad_(False)
        outputs, losses = [], []
        for number, part in enumerate(parts):
            with self._averaging(self._generator, last=number == len(parts) - 1):
                with autocast(self._device, self._precision):
                    output = self.stage.generate(self._generator, part, step)
                    loss = self.stage.generator_losses(output, self.stage.discriminator)
                self._backward(loss, len(parts))
            outputs.append(output.detached())
            losses.append(loss)
        self.stage.discriminator.requires_grad_(True)
        return outputs, losses, self._generator_update.step(step, self._scaler)

    def _train_discriminator(
        self, outputs: list[Output], step: int
    ) -> tuple[list[dict[str, Tensor]], Tensor]:
        self._discriminator_update.clear()
        losses = []
        for number, output in enumerate(outputs):
            with self._averaging(self._discriminator, last=number == len(outputs) - 1):
                with autocast(self._device, self._precision):
                    loss = self.stage.discriminator_losses(output, self._discriminator)
                self._backward(loss, len(outputs))
            losses.append(loss)
        return losses, self._discriminator_update.step(step, self._scaler)

    def _backward(self, losses: dict[str, Tensor], parts: int) -> None:
        total = self._scaler.scale(sum_of(losses.values()) / parts)
        total.backward()  # type: ignore[no-untyped-call]

    @staticmethod
    def _averaging(network: nn.Module, *, last: bool) -> AbstractContextManager[object]:
        """Gradients are exchanged between processes once, with a step's last part."""
        if last or not isinstance(network, DistributedDataParallel):
            return nullcontext()
        waiting: AbstractContextManager[object] = network.no_sync()
        return waiting


def split(batch: Batch, parts: int) -> list[Batch]:
    """A step's photographs in equal parts."""
    if parts == 1:
        return [batch]
    return [
        Batch(*tensors)
        for tensors in zip(*(tensor.chunk(parts) for tensor in batch.parts()), strict=True)
    ]


def compile_networks(stage: Stage, *, backend: str = "inductor") -> None:
    """Compile every network that a step runs, each as one graph.

    In place: what DDP and the checkpoints know stays the same module.
    """
    encoder = getattr(stage, "encoder", None)
    for network in (stage.generator, stage.discriminator, encoder):
        if network is not None:
            # A break would hand each piece back to Python: it is an error, not a slower step.
            network.compile(fullgraph=True, backend=backend)


def _wrapped(network: nn.Module, device: torch.device, parts: int) -> nn.Module:
    """The network in training mode, with DDP where there are other processes."""
    network.train()
    if not dist.is_initialized():
        return network
    on_gpu = device.type == "cuda"
    return DistributedDataParallel(
        network,
        device_ids=[device] if on_gpu else None,
        # Gradients live where they are exchanged: no second copy of them.
        gradient_as_bucket_view=True,
        # Every step takes the same way back. Steps in parts need what it does not allow.
        static_graph=on_gpu and parts == 1,
    )

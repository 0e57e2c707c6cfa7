"""The training loop of both stages; runs on one process or many, with or without Ray.

The caller gives it batches and a reporter. It does not know where the batches come from, or who
else trains. Gradients are averaged by DDP when a process group exists.
"""

import copy
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kintsugi.collectives import Wishes, all_reduce_sum, broadcast_buffers
from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import LoopSection
from kintsugi.data.sampler import SampleOrder
from kintsugi.errors import Diverged, KintsugiError
from kintsugi.runs.checkpoints import Best, Progress, TrainState, save_checkpoint
from kintsugi.runs.metrics_log import Metrics
from kintsugi.stages.base.stage import Stage
from kintsugi.storage.scratch import write_scratch
from kintsugi.train.feed import Delivery, Feed
from kintsugi.train.optim import scaler_for
from kintsugi.train.step import TrainStep
from kintsugi.train.throughput import Meter
from kintsugi.train.validation import evaluate_losses, render_samples


class Reporter(Protocol):
    """Where the loop's results go. Every rank calls every method equally often."""

    def log(self, row: Metrics) -> None:
        """Metrics of a step, averaged over all ranks."""
        ...

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        """A finished checkpoint in a local folder, the reporter's from now on; None on all ranks
        but the first. Returns before it has arrived anywhere."""
        ...

    def finish(self) -> None:
        """Return when all that was reported has arrived."""
        ...

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        """Losses on the fixed photographs and a picture of them; first rank only."""
        ...


def never() -> bool:
    """What `WorkerContext.should_stop` says where nobody asks a run to stop."""
    return False


@dataclass(frozen=True)
class WorkerContext:
    """One process of a run: its number among the others, its device, and what it validates on.

    Attributes:
        device: On which this process computes.
        rank: The rank of this process, from 0.
        workers: How many processes there are now; an elastic run has not always as many as
            its configuration says.
        should_stop: Whether to write a checkpoint and leave; the first rank's is asked.
        is_reclaimed: Whether a node of the run is about to be taken away: the ranks write a
            checkpoint and fail, to be started elsewhere; the first rank's is asked.
        owner: Token of the submission that this process belongs to (`kintsugi.runs.lease`);
            "": of none, and no lease is checked.
        fixed: The photographs of the sample pictures; None on all ranks but the first.
        held_out: This rank's part of what checkpoints are measured on; at least one.
        spare: That part is another rank's, as none was left for this one: it does not count.
    """

    device: torch.device
    rank: int = 0
    workers: int = 1
    should_stop: Callable[[], bool] = never
    is_reclaimed: Callable[[], bool] = never
    owner: str = ""
    fixed: Delivery | None = None
    held_out: Sequence[Delivery] = ()
    spare: bool = False


def initial_state(stage: Stage, config: JobConfig) -> TrainState:
    """A run's state before its first step; the stage is on its device."""
    settings = config.optimizer
    betas = (settings.beta1, settings.beta2)
    rates = {"generator": settings.generator_lr, "discriminator": settings.discriminator_lr}
    networks = {"generator": stage.generator, "discriminator": stage.discriminator}
    if config.compute.channels_last:
        for network in networks.values():
            network.to(memory_format=torch.channels_last)
    device = next(stage.generator.parameters()).device
    average = None
    if settings.ema_decay:
        average = copy.deepcopy(stage.generator).requires_grad_(False).eval()
    scaler = scaler_for(device, config.compute.precision)
    return TrainState(
        networks=networks,
        optimizers={
            # One launch for all weights, where that pays.
            name: torch.optim.Adam(
                network.parameters(), rates[name], betas, fused=device.type == "cuda" or None
            )
            for name, network in networks.items()
        },
        average=average,
        scaler=scaler if scaler.is_enabled() else None,
    )


def train(
    stage: Stage,
    batches: Iterator[Delivery],
    order: SampleOrder,
    config: JobConfig,
    state: TrainState,
    context: WorkerContext,
    reporter: Reporter,
) -> None:
    """Train from ``state`` to ``config.loop.max_steps``, reporting on the way.

    It ends before that when the held-out loss no longer falls (`is_finished`), or when
    it is asked to stop; what is done then is in a checkpoint.

    Raises:
        Diverged: names the loss and the step when a loss is no longer a number.
        NodeReclaimed: a node is about to be taken away; what is done is in a checkpoint.
    """
    loop, device = config.loop, context.device
    step = TrainStep(
        stage,
        state,
        device,
        optimizer=config.optimizer,
        compute=config.compute,
        accumulate=goes(config.loop, order.batch_size),
    )
    feed = Feed(batches, device)
    start, first_step = state.position, state.step
    meter = Meter(order.batch_size * order.workers, device, step.exchange)
    clock = _Clock(loop.checkpoint_minutes)
    asks = (context.should_stop, context.is_reclaimed, clock.is_due)
    wishes = Wishes(asks, rank=context.rank, device=device)
    view = _View(stage, state, config, context)
    if state.step == 0 and loop.sample_every:
        with meter.aside():
            view.sample(reporter)
    stopping = False
    while not is_finished(config, state) and not stopping:
        with meter.waiting():
            batch = next(feed)
        figures = step(batch)
        state.step += 1
        meter.count()
        asked, reclaimed, due = wishes.agreed()
        stopping = asked or reclaimed
        turn = state.step == loop.max_steps or state.step % loop.checkpoint_every == 0
        saving = turn or stopping or due
        if saving or state.step % loop.log_every == 0:
            row = _row(state, figures, meter, loop.max_steps - state.step)
            if turn and not stopping:
                with meter.aside():
                    row |= view.measure()
            reporter.log(row)
        ending = is_finished(config, state)
        if loop.sample_every and (ending or state.step % loop.sample_every == 0):
            with meter.aside():
                view.sample(reporter)
        if saving:
            state.position = order.advance(start, state.step - first_step)
            with meter.aside():
                _save(state, context.rank, reporter, row)
        if reclaimed:
            reporter.finish()
            raise NodeReclaimed(f"a node is taken away: step {state.step} is in a checkpoint")
    wishes.close()
    reporter.finish()


class NodeReclaimed(KintsugiError):
    """A node of the run is about to be taken away; the run goes on elsewhere."""


class _Clock:
    """Says once in so many minutes that they have passed; 0 = never."""

    def __init__(self, minutes: float, now: Callable[[], float] = time.monotonic) -> None:
        self._seconds = 60 * minutes
        self._now = now
        self._since = now()

    def is_due(self) -> bool:
        now = self._now()
        if not self._seconds or now - self._since < self._seconds:
            return False
        self._since = now
        return True


def goes(loop: LoopSection, photos: int) -> int:
    """In how many equal parts a worker's photographs of a step go through the networks."""
    if not loop.global_batch:
        return loop.accumulate
    least = -(-photos // loop.batch_size)
    return next(parts for parts in range(least, photos + 1) if photos % parts == 0)


def is_finished(config: JobConfig, state: TrainState | Progress) -> bool:
    """Whether a run has taken all its steps, or its held-out loss has not fallen for long."""
    stale = 0 < config.held_out.patience <= state.stale
    return stale or state.step >= config.loop.max_steps


def settled_step(config: JobConfig) -> int:
    """The step from which on a run trains as at its end: its schedule is through."""
    mixing = config.translate
    return mixing.truth_steps + mixing.ramp_steps if mixing.prediction_share else 0


def _row(state: TrainState, figures: dict[str, Tensor], meter: Meter, steps_left: int) -> Metrics:
    rate = state.optimizers["generator"].param_groups[0]["lr"]
    row: Metrics = {"step": state.step, **_mean_over_ranks(figures), "learning_rate": rate}
    # In float16 a gradient may overflow: then the step is left out and the scale lowered.
    checked = ("loss/",) if state.scaler else ("loss/", "grad_norm/")
    _check_finite({name: value for name, value in row.items() if name.startswith(checked)}, state)
    return row | meter.read(steps_left)


def _check_finite(figures: Metrics, state: TrainState) -> None:
    for name, value in figures.items():
        if not math.isfinite(value):
            kind, _, which = name.partition("/")
            raise Diverged(
                f"{kind} {which} is {value} at step {state.step}: the run diverged; start another"
                " from its last checkpoint with --set run=NAME --set init_from=RUN and a lower"
                " optimizer.generator_lr"
            )


def _save(state: TrainState, rank: int, reporter: Reporter, row: Metrics) -> None:
    folder = None
    if rank == 0:
        folder = write_scratch("a checkpoint", lambda empty: save_checkpoint(empty, state))
    reporter.checkpoint(row, folder, state.step)


def _mean_over_ranks(figures: dict[str, Tensor]) -> dict[str, float]:
    values = torch.stack(list(figures.values())).float()
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return dict(zip(figures, values.tolist(), strict=True))


class _View:
    """Looks at the generator as a release would have it: its running mean where there is one."""

    def __init__(
        self, stage: Stage, state: TrainState, config: JobConfig, context: WorkerContext
    ) -> None:
        self._stage = stage
        self._state = state
        self._config = config
        self._context = context

    @property
    def _generator(self) -> nn.Module:
        return self._state.average or self._stage.generator

    def _losses(
        self,
        batches: Sequence[Delivery],
        combine: Callable[[list[float]], list[float]] = lambda sums: sums,
    ) -> dict[str, float]:
        # As when every schedule is through: figures of different steps can be compared.
        return evaluate_losses(
            self._stage,
            self._generator,
            (batch.to(self._context.device) for batch in batches),
            self._config.compute.precision,
            step=settled_step(self._config),
            combine=combine,
        )

    def sample(self, reporter: Reporter) -> None:
        """Losses and a picture of the fixed photographs."""
        if self._context.fixed is None:
            return
        losses = self._losses([self._context.fixed])
        row: Metrics = {"step": self._state.step}
        row |= {f"fixed/{name}": loss for name, loss in losses.items()}
        png = render_samples(
            self._stage,
            self._generator,
            self._context.fixed.to(self._context.device),
            self._config.compute.precision,
            step=settled_step(self._config),
        )
        reporter.sample(row, png, self._state.step)

    def measure(self) -> Metrics:
        """Losses on the held-out photographs; the state learns whether they still fall.

        It learns nothing at a last step that is no checkpoint's turn, as the run may be
        trained on, nor before the schedule is through: what is measured is not trained yet.
        """
        if not self._config.held_out.photos:
            return {}
        context = self._context

        def combine(sums: list[float]) -> list[float]:
            return all_reduce_sum([0.0] * len(sums) if context.spare else sums, context.device)

        for network in (self._generator, self._stage.discriminator):
            broadcast_buffers(network)
        losses = self._losses(context.held_out, combine)
        criterion = self._stage.criterion
        loss = losses[criterion]
        _check_finite({f"held_out/{criterion}": loss}, self._state)
        state, settled = self._state, settled_step(self._config)
        if state.step % self._config.loop.checkpoint_every == 0:
            if state.best is None or state.best.step < settled or loss < state.best.loss:
                state.best, state.stale = Best(state.step, loss), 0
            else:
                state.stale += 1
        return {f"held_out/{name}": value for name, value in losses.items()}

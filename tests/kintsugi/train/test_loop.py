"""The loop ends when it should, looks at held-out photographs, and shares work among processes."""

import dataclasses
import itertools
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kintsugi.collectives import all_gather, broadcast_buffers
from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import HeldOutSection, LoopSection, LossSection, TranslateSection
from kintsugi.data.batches import Batch
from kintsugi.data.sampler import Position, SampleOrder
from kintsugi.errors import KintsugiError
from kintsugi.runs.checkpoints import TrainState
from kintsugi.runs.metrics_log import Metrics
from kintsugi.stages.base.stage import Output
from kintsugi.train.loop import WorkerContext, is_finished
from tests.kintsugi.ranks import run_ranks
from tests.kintsugi.training_runs import debug_config, run_loop

NUM_STEPS = 3


class LinearStage:
    """The smallest stage: without batch norm, whose statistics are each process's own."""

    weights = LossSection()

    criterion = "perceptual"

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator: nn.Module = nn.Linear(4, 4)
        self.discriminator: nn.Module = nn.Linear(4, 1)

    def to(self, device: torch.device) -> None: ...

    def generate(self, generator: nn.Module, batch: Batch, step: int) -> Output:
        flat = batch.image.flatten(1)
        image = generator(flat)
        return Output(flat, image, target=flat, target_features=flat, mask=batch.mask)

    def generator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        near = (output.image - output.target - 1).square().mean()
        return {"perceptual": near, "adversarial": -discriminator(output.image).mean()}

    def discriminator_losses(self, output: Output, discriminator: nn.Module) -> dict[str, Tensor]:
        both = discriminator(torch.cat([output.target, output.image.detach()]))
        return {"discriminator": both.square().mean()}


class Rows:
    """A reporter that keeps the losses and checks that every rank gets the same calls."""

    def __init__(self) -> None:
        self.rows: list[Metrics] = []
        self.saved: list[int] = []

    def log(self, row: Metrics) -> None:
        self.rows.append(row)

    def finish(self) -> None:
        """Nothing travels here."""

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        assert (folder is not None) == (not dist.is_initialized() or dist.get_rank() == 0)
        self.saved.append(step)

    def sample(self, row: Metrics, png: bytes, step: int) -> None: ...


def batches(rank: int, workers: int) -> Iterator[Batch]:
    """Four photographs a step, shared among the workers."""
    for step in range(NUM_STEPS):
        mine = slice(rank * 4 // workers, (rank + 1) * 4 // workers)
        yield Batch(*(part[mine] for part in one_step(step).parts()))


def run(rank: int, workers: int, config: JobConfig, output: str) -> None:
    stage, rows = LinearStage(), Rows()
    count = config.held_out.photos
    held_out = [one_step(100 + number, count=2 + number) for number in range(count)]
    mine = held_out[rank::workers]
    order = SampleOrder((100,), seed=0, shuffle_parts=1, workers=workers, batch_size=4 // workers)
    run_loop(
        stage,
        batches(rank, workers),
        order,
        config,
        rows,
        context=WorkerContext(torch.device("cpu"), rank, workers),
        held_out=mine or held_out,
        spare=not mine,
    )
    losses = torch.tensor([[row["loss/perceptual"], row["loss/adversarial"]] for row in rows.rows])
    networks = nn.ModuleList([stage.generator, stage.discriminator])
    measured = torch.tensor([rows.rows[-1]["held_out/perceptual"]])
    save_file({**networks.state_dict(), "losses": losses, "held_out": measured}, output)


def one_step(seed: int, count: int = 4) -> Batch:
    image = torch.rand(count, 1, 2, 2, generator=torch.Generator().manual_seed(seed))
    return Batch(torch.arange(count), image, torch.ones(count, 1, 2, 2), torch.zeros(count))


def run_alone(
    config: JobConfig,
    *,
    held_out: Sequence[Batch] = (),
    should_stop: Callable[[], bool] = lambda: False,
) -> tuple[TrainState, Rows]:
    stage, rows = LinearStage(), Rows()
    order = SampleOrder((100,), seed=0, shuffle_parts=1, workers=1, batch_size=4)
    context = WorkerContext(torch.device("cpu"), should_stop=should_stop)
    steps = map(one_step, itertools.count())
    state = run_loop(stage, steps, order, config, rows, context=context, held_out=held_out)
    return state, rows


def test_a_run_that_is_asked_to_stop_leaves_a_checkpoint_behind_the_step(tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=100, checkpoint_every=40, log_every=40)
    asked = itertools.count(1)
    state, rows = run_alone(config, should_stop=lambda: next(asked) == 5)
    assert state.step == 5
    assert rows.saved == [5]
    assert rows.rows[-1]["step"] == 5
    assert state.position.used[0].steps == 5
    assert not is_finished(config.loop, config.held_out, state)


def test_every_checkpoint_is_measured_on_all_held_out_photographs(tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=6, checkpoint_every=3, log_every=1)
    config = dataclasses.replace(config, held_out=HeldOutSection(photos=6))
    held_out = [one_step(100), one_step(101, count=2)]
    state, rows = run_alone(config, held_out=held_out)
    measured = [row for row in rows.rows if "held_out/perceptual" in row]
    assert [row["step"] for row in measured] == [3, 6]
    stage = LinearStage()
    stage.generator.load_state_dict(state.networks["generator"].state_dict())
    together = Batch(
        *(torch.cat(parts) for parts in zip(*(b.parts() for b in held_out), strict=True))
    )
    output = stage.generate(stage.generator, together, 0)
    expected = stage.generator_losses(output, stage.discriminator)["perceptual"].item()
    assert measured[-1]["held_out/perceptual"] == pytest.approx(expected, rel=1e-5)
    assert state.networks["generator"].training


def test_a_run_ends_when_the_held_out_loss_no_longer_falls(tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=100, checkpoint_every=2, log_every=100)
    # So long a step that it soon gets worse.
    config = dataclasses.replace(
        config,
        held_out=HeldOutSection(photos=4, patience=2),
        optimizer=dataclasses.replace(config.optimizer, generator_lr=0.6),
    )
    state, rows = run_alone(config, held_out=[one_step(100)])
    losses = [row["held_out/perceptual"] for row in rows.rows]
    assert is_finished(config.loop, config.held_out, state)
    assert not is_finished(config.loop, HeldOutSection(photos=4), state)
    assert rows.saved[-1] == state.step < 100
    assert state.best is not None
    assert state.best.loss == min(losses) == losses[-3]
    assert state.best.step == rows.saved[-3]
    assert state.stale == 2


def test_a_schedule_is_not_cut_short_by_what_it_has_not_come_to(tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=100, checkpoint_every=2, log_every=100)
    config = dataclasses.replace(
        config,
        held_out=HeldOutSection(photos=4, patience=2),
        optimizer=dataclasses.replace(config.optimizer, generator_lr=0.6),
        translate=TranslateSection(stage1="a run", prediction_share=0.5, truth_steps=80),
    )
    state, _ = run_alone(config, held_out=[one_step(100)])
    assert state.step > 80
    assert state.best is not None
    assert state.best.step >= 80


def test_parts_of_a_step_give_the_gradients_of_the_whole(tmp_path: Path) -> None:
    whole, _ = run_alone(debug_config(tmp_path, batch_size=4, max_steps=3))
    parts, _ = run_alone(debug_config(tmp_path, batch_size=4, max_steps=3, accumulate=4))
    for name, weights in whole.networks["generator"].state_dict().items():
        torch.testing.assert_close(parts.networks["generator"].state_dict()[name], weights)


def test_a_loss_that_is_no_number_ends_the_run_by_its_name(tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=100, log_every=1)
    config = dataclasses.replace(
        config, optimizer=dataclasses.replace(config.optimizer, generator_lr=1e30)
    )
    with pytest.raises(
        KintsugiError, match=r"(loss|grad_norm) \w+ is (nan|inf) at step \d+: the run diverged"
    ):
        run_alone(config)


def run_and_gather(rank: int, config: JobConfig, folder: str) -> None:
    run(rank, 2, config, f"{folder}/rank-{rank}.safetensors")
    own = nn.BatchNorm1d(3)
    own.running_mean = torch.full((3,), float(rank + 1))
    broadcast_buffers(own)
    assert torch.equal(own.running_mean, torch.ones(3))
    assert all_gather(["all", f"rank {rank}"]) == ["all", "rank 0", "all", "rank 1"]
    # Leaving before the other is done would cut its connection.
    dist.barrier()


# One batch is held out: there is none for the second process.
@pytest.mark.slow
@pytest.mark.parametrize("held_out", [1, 3])
def test_two_processes_train_as_one_on_both_their_batches(tmp_path: Path, held_out: int) -> None:
    config = debug_config(tmp_path, max_steps=NUM_STEPS, sample_every=0)
    config = dataclasses.replace(config, held_out=HeldOutSection(photos=held_out))
    run_ranks(2, run_and_gather, config, str(tmp_path))
    run(0, 1, config, f"{tmp_path}/alone.safetensors")
    alone, first, second = (
        load_file(tmp_path / f"{name}.safetensors") for name in ("alone", "rank-0", "rank-1")
    )
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-6)
    assert not torch.equal(alone["0.weight"], LinearStage().generator.weight)


def run_together(rank: int, workers: int, config: JobConfig, output: str) -> None:
    """Photographs by their number in the order, eight a step of all workers."""
    stage, rows = LinearStage(), Rows()
    order = SampleOrder((100,), 0, 1, workers=workers, batch_size=8 // workers, together=True)
    numbers = [row for read in next(order.reads(Position(), rank)) for row in read.rows.tolist()]
    pictures = [one_step(number, count=1) for number in numbers]
    mine = (
        Batch(*map(torch.cat, zip(*(each.parts() for each in group), strict=True)))
        for group in zip(*[iter(pictures)] * order.batch_size, strict=False)
    )
    context = WorkerContext(torch.device("cpu"), rank, workers)
    run_loop(stage, mine, order, config, rows, context=context)
    losses = torch.tensor([[row["loss/perceptual"], row["loss/adversarial"]] for row in rows.rows])
    networks = nn.ModuleList([stage.generator, stage.discriminator])
    if rank == 0:
        save_file({**networks.state_dict(), "losses": losses}, output)


@pytest.mark.slow
def test_the_same_training_on_one_two_or_four(tmp_path: Path) -> None:
    """Eight photographs a step, at most three at a time: 8 = 2 x 4 = 4 x 2."""
    config = debug_config(tmp_path, max_steps=NUM_STEPS, batch_size=3, global_batch=8)
    run_together(0, 1, config, str(tmp_path / "1"))
    for workers in (2, 4):
        run_ranks(workers, run_together, workers, config, str(tmp_path / str(workers)))
    one, two, four = (load_file(tmp_path / name) for name in ("1", "2", "4"))
    for name, value in one.items():
        for other in (two, four):
            torch.testing.assert_close(other[name], value, atol=1e-5, rtol=1e-5)


def test_a_step_goes_in_as_few_equal_parts_as_have_room() -> None:
    config = LoopSection(max_steps=1, batch_size=3, global_batch=8)
    assert [config.num_parts(photos) for photos in (8, 4, 2, 1, 7)] == [4, 2, 1, 1, 7]
    assert LoopSection(max_steps=1, batch_size=4, accumulate=2).num_parts(4) == 2

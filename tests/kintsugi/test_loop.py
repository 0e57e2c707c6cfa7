"""Two processes train as one would on both their batches: DDP averages every gradient."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kintsugi.config import JobConfig
from kintsugi.demo.processes import free_ports
from kintsugi.loop import Surroundings, initial_state, train
from kintsugi.order import SampleOrder
from kintsugi.samples import Batch
from kintsugi.stages import Output
from kintsugi.tracking import Metrics
from tests.kintsugi.training_runs import debug_config

NUM_STEPS = 3


class LinearStage:
    """The smallest stage: without batch norm, whose statistics are each process's own."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.generator: nn.Module = nn.Linear(4, 4)
        self.discriminator: nn.Module = nn.Linear(4, 1)

    def to(self, device: torch.device) -> None: ...

    def generate(self, generator: nn.Module, batch: Batch) -> Output:
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

    def log(self, row: Metrics) -> None:
        self.rows.append(row)

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        assert (folder is not None) == (not dist.is_initialized() or dist.get_rank() == 0)

    def sample(self, row: Metrics, png: bytes, step: int) -> None: ...


def batches(rank: int, workers: int) -> Iterator[Batch]:
    """Four photographs a step, shared among the workers."""
    for step in range(NUM_STEPS):
        image = torch.rand(4, 1, 2, 2, generator=torch.Generator().manual_seed(step))
        mine = image[rank * 4 // workers : (rank + 1) * 4 // workers]
        count = len(mine)
        yield Batch(torch.arange(count), mine, torch.ones(count, 1, 2, 2), torch.zeros(count))


def run(rank: int, workers: int, config: JobConfig, output: str) -> None:
    stage, rows = LinearStage(), Rows()
    order = SampleOrder((100,), seed=0, shuffle_parts=1, workers=workers, batch_size=4 // workers)
    surroundings = Surroundings(rank, order, torch.device("cpu"))
    train(stage, batches(rank, workers), config, initial_state(stage, config), surroundings, rows)
    losses = torch.tensor([[row["loss/perceptual"], row["loss/adversarial"]] for row in rows.rows])
    networks = nn.ModuleList([stage.generator, stage.discriminator])
    save_file({**networks.state_dict(), "losses": losses}, output)


def join_and_run(rank: int, port: int, config: JobConfig, folder: str) -> None:
    address = f"tcp://127.0.0.1:{port}"
    dist.init_process_group("gloo", init_method=address, rank=rank, world_size=2)
    run(rank, 2, config, f"{folder}/rank-{rank}.safetensors")
    # Leaving before the other is done would cut its connection.
    dist.barrier()
    dist.destroy_process_group()


@pytest.mark.ray
def test_two_processes_train_as_one_on_both_their_batches(local_ray: Any, tmp_path: Path) -> None:
    config = debug_config(tmp_path, max_steps=NUM_STEPS, sample_every=0)
    (port,) = free_ports(1)
    process = local_ray.remote(num_cpus=1)(join_and_run)
    local_ray.get([process.remote(rank, port, config, str(tmp_path)) for rank in (0, 1)])
    run(0, 1, config, f"{tmp_path}/alone.safetensors")
    alone, first, second = (
        load_file(tmp_path / f"{name}.safetensors") for name in ("alone", "rank-0", "rank-1")
    )
    for name, tensor in alone.items():
        assert torch.equal(first[name], second[name]), name
        torch.testing.assert_close(first[name], tensor, rtol=1e-5, atol=1e-6)
    assert not torch.equal(alone["0.weight"], LinearStage().generator.weight)

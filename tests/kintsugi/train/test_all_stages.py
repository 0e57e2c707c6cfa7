"""What holds of a step of every stage, with every loss and every initial fill."""

import dataclasses
from pathlib import Path
from typing import Any, cast, get_args

import pytest
import torch
import torch.distributed as dist
from torch.nn.parallel import DistributedDataParallel

from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import Batch
from kintsugi.models.build import build_generator
from kintsugi.models.losses import AdversarialLoss
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.stages.base.names import stage_names
from kintsugi.stages.base.registry import stage_spec
from kintsugi.stages.base.stage import Stage
from kintsugi.train import step
from kintsugi.train.loop import initial_state
from kintsugi.train.optim import sum_of
from tests.kintsugi.ranks import run_ranks
from tests.kintsugi.training_runs import debug_config, setup_of

INITIAL_FILLS = ("unet", "ffc", "pointer")
JUDGED = {"adversarial": 0.1, "fill_perceptual": 0.3, "feature_matching": 0.2}


def all_configs(folder: Path) -> dict[str, JobConfig]:
    """A configuration for each stage, the initial fill's with each network and set of losses."""
    configs = {
        name: debug_config(folder, name.replace("_", "-"))
        for name in stage_names()
        if name != "initial_fill"
    }
    fill = debug_config(folder, "initial-fill")
    for network in INITIAL_FILLS:
        model = dataclasses.replace(fill.model, initial_fill=cast(Any, network))
        alone = dataclasses.replace(fill, model=model)
        judged = dataclasses.replace(alone.losses, **JUDGED)
        configs[f"{network} alone"] = alone
        configs[f"{network} judged"] = dataclasses.replace(alone, losses=judged)
    return configs


def a_stage(config: JobConfig) -> Stage:
    stage1 = build_generator(config.model, seed=3)
    setup = setup_of(config, Vgg19Relu3.random(0), stage1)
    return stage_spec(config.stage).build(setup)


def a_batch(seed: int, count: int = 2) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    image, mask = (
        torch.rand(count, 3, 128, 128, generator=generator),
        torch.zeros(count, 1, 128, 128),
    )
    for number, side in zip(range(count), (16, 96, 24, 80), strict=False):
        mask[number, :, 16 : 16 + side, 16 : 16 + side] = 1
        image[number] *= (0.1, 1.0)[number % 2]
    return Batch(torch.arange(count), image, mask, torch.linspace(0.1, 0.9, count))


class StaticDdp(DistributedDataParallel):
    """As on GPUs."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options | {"static_graph": True})


def step_together(rank: int, folder: str) -> None:
    torch.set_num_threads(1)
    step.DistributedDataParallel = StaticDdp  # type: ignore[misc]
    for name, config in all_configs(Path(folder)).items():
        stage = a_stage(config)
        state = initial_state(stage, config.optimizer, config.compute)
        take = step.TrainStep(
            stage,
            state,
            torch.device("cpu"),
            optimizer=config.optimizer,
            compute=config.compute,
            accumulate=1,
        )
        for number in range(2):
            batch = a_batch(10 * number + rank)
            if name.startswith("pointer") and rank == number:
                # On one rank no photograph has a known cell to point at.
                batch.mask[:, :, ::8] = 1
            take(batch)
            state.step += 1
        for network in (stage.generator, stage.discriminator):
            for key, weights in network.named_parameters():
                both = [torch.empty_like(weights) for _ in range(2)]
                dist.all_gather(both, weights.detach())
                assert torch.equal(*both), f"{name}: {key} differs between the ranks"


@pytest.mark.slow
def test_ranks_have_the_same_weights_after_two_steps_as_on_gpus(tmp_path: Path) -> None:
    run_ranks(2, step_together, str(tmp_path))


def gradients(stage: Stage, batch: Batch, parts: int, at: int) -> dict[str, torch.Tensor]:
    """Of both networks, as a step in so many parts adds them up; step ``at`` of its schedule."""
    networks = {"generator": stage.generator, "discriminator": stage.discriminator}
    for network in networks.values():
        # Batch norm sees a part.
        network.zero_grad()
        network.eval()
    stage.discriminator.requires_grad_(False)
    outputs = []
    for part in step.split(batch, parts):
        outputs.append(stage.generate(stage.generator, part, at))
        losses = stage.generator_losses(outputs[-1], stage.discriminator)
        (sum_of(losses.values()) / parts).backward()  # type: ignore[no-untyped-call]
    stage.discriminator.requires_grad_(True)
    for output in outputs if stage.weights.adversarial else ():
        losses = stage.discriminator_losses(output.detached(), stage.discriminator)
        (sum_of(losses.values()) / parts).backward()  # type: ignore[no-untyped-call]
    found = {
        name: [weight.grad.flatten() for weight in network.parameters() if weight.grad is not None]
        for name, network in networks.items()
    }
    return {name: torch.cat(parts) for name, parts in found.items() if parts}


@pytest.mark.parametrize("kind", get_args(AdversarialLoss))
@pytest.mark.slow
def test_parts_of_a_step_give_the_gradients_of_the_whole(
    tmp_path: Path, kind: AdversarialLoss
) -> None:
    """Holes of all sizes in light and dark photographs: each counts the same in any batch."""
    for name, config in all_configs(tmp_path).items():
        weights = dataclasses.replace(config.losses, kind=kind, pixels=1.0)
        stage = a_stage(dataclasses.replace(config, losses=weights))
        batch = a_batch(1, count=4)
        whole = gradients(stage, batch, 1, 10**6)
        assert whole, name
        for parts in (2, 4):
            found = gradients(stage, batch, parts, 10**6)
            for network, gradient in whole.items():
                apart = (found[network] - gradient).norm() / gradient.norm()
                assert apart < 1e-3, f"{name}: {network} in {parts} parts"

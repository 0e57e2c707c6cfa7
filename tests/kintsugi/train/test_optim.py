"""What surrounds an optimiser's step: warm-up, clipping, scaling and the running mean."""

import math

import pytest
import torch
from torch import nn

from kintsugi.config.sections import OptimizerSection
from kintsugi.train.optim import Update, mean_of, scaler_for, update_ema

CPU = torch.device("cpu")


def line(value: float) -> nn.Linear:
    network = nn.Linear(2, 1)
    nn.init.constant_(network.weight, value)
    nn.init.constant_(network.bias, value)
    return network


def plain_update(network: nn.Module, settings: OptimizerSection) -> Update:
    return Update(torch.optim.SGD(network.parameters(), 1.0), 0.5, settings)


def test_the_learning_rate_rises_over_the_warm_up_and_then_stays() -> None:
    update = plain_update(line(0.0), OptimizerSection(warmup_steps=4))
    rates = []
    for number in (0, 1, 3, 4, 99):
        update.step(number, scaler_for(CPU, "float32"))
        rates.append(update.optimizer.param_groups[0]["lr"])
    assert rates == [0.125, 0.25, 0.5, 0.5, 0.5]


def test_the_learning_rate_halves_again_and_again_after_the_warm_up() -> None:
    update = plain_update(line(0.0), OptimizerSection(warmup_steps=4, half_life_steps=10))
    rates = []
    for number in (0, 4, 14, 24):
        update.step(number, scaler_for(CPU, "float32"))
        rates.append(update.optimizer.param_groups[0]["lr"])
    assert rates == [0.125, 0.5, 0.25, 0.125]


@pytest.mark.parametrize(("clip", "moved"), [(0.0, 5.0), (1.0, 1.0), (50.0, 5.0)])
def test_a_long_gradient_is_shortened_and_its_own_length_reported(
    clip: float, moved: float
) -> None:
    network = line(0.0)
    network.weight.grad, network.bias.grad = torch.tensor([[3.0, 0.0]]), torch.tensor([4.0])
    norm = plain_update(network, OptimizerSection(clip_norm=clip)).step(
        0, scaler_for(CPU, "float32")
    )
    assert norm == pytest.approx(5)
    weights = torch.cat([network.weight.flatten(), network.bias])
    assert weights.norm().item() == pytest.approx(0.5 * moved, rel=1e-4)


def test_a_gradient_that_overflowed_in_float16_changes_nothing_but_the_scale() -> None:
    network, scaler = line(1.0), scaler_for(CPU, "float16")
    update = plain_update(network, OptimizerSection())
    scaler.scale(network(torch.ones(1, 2)).sum()).backward()
    assert network.bias.grad is not None
    network.bias.grad.fill_(math.inf)
    scale = scaler.get_scale()
    assert not math.isfinite(update.step(0, scaler))
    scaler.update()
    assert torch.equal(network.weight, torch.ones(1, 2))
    assert scaler.get_scale() == scale / 2


def test_float16_gradients_are_unscaled_before_they_are_measured() -> None:
    network, scaler = line(1.0), scaler_for(CPU, "float16")
    update = plain_update(network, OptimizerSection())
    scaler.scale(network(torch.ones(1, 2)).sum()).backward()
    assert update.step(0, scaler).item() == pytest.approx(math.sqrt(3))


def test_the_running_mean_follows_faster_at_first() -> None:
    average, network = line(0.0), line(1.0)
    update_ema(average, network, decay=0.99, step=0)
    assert average.weight[0, 0].item() == pytest.approx(0.9)
    for step in range(1, 2000):
        update_ema(average, network, decay=0.99, step=step)
    assert average.weight[0, 0].item() == pytest.approx(1)
    update_ema(average, line(0.0), decay=0.99, step=2000)
    assert average.weight[0, 0].item() == pytest.approx(0.99)


def test_the_running_mean_has_the_statistics_of_the_network() -> None:
    average, network = nn.BatchNorm1d(2), nn.BatchNorm1d(2)
    network(torch.tensor([[1.0, 2.0], [3.0, 8.0]]))
    update_ema(average, network, decay=0.99, step=5)
    assert torch.equal(average.running_mean, network.running_mean)
    assert torch.equal(average.num_batches_tracked, network.num_batches_tracked)


def test_losses_of_parts_are_their_mean_without_gradient() -> None:
    parts = [{"a": torch.tensor(value, requires_grad=True)} for value in (1.0, 3.0)]
    mean = mean_of(parts)["a"]
    assert mean == 2
    assert not mean.requires_grad

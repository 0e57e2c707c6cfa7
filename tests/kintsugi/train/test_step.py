"""One step of both networks comes to the same, however it is computed."""

import dataclasses
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from kintsugi.config.run_config import JobConfig
from kintsugi.config.sections import ComputeSection, LossSection
from kintsugi.data.batches import Batch
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.runs.checkpoints import TrainState
from kintsugi.stages.stage1 import Stage1
from kintsugi.train.loop import initial_state
from kintsugi.train.optim import scaler_for
from kintsugi.train.step import TrainStep, split
from tests.kintsugi.training_runs import debug_config, setup_of

CPU = torch.device("cpu")
FIELDS = ("keys", "image", "mask", "draw")


@pytest.fixture(scope="module")
def encoder() -> Vgg19Relu3:
    return Vgg19Relu3.random(0)


@pytest.fixture
def batch() -> Batch:
    image = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    mask = torch.zeros(2, 1, 64, 64)
    mask[:, :, 16:40, 20:40] = 1
    return Batch(torch.arange(2), image, mask, torch.tensor([0.1, 0.9]))


def take_step(
    config: JobConfig, encoder: Vgg19Relu3, batch: Batch, steps: int = 1
) -> tuple[dict[str, float], TrainState]:
    stage = Stage1(setup_of(config, encoder))
    state = initial_state(stage, config.optimizer, config.compute)
    step = TrainStep(
        stage,
        state,
        CPU,
        optimizer=config.optimizer,
        compute=config.compute,
        accumulate=config.loop.accumulate,
    )
    for _ in range(steps):
        figures = step(batch)
        state.step += 1
    return {name: value.item() for name, value in figures.items()}, state


def computing(config: JobConfig, **compute: object) -> JobConfig:
    return dataclasses.replace(config, compute=ComputeSection(**compute))  # type: ignore[arg-type]


def test_a_step_names_every_loss_and_gradient(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch
) -> None:
    figures, _ = take_step(debug_config(tmp_path), encoder, batch)
    assert list(figures) == [
        "loss/perceptual",
        "loss/adversarial",
        "loss/discriminator",
        "grad_norm/generator",
        "grad_norm/discriminator",
    ]
    assert min(figures.values()) > 0


def test_without_an_adversarial_loss_the_discriminator_is_left_alone(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch
) -> None:
    config = debug_config(tmp_path)
    alone = dataclasses.replace(config, losses=LossSection(adversarial=0.0, pixels=2.0))
    figures, state = take_step(alone, encoder, batch)
    assert list(figures) == ["loss/perceptual", "loss/pixels", "grad_norm/generator"]
    fresh = Stage1(setup_of(alone, encoder)).discriminator.state_dict()
    trained = state.networks["discriminator"].state_dict()
    assert all(torch.equal(fresh[name], trained[name]) for name in fresh)


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
@pytest.mark.slow
def test_half_precision_is_near_and_keeps_weights_in_float32(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch, precision: str
) -> None:
    config = debug_config(tmp_path)
    exact, _ = take_step(config, encoder, batch)
    figures, state = take_step(computing(config, precision=precision), encoder, batch)
    assert figures != exact
    for name in ("loss/perceptual", "loss/adversarial", "loss/discriminator"):
        assert figures[name] == pytest.approx(exact[name], rel=0.1), name
    assert (state.scaler is not None) == (precision == "float16")
    for network in state.networks.values():
        assert all(parameter.dtype == torch.float32 for parameter in network.parameters())


@pytest.mark.slow
def test_float16_finds_a_scale_at_which_no_gradient_overflows(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch
) -> None:
    config = computing(debug_config(tmp_path), precision="float16")
    figures, state = take_step(config, encoder, batch, steps=8)
    assert all(map(math.isfinite, figures.values()))
    assert state.scaler is not None
    assert 1 <= state.scaler.get_scale() < scaler_for(CPU, "float16").get_scale()


@pytest.mark.slow
def test_channels_last_changes_the_layout_and_no_more_than_rounding(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch
) -> None:
    config = debug_config(tmp_path)
    exact, _ = take_step(config, encoder, batch)
    figures, state = take_step(computing(config, channels_last=True), encoder, batch)
    for weight in state.networks["generator"].parameters():
        if weight.dim() == 4:
            assert weight.is_contiguous(memory_format=torch.channels_last)
    for name, value in figures.items():
        assert value == pytest.approx(exact[name], rel=1e-3), name


@pytest.mark.slow
def test_the_running_mean_is_behind_the_generator(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch
) -> None:
    config = debug_config(tmp_path)
    averaging = dataclasses.replace(config.optimizer, ema_decay=0.9)
    _, plain = take_step(config, encoder, batch, steps=2)
    _, state = take_step(dataclasses.replace(config, optimizer=averaging), encoder, batch, steps=2)
    assert plain.average is None
    assert state.average is not None
    first = Stage1(setup_of(config, encoder)).generator.state_dict()
    for name, mean in state.average.named_parameters():
        now = state.networks["generator"].state_dict()[name]
        assert torch.equal(now, plain.networks["generator"].state_dict()[name])
        low, high = torch.minimum(first[name], now), torch.maximum(first[name], now)
        assert not torch.equal(mean, now), name
        assert not mean.requires_grad
        # Adam may turn back in its second step: then the mean lies a little outside.
        assert ((mean >= low - 1e-3) & (mean <= high + 1e-3)).all(), name


def test_a_batch_is_split_without_loss(batch: Batch) -> None:
    first, second = split(batch, 2)
    for name in FIELDS:
        joined = torch.cat([getattr(first, name), getattr(second, name)])
        assert torch.equal(joined, getattr(batch, name))
    assert len(first.image) == 1


@pytest.mark.slow
def test_a_compiled_generator_trains_alike_and_keeps_its_names(
    tmp_path: Path, encoder: Vgg19Relu3, batch: Batch
) -> None:
    config = debug_config(tmp_path)
    exact, plain = take_step(config, encoder, batch)
    save_file(dict(zip(FIELDS, batch.parts(), strict=True)), tmp_path / "batch.safetensors")
    # In a process of its own: the checks of shapes that tests add cannot be compiled.
    done = subprocess.run(
        [sys.executable, "-c", COMPILED, str(tmp_path)],
        # Compiled there, not in a pool of further processes.
        env={
            **os.environ,
            "PYTHONPATH": os.pathsep.join(sys.path),
            "TORCHINDUCTOR_COMPILE_THREADS": "1",
        },
        capture_output=True,
        text=True,
        check=True,
    )
    figures, names = json.loads(done.stdout.splitlines()[-1])
    assert figures != exact
    for name, value in figures.items():
        assert value == pytest.approx(exact[name], rel=1e-3), name
    assert names == list(plain.networks["generator"].state_dict())


COMPILED = """
import json, sys
from pathlib import Path
from safetensors.torch import load_file
from kintsugi.data.batches import Batch
from kintsugi.models.networks.vgg import Vgg19Relu3
from tests.kintsugi.train.test_step import FIELDS
from tests.kintsugi.train.test_step import computing
from tests.kintsugi.train.test_step import take_step
from tests.kintsugi.training_runs import debug_config, setup_of
folder = Path(sys.argv[1])
parts = load_file(folder / "batch.safetensors")
batch = Batch(*(parts[name] for name in FIELDS))
config = computing(debug_config(folder), compile=True)
figures, state = take_step(config, Vgg19Relu3.random(0), batch)
print(json.dumps([figures, list(state.networks["generator"].state_dict())]))
"""

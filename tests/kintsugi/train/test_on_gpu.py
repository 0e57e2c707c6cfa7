"""Every stage on a GPU, without one: devices, types, what is launched and what waits for it."""

import dataclasses
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from kintsugi.config.run_config import JobConfig
from kintsugi.models.build import build_generator
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.stages.base.registry import stage_spec
from kintsugi.stages.base.stage import Stage
from kintsugi.train.loop import initial_state
from kintsugi.train.step import TrainStep
from tests.counted_operations import CountedOperations
from tests.kintsugi.train.fake_gpu import GPU, fake_gpu, gpu_batch, to_gpu
from tests.kintsugi.training_runs import debug_config, setup_of

# Stages, and how often each looks at its match.
LOOKS = {"initial_fill": 0, "stage1": 0, "stage2": 4, "end_to_end": 4, "context_encoder": 0}
NORMS = ("batch", "spectral")
ROOT = Path(__file__).parents[3]


def config_of(folder: Path, stage: str, norm: str, **compute: Any) -> JobConfig:
    config = debug_config(folder, stage.replace("_", "-"))
    matching: dict[str, Any] = {"keys": "matched-standardised", "guard": 3, "repeats": 3}
    if stage == "stage2":
        matching |= {"prediction_share": 0.5, "truth_steps": 0, "ramp_steps": 0}
    return dataclasses.replace(
        config,
        stage=stage,
        model=dataclasses.replace(config.model, discriminator_norm=norm),
        compute=dataclasses.replace(config.compute, **compute),
        translate=dataclasses.replace(config.translate, **matching),
    )


def stage_of(config: JobConfig) -> Stage:
    setup = setup_of(config, Vgg19Relu3.random(0), build_generator(config.model, seed=1))
    return stage_spec(config.stage).build(setup)


def step_of(stage: Stage, config: JobConfig, device: torch.device = GPU) -> TrainStep:
    return TrainStep(
        stage,
        initial_state(stage, config.optimizer, config.compute),
        device,
        optimizer=config.optimizer,
        compute=config.compute,
        accumulate=1,
    )


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("stage", LOOKS)
def test_a_step_stays_on_its_device_and_waits_for_no_number(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stage: str, precision: str, norm: str
) -> None:
    """What would ask the GPU for a number is an error there, but for the looks of the match."""
    config = config_of(tmp_path, stage, norm, precision=precision)
    built, draw = stage_of(config), torch.tensor([0.1, 0.9])
    with fake_gpu(monkeypatch) as looks:
        to_gpu(built, config)
        step = step_of(built, config)
        if precision == "float16":
            # It looks once whether a gradient overflowed: float16 cannot do without.
            scaler = step._scaler
            monkeypatch.setattr(scaler, "step", lambda optimizer: optimizer.step())
            monkeypatch.setattr(scaler, "unscale_", lambda optimizer: None)
            monkeypatch.setattr(scaler, "update", lambda: None)
        monkeypatch.setattr(step._generator_update, "clear", lambda: None)
        monkeypatch.setattr(step._discriminator_update, "clear", lambda: None)
        with CountedOperations() as counted:
            figures = step(gpu_batch(config, draw))
    assert {figure.device for figure in figures.values()} == {GPU}
    assert {f.dtype for name, f in figures.items() if name.startswith("loss/")} == {torch.float32}
    assert looks.count == LOOKS[stage]
    assert counted.looked == 0, counted.looks


def test_stage_2_launches_as_much_for_any_batch(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Prediction, encoder, four matches with their blur, and the generator."""
    config = config_of(tmp_path, "stage2", "spectral")
    built = stage_of(config)
    launched = []
    draws = [torch.zeros(size) for size in (1, 8)]
    with fake_gpu(monkeypatch):
        to_gpu(built, config)
        for draw in draws:
            with CountedOperations() as counted, torch.no_grad():
                built.generate(built.generator, gpu_batch(config, draw), 0)
            launched.append(counted.operations)
    # Of one photograph a copy or two are views.
    assert launched[1] <= launched[0] + 2 <= 850, counted.launched


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_compiled_networks_have_no_break(tmp_path: Path) -> None:
    """In a process of its own: the checks of shapes that tests add cannot be compiled."""
    code = """
import dataclasses, sys, torch
from pathlib import Path
from kintsugi.data.batches import Batch
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.stages.base.registry import stage_spec
from kintsugi.stages.base.stage import Stage
from kintsugi.train.loop import initial_state
from kintsugi.train.step import TrainStep, compile_networks
from tests.kintsugi.train.test_on_gpu import LOOKS, config_of, stage_of, step_of
mask = torch.zeros(2, 1, 128, 128)
mask[:, :, 40:80, 40:90] = 1
batch = Batch(torch.arange(2), torch.rand(2, 3, 128, 128), mask, torch.tensor([0.1, 0.9]))
for stage, norm in zip(LOOKS, ("batch", "spectral", "batch", "spectral", "batch")):
    torch._dynamo.reset()
    config = config_of(Path(sys.argv[1]), stage, norm, precision="bfloat16")
    built = stage_of(config)
    step = step_of(built, config, torch.device("cpu"))
    compile_networks(built, backend="eager")
    step(batch)
    print(stage, "whole")
"""
    paths = {"PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}"}
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path)],
        env=os.environ | paths,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.stdout.split() == [word for stage in LOOKS for word in (stage, "whole")], (
        done.stderr[-3000:]
    )

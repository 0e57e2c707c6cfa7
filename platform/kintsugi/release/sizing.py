"""How long and on what a `recommended` release trains: photographs and machine to a configuration,
hours and cost. Estimates; reads no photograph and trains nothing."""

import json
import os
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from kintsugi.config.run_config import JobConfig
from kintsugi.data.shard_manifest import MANIFEST_NAME, read_manifest
from kintsugi.data.splits import TRAIN, is_held_out
from kintsugi.imaging.formats import is_photo
from kintsugi.storage.storage import Storage

SIZE_NAME = "size.json"
# What one crop takes, forwards and back, by PyTorch's counter: see the comments of jobs/configs.
GFLOP = {"initial_fill": 1.8, "stage1": 137.0, "stage2": 174.0}
# The same of an encoder's crop of 96 px: VGG19 to relu3_1 for the teacher, and three times that.
_ENCODER_GFLOP, ENCODER_BATCH = 8.3, 8
# What one photograph takes under one set of masks, filled by the release and by a rival, and
# measured: seconds of two CPU cores (docs/lab.md). The search runs there with a GPU, too.
_EVALUATED_SECONDS = 2.0
# A photograph gives so many different crops and holes before training repeats itself. The least
# is what a stage needs to converge at all; the most is what the configurations say.
CROPS_OF_ONE = 480
LEAST_CROPS = 60_000
# With fewer photographs it is better to train the bundled release on.
FEW_PHOTOGRAPHS = 2_000
# What training reaches of the rate of one large convolution, layers of all sizes taken together.
REACHED = 0.4
# An A100 in bfloat16; assumed of a GPU that is elsewhere, measured of one that is here.
SUSTAINED_TFLOPS = 30.0
# GiB of a GPU with which a batch of 16 crops fits, and a half and a quarter of it.
_BATCHES = ((20.0, 1), (10.0, 2), (0.0, 4))
# Decoded crops a second of one CPU core, as there.
_DECODED = 40.0


@dataclass(frozen=True)
class Machine:
    """What trains.

    Attributes:
        gpus: How many; 0 trains on the CPU.
        name: What one of them is called; "CPU" without one.
        gpu_gib: Memory of one; 0 where that is not known.
        cores: CPU cores, all together.
        tflops: The sustained rate of one GPU, or of the CPU.
    """

    gpus: int
    name: str
    gpu_gib: float
    cores: int
    tflops: float


@dataclass(frozen=True)
class Around:
    """What a pipeline does besides its stages.

    Attributes:
        encoder_steps: Of an encoder that is trained first; 0: none is.
        evaluated: Photographs on which the candidate is evaluated.
        mask_sets: Sets of masks with which each of them is.
    """

    encoder_steps: int = 0
    evaluated: int = 0
    mask_sets: int = 0

    def lines(self, machine: Machine) -> dict[str, tuple[str, float]]:
        """By step what it does and its hours, about; on one GPU, where there are several."""
        found = dict[str, tuple[str, float]]()
        if self.encoder_steps:
            crops = self.encoder_steps * ENCODER_BATCH
            work = f"{crops:,} crops in {self.encoder_steps:,} steps of {ENCODER_BATCH}"
            found["encoder"] = (
                work,
                _hours_of(crops, _ENCODER_GFLOP, replace(machine, gpus=min(1, machine.gpus))),
            )
        if self.evaluated:
            one = "photograph" if self.evaluated == 1 else "photographs"
            sets = "set of masks" if self.mask_sets == 1 else "sets of masks"
            work = f"{self.evaluated:,} {one} with {self.mask_sets} {sets}"
            seconds = _EVALUATED_SECONDS * self.evaluated * self.mask_sets
            found["evaluation"] = work, seconds / 3600
        return found


@dataclass(frozen=True)
class Size:
    """How a release is trained.

    Attributes:
        photographs: How many are trained on.
        machine: What it is trained on.
        crops: How many each stage sees.
        settings: What each stage's configuration is changed to.
        hours: How long each stage takes, about.
        price: Dollars an hour of one GPU.
        around: What else is done.
    """

    photographs: int
    machine: Machine
    crops: dict[str, int]
    settings: dict[str, dict[str, Any]]
    hours: dict[str, float]
    price: float
    around: Around = Around()

    @property
    def all_hours(self) -> float:
        """Of everything, one after the other."""
        around = self.around.lines(self.machine).values()
        return sum(self.hours.values()) + sum(hours for _, hours in around)

    @property
    def cost(self) -> float:
        """In dollars, about; 0 without GPUs. All of them are paid for until the end."""
        return self.all_hours * self.machine.gpus * self.price

    def lines(self) -> list[str]:
        """For people, before it starts."""
        machine = self.machine
        many = f"{machine.gpus} x {machine.name}" if machine.gpus else machine.name
        memory = f", {machine.gpu_gib:.0f} GiB each" if machine.gpu_gib else ""
        around = {
            step: f"{step}: {work}, {_duration(hours)}"
            for step, (work, hours) in self.around.lines(machine).items()
        }
        said = [
            f"{self.photographs:,} photographs; {many}{memory}, {machine.cores} CPU cores, about"
            f" {machine.tflops:.3g} TFLOP/s each",
            *([around["encoder"]] if "encoder" in around else []),
            *(
                f"{stage}: {self._steps(stage)}, {_duration(self.hours[stage])}"
                for stage in self.crops
            ),
            *([around["evaluation"]] if "evaluation" in around else []),
        ]
        total = f"in all {_duration(self.all_hours)}"
        if machine.gpus:
            total += f", about {self.cost:.2f} dollars at {self.price:g} an hour of a GPU"
        else:
            on_gpu = Machine(1, "", 0.0, machine.cores, SUSTAINED_TFLOPS)
            hours = {stage: _hours(stage, crops, on_gpu) for stage, crops in self.crops.items()}
            faster = replace(self, machine=on_gpu, hours=hours)
            total += f"; with one GPU {_duration(faster.all_hours)}"
        said.append(total)
        if self.photographs < FEW_PHOTOGRAPHS:
            said.append(
                f"{self.photographs:,} photographs are few for a release of their own: kintsugi"
                " finetune small PHOTOS trains the bundled one on, in minutes on a GPU and hours on"
                " a CPU"
            )
        return said

    def _steps(self, stage: str) -> str:
        settings = self.settings[stage]
        steps, batch = settings["loop.max_steps"], settings["loop.batch_size"]
        return f"{self.crops[stage]:,} crops in {steps:,} steps of {batch}"


def sized(
    photographs: int,
    machine: Machine,
    configs: Mapping[str, JobConfig],
    price: float,
    around: Around = Around(),
) -> Size:
    """Fit the stages' configurations to what is there.

    Args:
        photographs: How many are trained on.
        machine: What trains.
        configs: By stage, for large sets of photographs and a GPU.
        price: Dollars an hour of one GPU.
        around: What else is done.
    """
    crops, settings, hours = dict[str, int](), dict[str, dict[str, Any]](), dict[str, float]()
    for stage, config in configs.items():
        whole = config.loop.max_steps * config.loop.batch_size
        crops[stage] = min(whole, max(LEAST_CROPS, CROPS_OF_ONE * photographs))
        settings[stage] = _settings(config, crops[stage], photographs, machine)
        hours[stage] = _hours(stage, crops[stage], machine)
    return Size(photographs, machine, crops, settings, hours, price, around)


def _hours(stage: str, crops: int, machine: Machine) -> float:
    return _hours_of(crops, GFLOP[stage], machine)


def _hours_of(crops: int, gflop: float, machine: Machine) -> float:
    computed = crops * gflop / 1e3 / (machine.tflops * max(1, machine.gpus))
    decoded = crops / _DECODED / machine.cores
    # Both at one time where a GPU computes; the same cores do both where none does.
    return (max(computed, decoded) if machine.gpus else computed + decoded) / 3600


def _settings(config: JobConfig, crops: int, photographs: int, machine: Machine) -> dict[str, Any]:
    share = next(share for gib, share in _BATCHES if (machine.gpu_gib or 80.0) >= gib)
    batch = max(1, min(config.loop.batch_size // share, photographs // max(1, machine.gpus)))
    workers = max(1, machine.gpus)
    steps = -(-crops // (batch * workers))
    shorter = steps / config.loop.max_steps

    def scaled(value: int) -> int:
        return max(1, round(value * min(1.0, shorter))) if value else 0

    values: dict[str, Any] = {
        "loop.max_steps": steps,
        "loop.batch_size": batch,
        "loop.checkpoint_every": scaled(config.loop.checkpoint_every),
        "loop.sample_every": scaled(config.loop.sample_every),
        "loop.log_every": scaled(config.loop.log_every),
        "optimizer.warmup_steps": scaled(config.optimizer.warmup_steps),
        "optimizer.half_life_steps": scaled(config.optimizer.half_life_steps),
        "translate.truth_steps": scaled(config.translate.truth_steps),
        "translate.ramp_steps": scaled(config.translate.ramp_steps),
        "workers.count": workers,
        "data.tasks": max(1, min(config.data.tasks, machine.cores // workers - 1)),
    }
    if not machine.gpus:
        # Half precision is slower where it is not built in.
        values |= {"workers.use_gpu": "false", "compute.precision": '"float32"'}
    return values


def this_machine(gpus: int = 0, cores: int = 0, tflops: float = 0) -> Machine:
    """What trains: what is here, or as many GPUs and cores as a cluster has.

    Args:
        gpus: How many; 0: those that are found here.
        cores: How many of the CPU; 0: likewise.
        tflops: The sustained rate; 0: measured here, or an A100's where the GPUs are elsewhere.
    """
    import torch

    cores, found, name, gib = cores or os.cpu_count() or 1, 0, "CPU", 0.0
    if torch.cuda.is_available():
        found = torch.cuda.device_count()
        name = torch.cuda.get_device_name(0)
        gib = torch.cuda.get_device_properties(0).total_memory / 2**30
    count = gpus or found
    if count and not torch.cuda.is_available():
        return Machine(count, "GPU elsewhere", 0.0, cores, tflops or SUSTAINED_TFLOPS)
    return Machine(count, name, gib, cores, tflops or REACHED * _rate())


def photographs_of(photos: str, shards: str, held_out: float) -> int:
    """How many are trained on: as the shards say, else by the names in the folder.

    Args:
        photos: URI of a folder of photographs; "" where there are shards.
        shards: URI of a folder of shards, which need not exist.
        held_out: Share that is kept out, 0 to below 1.

    Raises: StorageError: neither can be read.
    """
    place = Storage(shards)
    if place.exists(MANIFEST_NAME):
        return sum(part.rows for part in read_manifest(place).only(TRAIN))
    names = filter(is_photo, Storage(photos).list()) if photos else ()
    return sum(not is_held_out(name, held_out) for name in names)


def kept_size(home: str) -> dict[str, dict[str, Any]] | None:
    """The settings with which a pipeline began, so that it goes on with them; None for none."""
    place = Storage(home)
    if not place.exists(SIZE_NAME):
        return None
    found: dict[str, dict[str, Any]] = json.loads(place.read(SIZE_NAME))["settings"]
    return found


def keep_size(home: str, size: Size) -> None:
    """Write it next to the runs."""
    Storage(home).write(SIZE_NAME, json.dumps(asdict(size), indent=1).encode())


def _rate() -> float:
    """TFLOP/s of one convolution of a stage's usual size, by the fastest of a few."""
    import torch
    from torch.nn import functional as F

    on_gpu = torch.cuda.is_available()
    device, kind = ("cuda", torch.bfloat16) if on_gpu else ("cpu", torch.float32)
    side, channels, batch = (64, 256, 16) if on_gpu else (64, 128, 2)
    cells = torch.randn(batch, channels, side, side, device=device, dtype=kind)
    weights = torch.randn(channels, channels, 3, 3, device=device, dtype=kind)
    best = float("inf")
    with torch.inference_mode():
        for _ in range(5):
            began = time.perf_counter()
            F.conv2d(cells, weights, padding=1)
            if on_gpu:
                torch.cuda.synchronize()
            best = min(best, time.perf_counter() - began)
    return 2 * batch * channels * channels * 9 * side * side / best / 1e12


def _duration(hours: float) -> str:
    if hours < 1:
        return f"about {max(1, round(60 * hours))} minutes"
    return f"about {hours:.1f} hours" if hours < 48 else f"about {hours / 24:.1f} days"

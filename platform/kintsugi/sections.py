"""The sections of a run's configuration: their keys, defaults, units and limits; reads no file.

Every section is a frozen dataclass, and each part of the program receives only its own.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from pydantic import ConfigDict

from kintsugi.errors import ConfigError
from kintsugi.masks import draw_mask
from models.build import ModelConfig

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


@dataclass(frozen=True)
class ModelSection(ModelConfig):
    """Architecture; see `models.build.ModelConfig`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True)
class DataSection:
    """What a run sees."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    shards: str
    # URI of a folder that jobs/write_shards.py wrote.
    photos: str = ""
    # URI of photographs that are packed into `shards` first when that holds none yet;
    # "samples" = those that scikit-image and scikit-learn ship.
    crop_px: int = 256
    # Side of the square training crops; a multiple of 8, at least 128.
    resize_px: int = 286
    # The shorter side that photographs are brought to before the crop.
    masks: tuple[str, ...] = ("rectangle", "strokes")
    # Kinds of hole, drawn with equal share.
    shuffle_parts: int = 4
    # Shards whose rows are mixed with one another; a read holds so many in memory.
    tasks: int = 4
    # Reading tasks of Ray Data at one time per worker; each is a process.

    def __post_init__(self) -> None:
        if self.crop_px % 8 or self.crop_px < 128:
            raise ValueError(f"crop_px={self.crop_px}: a multiple of 8, at least 128")
        if self.resize_px < self.crop_px:
            raise ValueError(
                f"resize_px={self.resize_px} is smaller than crop_px={self.crop_px}:"
                " choose it at least as large"
            )
        if not self.masks:
            raise ValueError("masks is empty: name at least one kind of hole")
        for kind in self.masks:
            try:
                # A hole that leaves nothing of the crop is refused here, not in a worker.
                draw_mask(kind, self.crop_px, self.crop_px, np.random.default_rng(0))
            except ConfigError as error:
                raise ValueError(f"masks: {error}") from error
        _check_at_least(self, 1, "shuffle_parts", "tasks")


@dataclass(frozen=True)
class LossSection:
    """Weights of the losses (paper section 4.1: 10 and 1)."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    perceptual: float = 10.0
    adversarial: float = 1.0
    overlap_cells: int = 2
    # Width of the heavier band of M_F inside the hole's edge, in feature cells; stage 1.
    overlap: float = 10.0
    # Weight in that band; 1 elsewhere in the hole.

    def __post_init__(self) -> None:
        _check_at_least(self, 0, "perceptual", "adversarial", "overlap_cells", "overlap")


@dataclass(frozen=True)
class OptimizerSection:
    """Adam for both networks."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    generator_lr: float = 2e-3
    discriminator_lr: float = 2e-4
    beta1: float = 0.5
    beta2: float = 0.999

    def __post_init__(self) -> None:
        for name in ("generator_lr", "discriminator_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: more than 0, for example 2e-4")
        for name in ("beta1", "beta2"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: 0 to below 1")


@dataclass(frozen=True)
class LoopSection:
    """How long, and how often what is written; all in optimiser steps."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_steps: int
    batch_size: int = 8
    # Photographs per worker and step.
    log_every: int = 10
    checkpoint_every: int = 500
    # Also after the last step.
    sample_every: int = 500
    # A picture of fixed photographs: input, fill, truth. 0 = never.
    keep_checkpoints: int = 2

    def __post_init__(self) -> None:
        _check_at_least(
            self, 1, "max_steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"
        )
        _check_at_least(self, 0, "sample_every")


@dataclass(frozen=True)
class WorkersSection:
    """Where it runs: one process per worker, joined by DDP."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    count: int = 1
    cpus: float = 0.5
    # Logical CPUs that Ray sets aside per worker. The rest is for reading data: at least
    # one must be left.
    use_gpu: bool = False
    # One GPU per worker, NCCL between them; else CPU and gloo.
    threads: int = 2
    # PyTorch's threads per worker on the CPU.
    max_failures: int = 3
    # Lost workers or nodes that a run survives by itself, from the last checkpoint.

    def __post_init__(self) -> None:
        _check_at_least(self, 1, "count", "threads")
        _check_at_least(self, 0, "max_failures")
        if self.cpus <= 0:
            raise ValueError(f"cpus={self.cpus}: more than 0, for example 0.5")


@dataclass(frozen=True)
class TranslateSection:
    """What only stage 2 has."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    stage1: str = ""
    # URI of the stage 1 run (or of a release) whose predictions are mixed in.
    prediction_share: float = 0.0
    # Share of samples whose features come from stage 1's prediction instead of the truth.
    guard: int = 0
    # Cells around the hole that are not copied from.

    def __post_init__(self) -> None:
        _check_at_least(self, 0, "guard")
        if not 0 <= self.prediction_share <= 1:
            raise ValueError(f"prediction_share={self.prediction_share}: 0 to 1")
        if self.prediction_share > 0 and not self.stage1:
            raise ValueError(
                f"prediction_share={self.prediction_share} needs predictions: name the stage 1"
                " run or a release in stage1"
            )


def _check_at_least(section: object, least: int, *names: str) -> None:
    for name in names:
        value = getattr(section, name)
        if value < least:
            raise ValueError(f"{name}={value}: at least {least}")

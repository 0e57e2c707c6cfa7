"""The sections of a run's configuration: their keys, defaults, units and limits; reads no file.

Every section is a frozen dataclass, and each part of the program receives only its own.
"""

from dataclasses import dataclass, field
from typing import ClassVar, Literal

import numpy as np
from pydantic import ConfigDict

from kintsugi.errors import ConfigError
from kintsugi.masks.generators import draw_mask
from kintsugi.masks.sets import names_place
from kintsugi.models.build import ModelConfig
from kintsugi.models.losses import IMAGE_LOSSES, AdversarialLoss
from kintsugi.models.match.keys import KeysKind
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.precision import Precision

STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
MIN_WINDOW_PX = 32


@dataclass(frozen=True)
class ModelSection(ModelConfig):
    """Architecture; see `kintsugi.models.build.ModelConfig`."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT


@dataclass(frozen=True)
class DataSection:
    """What a run sees."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    shards: str
    """URI of a folder that kintsugi shards wrote."""
    photos: str = ""
    """URI of photographs that are packed into `shards` first when that holds none yet; "samples" =
    those that scikit-image and scikit-learn ship."""
    crop_px: int = 256
    """Side of the square training crops; a multiple of 8, at least 128."""
    resize_px: int = 286
    """The shorter side that photographs are brought to before the crop."""
    window_px: int = 0
    """The smallest side of the square that is brought to `crop_px`, drawn for every crop from here
    up to `resize_px`; 0 = always `crop_px`, as it is. Where `crop_px` is the larger one, it is
    enlarged."""
    recolour_share: float = 0.0
    """Share of the crops whose gamma and order of colours are drawn; for small sets of photographs.
    """
    masks: tuple[str, ...] = ("rectangle", "strokes")
    """Kinds of hole, drawn with equal share; named twice, twice as often. What has a slash is the
    path or URI of a folder of mask pictures (white is hole, any size), or of a set that kintsugi
    masks wrote: one of them is cut to the crop. The run keeps those that it began with."""
    shuffle_parts: int = 4
    """Shards whose rows are mixed with one another; a read holds them all in memory."""
    tasks: int = 4
    """Reading tasks of Ray Data at one time per worker; each is a process."""
    task_cpus: float = 1.0
    """Logical CPUs that Ray sets aside per reading task: each keeps one busy."""
    tasks_anywhere: bool = False
    """Reading tasks run on any node with CPUs to spare, for example on those without GPUs; else on
    their worker's node, on CPUs that are set aside together with it."""
    max_corrupt_share: float = 0.001
    """Share of the photographs that may be undecodable before the run ends; another of their shard
    takes their place. 0 = none may."""
    jpeg_draft: bool = False
    """Decode large JPEGs at 1/2, 1/4 or 1/8 of their size, to at least twice `resize_px`, and bring
    to that size only what a crop shows: faster, and not the same to the bit."""
    held_out_share: float = 0.0
    """Share of the photographs that is kept out of training when `photos` are packed; 0 = none, or
    as the shards that are there already have it."""

    def __post_init__(self) -> None:
        for name in ("max_corrupt_share", "held_out_share"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: 0 to below 1, for example 0.01")
        if self.task_cpus <= 0:
            raise ValueError(f"task_cpus={self.task_cpus}: more than 0, for example 1")
        if self.crop_px % 8 or self.crop_px < 128:
            raise ValueError(f"crop_px={self.crop_px}: a multiple of 8, at least 128")
        if self.resize_px < self.crop_px:
            raise ValueError(
                f"resize_px={self.resize_px} is smaller than crop_px={self.crop_px}:"
                " choose it at least as large"
            )
        if self.window_px and not MIN_WINDOW_PX <= self.window_px <= self.resize_px:
            raise ValueError(
                f"window_px={self.window_px}: {MIN_WINDOW_PX} to resize_px={self.resize_px}, or 0"
            )
        if not 0 <= self.recolour_share <= 1:
            raise ValueError(f"recolour_share={self.recolour_share}: 0 to 1")
        if not self.masks:
            raise ValueError("masks is empty: name at least one kind of hole")
        for kind in self.masks:
            if names_place(kind):
                # They are read when a run begins.
                continue
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
    """Weight of the distance of relu3_1 features."""
    adversarial: float = 1.0
    """Weight of the adversarial loss; 0 = the discriminator is never trained."""
    reconstruction: float = 0.999
    """Weight of the difference of pixels; of the context encoder (squared) and the initial fill
    alone: there the difference of colours in the hole, absolute and by the ratio of its root mean
    square, so that even skies count as much as crowds; or how unlike the truth is what a network
    points at."""
    pixels: float = 0.0
    """Weight of the absolute difference of pixels, in the hole (stage 1) or the whole image (stage
    2); the paper has none. With few steps it is what fills converge by."""
    image: dict[str, float] = field(default_factory=dict)
    """Weights of further losses of the image against the truth, by the names of IMAGE_LOSSES in
    models/losses.py: `{ gradients = 0.5 }`; of stage1, stage2 and end_to_end."""
    overlap_cells: int = 2
    """Width of the heavier band of M_F inside the hole's edge, in feature cells of 4 px; stage 1.
    Of the context encoder's band, which lies outside the edge."""
    overlap: float = 10.0
    """Weight in that band; 1 elsewhere in the hole."""
    kind: AdversarialLoss = "log"
    """Form of the adversarial loss: "log" (the paper's, as it trains), "minimax" (the paper's to
    the letter), "lsgan" or "hinge"."""
    fill_perceptual: float = 0.0
    """Weight of the initial fill's difference in the encoder's relu1_1, relu2_1 and relu3_1 at the
    fill's own resolution; 0 = none."""
    feature_matching: float = 0.0
    """Weight of the initial fill's difference in its discriminator's activations; 0 = none. It
    needs an adversarial weight."""

    def __post_init__(self) -> None:
        weights = ("perceptual", "adversarial", "reconstruction", "pixels", "overlap")
        _check_at_least(self, 0, *weights, "overlap_cells", "fill_perceptual", "feature_matching")
        for name, weight in self.image.items():
            if name not in IMAGE_LOSSES or weight < 0:
                raise ValueError(
                    f"image: {name}={weight:g}: a weight of at least 0 of one of"
                    f" {', '.join(IMAGE_LOSSES)}"
                )
        if self.feature_matching and not self.adversarial:
            raise ValueError(
                f"feature_matching={self.feature_matching} needs a discriminator that is trained:"
                " set adversarial above 0"
            )


@dataclass(frozen=True)
class OptimizerSection:
    """Adam for both networks."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    generator_lr: float = 2e-3
    """Adam's learning rate of the generator."""
    discriminator_lr: float = 2e-4
    """Adam's learning rate of the discriminator."""
    beta1: float = 0.5
    """Adam's first decay, of gradients."""
    beta2: float = 0.999
    """Adam's second decay, of squared gradients."""
    warmup_steps: int = 0
    """Steps over which both learning rates rise from near 0 to their value."""
    half_life_steps: int = 0
    """Steps after that in which they halve, again and again; 0 = never."""
    clip_norm: float = 0.0
    """Gradients of a network longer than this are scaled down to it; 0 = never."""
    ema_decay: float = 0.0
    """Per step, of a running mean of the generator's weights, which samples, held-out losses and
    releases then use; 0 = none. 0.999 averages about the last thousand steps."""

    def __post_init__(self) -> None:
        for name in ("generator_lr", "discriminator_lr"):
            if getattr(self, name) <= 0:
                raise ValueError(f"{name}={getattr(self, name)}: more than 0, for example 2e-4")
        _check_at_least(self, 0, "warmup_steps", "half_life_steps", "clip_norm")
        for name in ("beta1", "beta2", "ema_decay"):
            if not 0 <= getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: 0 to below 1")


@dataclass(frozen=True)
class LoopSection:
    """How long, and how often what is written; all in optimiser steps."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    max_steps: int
    """Optimiser steps in all."""
    batch_size: int = 8
    """Photographs per worker and step."""
    global_batch: int = 0
    """Photographs per step of all workers together, the same ones whatever their number: each takes
    its part of them, in as many goes of at most `batch_size` as it needs; a multiple of every
    number of workers that the run may have. 0 = `batch_size` times workers."""
    accumulate: int = 1
    """In how many equal parts a step's photographs go through the networks, one after the other:
    less memory for the same gradients, but for batch norm, which sees a part."""
    log_every: int = 10
    """Steps between two rows of metrics."""
    checkpoint_every: int = 500
    """Steps between two checkpoints; one also after the last step."""
    checkpoint_minutes: float = 0.0
    """Another one so many minutes after the last of these, for runs whose nodes may go; 0 = none.
    It is not measured on held-out photographs."""
    sample_every: int = 500
    """Steps between two pictures of fixed photographs: input, fill, truth; 0 = never."""
    keep_checkpoints: int = 2
    """How many of the newest stay, with the one with the lowest held-out loss."""

    def num_parts(self, photos: int) -> int:
        """In how many equal parts a worker's ``photos`` of a step go through the networks."""
        if not self.global_batch:
            return self.accumulate
        least = -(-photos // self.batch_size)
        return next(parts for parts in range(least, photos + 1) if photos % parts == 0)

    def __post_init__(self) -> None:
        _check_at_least(
            self, 1, "max_steps", "batch_size", "log_every", "checkpoint_every", "keep_checkpoints"
        )
        _check_at_least(self, 0, "sample_every", "checkpoint_minutes")
        _check_at_least(self, 1, "accumulate")
        if self.global_batch < 0:
            raise ValueError(f"global_batch={self.global_batch}: 1 or more, or 0")
        if self.global_batch and self.accumulate > 1:
            raise ValueError(
                f"accumulate={self.accumulate} with global_batch={self.global_batch}: the goes of a"
                " step follow from batch_size; set accumulate to 1"
            )
        if self.batch_size % self.accumulate:
            raise ValueError(
                f"accumulate={self.accumulate} does not divide batch_size={self.batch_size}:"
                " choose a divisor"
            )


@dataclass(frozen=True)
class ComputeSection:
    """In which numbers and layout the networks compute."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    precision: Precision = "float32"
    """Of convolutions and products: "float32", "bfloat16" (where the processor has it in hardware)
    or "float16", which scales its losses (autocast). Weights, losses and the match stay float32."""
    channels_last: bool = False
    """Memory layout with a pixel's channels side by side; faster on most devices."""
    deterministic: bool = False
    """On GPUs: only algorithms that give the same bits every time, so that a run that is resumed
    equals one that was not; slower. On the processor they always do."""
    compile: bool = False
    """Compile the networks' forward and backward pass (torch.compile): minutes at the start,
    faster steps. Losses differ by rounding from those without."""


@dataclass(frozen=True)
class HeldOutSection:
    """Photographs kept out of training, on which every checkpoint is measured."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    photos: int = 0
    """How many of the shards' held-out photographs; 0 = measure nothing. The shards must hold some:
    write_shards.py --held-out 0.02."""
    patience: int = 0
    """Checkpoints in a row without a lower loss (perceptual; of initial fill and context encoder
    the reconstruction), after which a run ends early; 0 = never."""

    def __post_init__(self) -> None:
        _check_at_least(self, 0, "photos", "patience")
        if self.patience and not self.photos:
            raise ValueError(
                f"patience={self.patience} needs a held-out loss: set held_out.photos to 1 or"
                " more, or held_out.patience=0 as well, which measures nothing"
            )


@dataclass(frozen=True)
class TranslateSection:
    """What only stage 2 has."""

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    stage1: str = ""
    """URI of the stage 1 run (or of a release) whose predictions are mixed in."""
    prediction_share: float = 0.0
    """Share of samples whose features come from stage 1's prediction instead of the truth."""
    truth_steps: int = 0
    """Steps on the truth alone before predictions are mixed in."""
    ramp_steps: int = 0
    """Steps over which the share then rises from 0 to its value."""
    guard: int = 0
    """Cells around the hole that are not copied from."""
    keys: KeysKind = "plain"
    """What patches are compared by: "plain" features (the paper), "standardised" ones, those of an
    image whose known side is "matched" to the fill's blur, or "matched-standardised"."""
    repeats: int = 0
    """How often a map is matched again by what was pasted, 0 to 20."""
    colour: float = 0.0
    """How much pixels count against features where patches are compared, 0 to 100; above 0 only
    with model.translator_input = "features+pixels"."""

    @property
    def settled_step(self) -> int:
        """The step from which on a run trains as at its end: its schedule is through."""
        return self.truth_steps + self.ramp_steps if self.prediction_share else 0

    def __post_init__(self) -> None:
        _check_at_least(self, 0, "guard", "truth_steps", "ramp_steps")
        # Checks its own.
        MatchingConfig(keys=self.keys, repeats=self.repeats, colour=self.colour)
        if not 0 <= self.prediction_share <= 1:
            raise ValueError(f"prediction_share={self.prediction_share}: 0 to 1")
        if self.prediction_share > 0 and not self.stage1:
            raise ValueError(
                f"prediction_share={self.prediction_share} needs predictions: name the stage 1"
                " run or a release in stage1"
            )


@dataclass(frozen=True)
class WorkersSection:
    """Where it runs: one process per worker, joined by DDP; one GPU each, if any.

    Ray's own name of a value stands behind it.
    """

    __pydantic_config__: ClassVar[ConfigDict] = STRICT

    count: int = 1
    """Processes, each with a model of its own; the most of an elastic run
    (ScalingConfig.num_workers)."""
    min_count: int = 0
    """Fewest workers of an elastic run: it goes on with as many as find room when nodes are lost,
    and takes more again as they come back. 0 = always `count`. A step of fewer workers holds fewer
    photographs (the first of two ScalingConfig.num_workers)."""
    cpus: float = 0.5
    """Logical CPUs that Ray sets aside per worker, in addition to those for reading (data.tasks;
    "CPU" of ScalingConfig.resources_per_worker)."""
    resources: dict[str, float] = field(default_factory=dict)
    """What else it sets aside per worker: memory in bytes or the cluster's own resources
    (ScalingConfig.resources_per_worker)."""
    use_gpu: bool = False
    """One GPU per worker, NCCL between them; else CPU and gloo (ScalingConfig.use_gpu,
    TorchConfig.backend)."""
    accelerator_type: str = ""
    """Kind of GPU, such as "A100"; "" = any (ScalingConfig.accelerator_type)."""
    placement: Literal["PACK", "SPREAD", "STRICT_PACK", "STRICT_SPREAD"] = "PACK"
    """"PACK" on few nodes or "SPREAD" over many; "STRICT_PACK" all on one, "STRICT_SPREAD" each on
    its own (ScalingConfig.placement_strategy)."""
    threads: int = 2
    """PyTorch's threads per worker on the CPU."""
    timeout_s: int = 300
    """Seconds that workers wait for one another, and so for one's data, before the step has failed;
    longer than storage may be gone. At 0.7 of it all write their stacks into the run's folder
    (TorchConfig.timeout_s)."""
    max_failures: int = 3
    """Lost workers or nodes that a run survives by itself, from the last checkpoint. Nodes that are
    taken away with notice do not count (FailureConfig.max_failures)."""
    autoscaling: bool = False
    """Nodes are added on demand: what the cluster lacks now is waited for, not refused."""
    wait_s: int = 3600
    """Seconds that a run waits for missing nodes, all waits together
    (FailureConfig.controller_failure_limit)."""
    callbacks: tuple[str, ...] = ()
    """Ray Train's callbacks (ray.train.UserCallback) as "package.module:Class"; called after every
    checkpoint and failure, by Ray's controller. Without Ray nothing calls them
    (RunConfig.callbacks)."""

    def __post_init__(self) -> None:
        _check_at_least(self, 1, "count", "threads", "timeout_s", "wait_s")
        _check_at_least(self, 0, "min_count", "max_failures")
        if self.min_count > self.count:
            raise ValueError(f"min_count={self.min_count} is more than count={self.count}")
        if self.cpus <= 0:
            raise ValueError(f"cpus={self.cpus}: more than 0, for example 0.5")
        for name, amount in self.resources.items():
            if name in ("CPU", "GPU") or amount <= 0:
                raise ValueError(
                    f"resources: {name}={amount:g}: more than 0; CPUs and GPUs are set by cpus"
                    " and use_gpu"
                )
        if self.accelerator_type and not self.use_gpu:
            raise ValueError(
                f"accelerator_type={self.accelerator_type!r} needs use_gpu=true: set it, or leave"
                " the type empty"
            )


def _check_at_least(section: object, least: int, *names: str) -> None:
    """Raises: ValueError naming the first of a section's numbers that is less."""
    for name in names:
        value = getattr(section, name)
        if value < least:
            raise ValueError(f"{name}={value}: at least {least}")

"""Tiny shards and configurations that the training tests share."""

import dataclasses
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kintsugi.config.run_config import JobConfig, load_config
from kintsugi.data.packing import Packing
from kintsugi.data.sampler import SampleOrder
from kintsugi.data.shard_writer import write_shards
from kintsugi.imaging.codec import encode_image
from kintsugi.models.networks.image2feature import CoarseGenerator
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.runs.checkpoints import TrainState
from kintsugi.stages.base.stage import Stage, StageSetup
from kintsugi.storage.storage import Storage
from kintsugi.train.loop import Reporter, WorkerContext, initial_state, train
from kintsugi.train.prefetch import AnyBatch
from kintsugi.train.step import TrainStep
from kintsugi.train.validation import Validation

CONFIGS = Path(__file__).parents[2] / "jobs" / "configs"
# As few as show, after a cut behind the first, whether Adam's moments came back as well.
NUM_STEPS = 3


def pack_photos(folder: Path, count: int = 12, held_out_share: float = 0.0) -> str:
    """Shards of ``count`` smooth random photographs of 160 px, four in a part."""
    photos = Storage(folder / "photos")
    for number in range(count):
        rng = np.random.default_rng(number)
        coarse = rng.integers(0, 255, (10, 12, 3), dtype=np.uint8)
        pixels = coarse.repeat(16, axis=0).repeat(16, axis=1)
        photos.write(f"{number:03d}.png", encode_image(pixels))
    packing = Packing(rows_per_part=4, held_out_share=held_out_share)
    write_shards(photos.uri, str(folder / "shards"), packing=packing)
    return str(folder / "shards")


def debug_config(folder: Path, stage: str = "stage1", **loop: Any) -> JobConfig:
    """The debug configuration of a stage with everything below ``folder``, quick."""
    runs = folder / "runs"
    config = load_config(
        CONFIGS / f"debug-{stage}.toml",
        [
            f"storage={runs}",
            f"data.shards={folder / 'shards'}",
            "encoder=random",
            "data.photos=''",
            "data.resize_px=128",
            f"translate.stage1={runs / 'debug-stage1'}",
            "workers.threads=1",
        ],
    )
    quick = {"max_steps": NUM_STEPS, "batch_size": 2, "log_every": 1, "checkpoint_every": 2}
    quick |= {"sample_every": 0} | loop
    return dataclasses.replace(config, loop=dataclasses.replace(config.loop, **quick))


def setup_of(
    config: JobConfig, encoder: Vgg19Relu3 | None = None, stage1: CoarseGenerator | None = None
) -> StageSetup:
    """What a stage sees of a configuration, with networks that are open already."""

    def open_encoder() -> Vgg19Relu3:
        assert encoder is not None
        return encoder

    def open_stage1() -> CoarseGenerator:
        assert stage1 is not None
        return stage1

    return StageSetup(
        model=config.model,
        losses=config.losses,
        translate=config.translate,
        seed=config.seed,
        open_encoder=open_encoder,
        open_stage1=open_stage1,
    )


def run_loop(
    stage: Stage,
    batches: Iterator[AnyBatch],
    order: SampleOrder,
    config: JobConfig,
    reporter: Reporter,
    *,
    context: WorkerContext | None = None,
    held_out: Sequence[AnyBatch] = (),
    spare: bool = False,
) -> TrainState:
    """The loop over a stage and batches of the test's own, as `train_worker` calls it.

    Args: ``context``: None: the only process, on the CPU.

    Returns: the state after the last step.
    """
    context = context or WorkerContext(torch.device("cpu"))
    state = initial_state(stage, config.optimizer, config.compute)
    step = TrainStep(
        stage,
        state,
        context.device,
        optimizer=config.optimizer,
        compute=config.compute,
        accumulate=config.loop.num_parts(order.batch_size),
    )
    validation = Validation(
        stage,
        state,
        context.device,
        config.compute.precision,
        settled_step=config.translate.settled_step,
        held_out=held_out,
        spare=spare,
    )
    train(step, batches, order, config.loop, config.held_out, validation, context, reporter)
    return state


def losses(rows: list[dict[str, Any]]) -> list[tuple[float, ...]]:
    """All losses of every logged step, exactly."""
    return [
        tuple(value for name, value in row.items() if name.startswith("loss/"))
        for row in rows
        if "loss/discriminator" in row
    ]

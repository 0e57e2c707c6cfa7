"""One step of a run through the whole path in this process, leaving nothing behind."""

import sys
import tempfile
from collections.abc import Mapping
from contextlib import redirect_stdout
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from kintsugi.config.run_config import JobConfig
from kintsugi.config.toml_files import to_toml
from kintsugi.data.sample_photos import open_photos
from kintsugi.data.shard_manifest import MANIFEST_NAME
from kintsugi.data.shard_writer import write_shards
from kintsugi.imaging.formats import is_photo
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.runs.run import Run
from kintsugi.runs.warm_start import check_run
from kintsugi.storage.storage import Storage
from kintsugi.train.worker import first_step, train_locally

# Photographs that are packed where there are no shards yet, more than those of a batch.
SPARE_PHOTOS = 4


@dataclass(frozen=True)
class DryRun:
    """What one step showed.

    Attributes:
        config: The configuration as it would run.
        device: Where the step ran.
        parameters: Trained numbers of each network.
        row: Metrics of the step: losses, seconds, memory; see `loop.py`.
        checkpoint_bytes: Size of one checkpoint.
        run: URI of the folder that the run would write into.
        resumes: Step of the checkpoint that the run would resume from; 0 = it is new.
    """

    config: JobConfig
    device: str
    parameters: dict[str, int]
    row: dict[str, Any]
    checkpoint_bytes: int
    run: str
    resumes: int

    def to_dict(self) -> dict[str, Any]:
        """All of it as plain JSON types."""
        return {**vars(self), "config": self.config.to_dict()}


def dry_run(config: JobConfig) -> DryRun:
    """Take one step of one worker, from photographs to a checkpoint, in a temporary folder.

    It starts from the first step, with predictions mixed in from the beginning: no later
    step of the run needs more memory. Where there are no shards yet, a few of the
    photographs are packed for it.

    Raises: ConfigError, StorageError: what would end the run would end it here.
    """
    device = torch.device("cuda" if config.workers.use_gpu and torch.cuda.is_available() else "cpu")
    with tempfile.TemporaryDirectory() as temporary:
        trial = _one_step(config, Path(temporary))
        if trial.data.shards == config.data.shards:
            check_run(config)
        # What the loop prints stays out of the figures, which a program may read.
        with redirect_stdout(sys.stderr):
            run = train_locally(trial, device)
        newest = run.checkpoints.newest_whole()
        networks = first_step(trial, torch.device("cpu")).state.networks
        sizes = run.storage.sizes("checkpoints")
        rows = [row for row in read_metrics(run.storage.join("metrics")) if row["step"] == newest]
    real = Run.of(config)
    return DryRun(
        config=config,
        device=str(device),
        parameters={
            name: sum(parameter.numel() for parameter in network.parameters())
            for name, network in networks.items()
        },
        row=rows[0],
        checkpoint_bytes=sum(sizes.values()),
        run=real.storage.uri,
        resumes=real.checkpoints.newest_whole(),
    )


def _one_step(config: JobConfig, folder: Path) -> JobConfig:
    """The same configuration for one step of one worker below ``folder``."""
    data, held_out = config.data, replace(config.held_out, patience=0)
    if not Storage(data.shards).exists(MANIFEST_NAME) and data.photos:
        _pack_some(data.photos, folder, config.loop.batch_size + SPARE_PHOTOS)
        data = replace(data, shards=str(folder / "shards"), photos="")
        held_out = replace(held_out, photos=0)
    return replace(
        config,
        storage=str(folder / "runs"),
        data=data,
        held_out=replace(held_out, photos=min(held_out.photos, config.loop.batch_size)),
        loop=replace(config.loop, max_steps=1, log_every=1, checkpoint_every=1, sample_every=0),
        translate=replace(config.translate, truth_steps=0, ramp_steps=0),
    )


def _pack_some(photos: str, folder: Path, most: int) -> None:
    some = Storage(folder / "photos")
    with open_photos(photos) as uri:
        source = Storage(uri)
        names = [name for name in source.list() if is_photo(name)]
        for name in names[:most]:
            some.write(name, source.read(name))
        # Without photographs: says so, and where.
        write_shards(some.uri if names else uri, str(folder / "shards"))


def describe(done: DryRun) -> str:
    """The configuration as TOML, then in comments what one step of it showed."""
    row, config = done.row, done.config
    losses = ", ".join(
        f"{name.removeprefix('loss/')} {value:.4f}"
        for name, value in row.items()
        if name.startswith("loss/")
    )
    workers = f"{config.workers.count} worker{'s' if config.workers.count > 1 else ''}"
    begins = f"resume at step {done.resumes}" if done.resumes else "start at step 0"
    about = [
        "One step of one worker, the first, which warms up; nothing was kept.",
        *(f"{name}: {number:,} parameters" for name, number in done.parameters.items()),
        f"{config.loop.batch_size} photographs on {done.device}: {row['step_seconds']:.2f} s,"
        f" {_memory(row)}, losses: {losses}",
        f"a checkpoint: {done.checkpoint_bytes / 2**20:.1f} MiB",
        f"The run would {begins} with {workers}, to step {config.loop.max_steps}, and write into",
        *(f"  {done.run}/{name}" for name in ("checkpoints", "metrics", "samples")),
    ]
    return to_toml(config.to_dict()) + "\n" + "\n".join(f"# {line}" for line in about)


def _memory(row: Mapping[str, Any]) -> str:
    return f"{row['memory_mib']:.0f} MiB of memory at most" if "memory_mib" in row else "-"

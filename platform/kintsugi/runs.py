"""A run: its identity, its folder, its networks, and one rank of it; knows no Ray.

`training.py` gives each rank Ray's batches and Ray's report; `train_locally` gives it
batches read in this process. Both go through `train_rank`, so they compute the same.
"""

import json
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Self

import torch

from kintsugi.checkpoints import CheckpointStore
from kintsugi.config import JobConfig, differing_keys, parse_config
from kintsugi.errors import ConfigError, StorageError
from kintsugi.loop import Surroundings, initial_state, train
from kintsugi.order import Position, SampleOrder
from kintsugi.reading import ShardReader, open_reader
from kintsugi.samples import Batch, local_batches
from kintsugi.stages import Stage, Stage1, Stage2
from kintsugi.storage import Storage
from kintsugi.tracking import Metrics, MetricsWriter, format_line
from models.build import build_generator
from models.image2feature import CoarseGenerator
from models.vgg import Vgg19Relu3
from models.weights import CONFIG_NAME as RELEASE_CONFIG
from models.weights import load_encoder, load_release, load_weights

CONFIG_NAME = "config.json"
# Photographs in the sample pictures.
SAMPLE_ROWS = 4
BUNDLED_RELEASE = Path(__file__).resolve().parents[2] / "models" / "pretrained" / "small"

# (reader, order, start, rank, steps) -> at least `steps` batches.
BatchStream = Callable[[ShardReader, SampleOrder, Position, int, int], Iterator[Batch]]
Publish = Callable[[Metrics, Path | None, int], None]


@dataclass(frozen=True)
class Run:
    """The folder `<storage>/<run>`: config.json, checkpoints/, metrics/, samples/."""

    storage: Storage

    @classmethod
    def of(cls, config: JobConfig) -> Self:
        return cls(Storage(config.storage).join(config.run))

    @property
    def checkpoints(self) -> CheckpointStore:
        return CheckpointStore(self.storage.join("checkpoints"))

    def config(self) -> JobConfig:
        """The configuration the run was started with. Raises: StorageError when there is none."""
        if not self.storage.exists(CONFIG_NAME):
            raise StorageError(
                f"{self.storage.uri} is no run: it has no {CONFIG_NAME}; train it first or"
                " correct the address"
            )
        return parse_config(
            json.loads(self.storage.read(CONFIG_NAME)), f"{self.storage.uri}/{CONFIG_NAME}"
        )


def open_run(config: JobConfig) -> Run:
    """Start the run that a configuration names, or take it up again.

    Raises: ConfigError naming the keys when a run of this name has another configuration.
    """
    run = Run.of(config)
    if run.storage.exists(CONFIG_NAME):
        keys = differing_keys(run.config().to_dict(), config.to_dict())
        if keys:
            raise ConfigError(
                f"run {config.run!r} exists in {config.storage} with other values of"
                f" {', '.join(keys)}: restore them to resume it, or choose another name with"
                " --set run=NAME"
            )
    run.storage.write(CONFIG_NAME, json.dumps(config.to_dict(), indent=2).encode())
    return run


def open_encoder(source: str, seed: int) -> Vgg19Relu3:
    """The encoder a configuration names, fetched first when it is a URI.

    Raises: ConfigError naming the value and what else can be given.
    """
    if source == "release":
        if not (BUNDLED_RELEASE / RELEASE_CONFIG).is_file():
            raise ConfigError(
                "encoder='release': this checkout bundles no release yet; set encoder to a path or"
                " URI of VGG19's layers, to 'torchvision' (downloads) or to 'random' (tests)"
            )
        source = str(BUNDLED_RELEASE)
    try:
        if source in ("random", "torchvision"):
            return load_encoder(source, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            return load_encoder(str(_fetch_encoder(source, Path(folder))))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _fetch_encoder(uri: str, folder: Path) -> Path:
    """A local copy of an encoder file or of a release folder."""
    if not uri.endswith(".safetensors"):
        Storage(uri).fetch_folder("", folder)
        return folder
    parent, _, name = uri.rpartition("/")
    (folder / name).write_bytes(Storage(parent).read(name))
    return folder / name


def open_stage1(uri: str) -> CoarseGenerator:
    """G1 of a stage 1 run or of a release. Raises: StorageError or ConfigError naming the URI."""
    storage = Storage(uri)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if storage.exists("model.safetensors"):
            storage.fetch_folder("", folder)
            return load_release(folder)[0].image2feature.generator
        run = Run(storage)
        config = run.config()
        if config.stage != "stage1":
            raise ConfigError(f"translate.stage1={uri!r} is a run of {config.stage}, not of stage1")
        run.checkpoints.fetch_newest(folder)
        generator = build_generator(config.model, seed=config.seed)
        load_weights(generator, folder / "generator.safetensors")
        return generator


def build_stage(config: JobConfig) -> Stage:
    """The networks of a run at their first step."""
    encoder = open_encoder(config.encoder, config.seed)
    if config.stage == "stage1":
        return Stage1(config, encoder)
    predicting = config.translate.prediction_share > 0
    return Stage2(config, encoder, open_stage1(config.translate.stage1) if predicting else None)


class RunReporter:
    """Writes what the loop reports into the run's folder; checkpoints go to ``publish``."""

    def __init__(self, run: Run, config: JobConfig, rank: int, step: int, publish: Publish) -> None:
        self.run = run
        self.max_steps = config.loop.max_steps
        self.publish = publish
        first = rank == 0
        self.metrics = MetricsWriter(run.storage.join("metrics"), step) if first else None

    def log(self, row: Metrics) -> None:
        if self.metrics is not None:
            self.metrics.add(row)
            print(format_line(row, self.max_steps), flush=True)

    def checkpoint(self, row: Metrics, folder: Path | None, step: int) -> None:
        if self.metrics is not None:
            self.metrics.close_part()
        self.publish(row, folder, step)

    def sample(self, row: Metrics, png: bytes, step: int) -> None:
        self.run.storage.join("samples").write(f"step-{step:08d}.png", png)
        self.log(row)


def train_rank(
    config: JobConfig, rank: int, device: torch.device, batches: BatchStream, publish: Publish
) -> int:
    """Train one rank of a run from its newest whole checkpoint on. Returns the last step."""
    torch.set_num_threads(config.workers.threads)
    run = Run.of(config)
    reader = open_reader(config.data.shards, config.data.resize_px)
    order = SampleOrder(
        rows_per_part=reader.rows_per_part,
        seed=config.seed,
        shuffle_parts=config.data.shuffle_parts,
        workers=config.workers.count,
        batch_size=config.loop.batch_size,
    )
    stage = build_stage(config)
    stage.to(device)
    state = initial_state(stage, config)
    step = run.checkpoints.restore(state)
    if rank == 0:
        print(f"resuming at step {step}" if step else "starting at step 0", flush=True)
    fixed = None
    if rank == 0 and config.loop.sample_every:
        shown = replace(order, batch_size=min(SAMPLE_ROWS, sum(order.rows_per_part)), workers=1)
        fixed = next(local_batches(reader, shown, config.data, Position()))
    train(
        stage,
        batches(reader, order, state.position, rank, config.loop.max_steps - step),
        config,
        state,
        Surroundings(rank, order, device, fixed),
        RunReporter(run, config, rank, step, publish),
    )
    return state.step


def train_locally(config: JobConfig, device: torch.device | str = "cpu") -> Run:
    """Train a run in this process without Ray: the same losses as one Ray worker."""
    config = replace(config, workers=replace(config.workers, count=1))
    run = open_run(config)

    def publish(_: Metrics, folder: Path | None, step: int) -> None:
        if folder is not None:
            run.checkpoints.publish(folder, step)
            run.checkpoints.prune(config.loop.keep_checkpoints)

    def batches(
        reader: ShardReader, order: SampleOrder, start: Position, rank: int, _: int
    ) -> Iterator[Batch]:
        return local_batches(reader, order, config.data, start, rank)

    train_rank(config, 0, torch.device(device), batches, publish)
    return run

"""A run: its identity, its folder, and what it began with; knows no Ray and no loop."""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from safetensors.torch import save_file

from kintsugi.checkpoints import MANIFEST_NAME, CheckpointStore, seal, verify_checkpoint
from kintsugi.config import JobConfig, differing_keys, parse_config
from kintsugi.errors import ConfigError, StorageError
from kintsugi.manifest import MANIFEST_NAME as SHARDS_MANIFEST
from kintsugi.manifest import read_manifest
from kintsugi.storage import Storage
from models.build import ModelConfig, build_generator
from models.image2feature import CoarseGenerator
from models.vgg import Vgg19Relu3
from models.weights import CONFIG_NAME as RELEASE_CONFIG
from models.weights import WEIGHTS_NAME as RELEASE_WEIGHTS
from models.weights import load_encoder, load_release, load_weights

CONFIG_NAME = "config.json"
INPUTS_NAME = "inputs.json"
PINNED_STAGE1 = "stage1"
BUNDLED_RELEASE = Path(__file__).resolve().parents[2] / "models" / "pretrained" / "small"


@dataclass(frozen=True)
class Run:
    """The folder `<storage>/<run>`.

    It holds config.json, inputs.json (what the run began with), stage1/ (for stage 2 with
    predictions), checkpoints/, metrics/ and samples/.
    """

    storage: Storage

    @classmethod
    def of(cls, config: JobConfig) -> Self:
        return cls(Storage(config.storage).join(config.run))

    @property
    def checkpoints(self) -> CheckpointStore:
        return CheckpointStore(self.storage.join("checkpoints"))

    def fetch_newest(self, folder: Path) -> int:
        """Copy the newest whole checkpoint into ``folder``. Returns its step.

        Raises: StorageError when there is none.
        """
        step = self.checkpoints.newest_whole()
        if step == 0:
            raise StorageError(f"{self.storage.uri} has no checkpoint yet: train the run first")
        self.checkpoints.fetch(step, folder)
        return step

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
    """Start the run that a configuration names, or take it up again; in the driver, once.

    A run that has no checkpoint yet is started anew, with whatever configuration.

    Raises:
        ConfigError: the run has checkpoints, and another configuration or other shards; or
            encoder or stage 1 cannot be opened.
        StorageError: shards, encoder or stage 1 are missing or altered.
    """
    run = Run.of(config)
    # Says what to do when there are no shards.
    read_manifest(Storage(config.data.shards))
    shards = Storage(config.data.shards).read(SHARDS_MANIFEST)
    inputs = {"shards_sha256": hashlib.sha256(shards).hexdigest()}
    open_encoder(config.encoder, config.seed)
    if run.checkpoints.steps():
        _check_identity(run, config, inputs)
    else:
        _pin_stage1(run, config)
        run.storage.write(INPUTS_NAME, json.dumps(inputs).encode())
    run.storage.write(CONFIG_NAME, json.dumps(config.to_dict(), indent=2).encode())
    return run


def _check_identity(run: Run, config: JobConfig, inputs: dict[str, str]) -> None:
    keys = differing_keys(run.config().to_dict(), config.to_dict())
    if keys:
        raise ConfigError(
            f"run {config.run!r} exists in {config.storage} with other values of"
            f" {', '.join(keys)}: restore them to resume it, or choose another name with"
            " --set run=NAME"
        )
    if json.loads(run.storage.read(INPUTS_NAME)) != inputs:
        raise ConfigError(
            f"the shards at {config.data.shards} are not those that run {config.run!r} began with:"
            " restore them to resume it, or choose another name with --set run=NAME"
        )


def _pin_stage1(run: Run, config: JobConfig) -> None:
    """Keep stage 1's generator in the run: it may be trained on while stage 2 is."""
    if config.translate.prediction_share == 0:
        return
    generator, model = open_stage1(config.translate.stage1)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        save_file(generator.state_dict(), folder / "generator.safetensors")
        (folder / CONFIG_NAME).write_text(json.dumps(asdict(model)))
        seal(folder)
        run.storage.publish_folder(folder, PINNED_STAGE1, last=MANIFEST_NAME)


def pinned_stage1(run: Run) -> CoarseGenerator:
    """Stage 1's generator as the run keeps it. Raises: StorageError when it is altered."""
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        run.storage.fetch_folder(PINNED_STAGE1, folder)
        verify_checkpoint(folder, f"{run.storage.uri}/{PINNED_STAGE1}")
        model = ModelConfig(**json.loads((folder / CONFIG_NAME).read_text()))
        generator = build_generator(model, seed=0)
        load_weights(generator, folder / "generator.safetensors")
        return generator


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


def open_stage1(uri: str) -> tuple[CoarseGenerator, ModelConfig]:
    """G1 of a stage 1 run or of a release. Raises: StorageError or ConfigError naming the URI."""
    storage = Storage(uri)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if storage.exists(RELEASE_WEIGHTS):
            storage.fetch_folder("", folder)
            inpainter, release = load_release(folder)
            return inpainter.image2feature.generator, release.model
        run = Run(storage)
        config = run.config()
        if config.stage != "stage1":
            raise ConfigError(f"translate.stage1={uri!r} is a run of {config.stage}, not of stage1")
        run.fetch_newest(folder)
        generator = build_generator(config.model, seed=config.seed)
        load_weights(generator, folder / "generator.safetensors")
        return generator, config.model

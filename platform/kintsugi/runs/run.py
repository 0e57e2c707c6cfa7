"""A run's folder in storage, and the encoder that runs and releases name; knows no loop."""

import json
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import torch

from kintsugi.collectives import fetch_once
from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import load_encoder
from kintsugi.runs.checkpoints import CheckpointStore
from kintsugi.storage.storage import Storage, file_at

CONFIG_NAME = "config.json"


@dataclass(frozen=True)
class Run:
    """The folder `<storage>/<run>`.

    It holds config.json, inputs.json (what the run began with), stage1/ (for stage 2 with
    predictions), start/ (with init_from), packed-masks/ (where data.masks names a place),
    checkpoints/, metrics/, samples/, owner/ (who trains it), stacks/ (of steps that did not end)
    and, where they were asked for, tensorboard/ and trackers/.
    """

    storage: Storage

    @classmethod
    def of(cls, config: JobConfig) -> Self:
        """The run that a configuration names; it need not exist."""
        return cls(Storage(config.storage).join(config.run))

    @property
    def name(self) -> str:
        """The name of its folder."""
        return self.storage.uri.rpartition("/")[2]

    @property
    def checkpoints(self) -> CheckpointStore:
        """Its checkpoints; there may be none."""
        return CheckpointStore(self.storage.join("checkpoints"))

    def fetch_checkpoint(self, which: str, folder: Path) -> int:
        """Copy a checkpoint into ``folder`` and verify it. Returns its step.

        Args:
            which: "newest" (the newest whole one), "best" (the lowest held-out loss), "auto"
                (the best where there is one, else the newest) or a step.
            folder: Empty, on the local disk.

        Raises:
            ConfigError: the run has no such checkpoint; says which there are.
            StorageError: the run has none at all, or the one asked for is altered.
        """
        newest = self.checkpoints.newest_whole()
        if newest == 0:
            raise StorageError(f"{self.storage.uri} has no checkpoint yet: train the run first")
        if which == "auto":
            which = "best" if self.checkpoints.progress(newest).best else "newest"
        step = newest if which == "newest" else self._step_of(which, newest)
        self.checkpoints.fetch(step, folder)
        return step

    def _step_of(self, which: str, newest: int) -> int:
        steps = self.checkpoints.steps()
        if which == "best":
            best = self.checkpoints.progress(newest).best
            if best is None:
                raise ConfigError(
                    f"{self.storage.uri} has no best checkpoint: it was not measured on held-out"
                    f" photographs (held_out.photos); choose newest or one of {_list(steps)}"
                )
            return best.step
        if not which.isdecimal() or int(which) not in steps:
            raise ConfigError(
                f"{self.storage.uri} has no checkpoint {which!r}: choose newest, best or one of"
                f" {_list(steps)}"
            )
        return int(which)

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


@dataclass(frozen=True)
class Trained:
    """What a submission did.

    Attributes:
        run: URI of the run's folder.
        first_step: Where it started or resumed.
        last_step: Where it ended.
        stopped: It was asked to end before its last step; submitted again it goes on.
        metrics: All rows of the run, from its very first step.
    """

    run: str
    first_step: int
    last_step: int
    stopped: bool
    metrics: list[dict[str, Any]]


# Trains a run to its end, from wherever it stands: `fit` of kintsugi.train's local or ray_trainer.
Fit = Callable[[JobConfig], Trained]


def open_encoder(source: str, seed: int, *, device: torch.device | None = None) -> Vgg19Relu3:
    """The encoder a configuration names, fetched first when it is a URI.

    Args: ``device``: on every rank of a run, over which they share what the first of them
        fetches; None: in this process alone.

    Raises: ConfigError naming the value and what else can be given.
    """
    if source == "release":
        source = BUNDLED_RELEASE
    try:
        if source in ("random", "torchvision"):
            return load_encoder(source, seed=seed)
        # A single file, or a release's folder.
        name = file_at(source)[1] if source.endswith(".safetensors") else ""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary)
            if device is None or not Storage(source).is_bucket:
                _fetch_encoder(source, folder)
            else:
                fetch_once(lambda here: _fetch_encoder(source, here), folder, device)
            return load_encoder(str(folder / name))
    except ValueError as error:
        raise ConfigError(str(error)) from error


def _fetch_encoder(uri: str, folder: Path) -> None:
    """Copy an encoder file or a release folder here."""
    if not uri.endswith(".safetensors"):
        Storage(uri).fetch_folder("", folder)
        return
    place, name = file_at(uri)
    (folder / name).write_bytes(place.read(name))


def _list(steps: list[int]) -> str:
    return ", ".join(str(step) for step in steps)

"""The one resumable state of a run <-> a folder of safetensors and JSON; knows no Ray.

A checkpoint is the folder `step-00000123`: tensors, `state.json` and, written last, a
manifest with the SHA-256 of each file. Without its manifest a folder is no checkpoint;
with an altered or missing file, read twice, it is refused by name and the one before is used.
"""

import hashlib
import json
import logging
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kintsugi.data.sampler import Position, Used
from kintsugi.errors import StorageError
from kintsugi.models.weights import read_weights
from kintsugi.storage.checksums import (
    MANIFEST_NAME,
    DamagedCheckpoint,
    verify_checksums,
    write_checksums,
)
from kintsugi.storage.storage import Storage

logger = logging.getLogger(__name__)

STATE_NAME = "state.json"
# The manifest of a checkpoint that was refused, twice not what it says.
REFUSED_NAME = "manifest.refused.json"
# The running mean of the generator's weights, where a run keeps one.
AVERAGE_NAME = "generator-ema.safetensors"
# Of an optimiser's settings: in what way it computes, and not what.
_OF_DEVICE = ("fused", "foreach", "capturable")
_PREFIX = "step-"
_FOLDER = re.compile(rf"{_PREFIX}(\d{{8,}})")
_MARK = f"/{MANIFEST_NAME}"


@dataclass(frozen=True)
class Best:
    """The checkpoint with the lowest held-out loss so far."""

    step: int
    loss: float


@dataclass
class TrainState:
    """Everything that a run needs to go on as if it had never stopped.

    There is no random state in it: every draw is keyed by the seed, the epoch and the
    photograph.

    Attributes:
        networks: "generator" and "discriminator".
        optimizers: One for each network, under the same names.
        average: Running mean of the generator's weights; None without one.
        scaler: Scales the losses in float16; None elsewhere.
        step: Optimiser steps done.
        position: Where the data stands after ``step``.
        best: None as long as nothing was measured on held-out photographs.
        stale: Checkpoints since the best one.
        unmeasured: Whether held-out photographs are still to be measured at this step: a node
            that is taken away leaves no time for it.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    average: nn.Module | None = None
    scaler: torch.amp.GradScaler | None = None
    step: int = 0
    position: Position = field(default_factory=Position)
    best: Best | None = None
    stale: int = 0
    unmeasured: bool = False


@dataclass(frozen=True)
class CheckpointProgress:
    """How far a checkpoint is, without its tensors.

    Attributes:
        step: The step of the checkpoint; 0 without one.
        best: As in `TrainState`.
        stale: As in `TrainState`.
        unmeasured: As in `TrainState`.
    """

    step: int = 0
    best: Best | None = None
    stale: int = 0
    unmeasured: bool = False


def save_checkpoint(folder: Path, state: TrainState) -> None:
    """Write ``state`` into an empty local folder, the manifest last."""
    settings = {}
    for name, network in state.networks.items():
        save_file(_plain(network.state_dict()), folder / f"{name}.safetensors")
        optimizer = state.optimizers[name].state_dict()
        moments = {
            f"{index}.{key}": torch.as_tensor(value)
            for index, values in optimizer["state"].items()
            for key, value in values.items()
        }
        save_file(_plain(moments), folder / f"{name}-optimizer.safetensors")
        settings[name] = optimizer["param_groups"]
    if state.average is not None:
        save_file(_plain(state.average.state_dict()), folder / AVERAGE_NAME)
    (folder / STATE_NAME).write_text(
        json.dumps(
            {
                "step": state.step,
                "position": asdict(state.position),
                "best": asdict(state.best) if state.best else None,
                "stale": state.stale,
                "unmeasured": state.unmeasured,
                "scaler": state.scaler.state_dict() if state.scaler else {},
                "param_groups": settings,
            }
        )
    )
    write_checksums(folder)


def saved_step(folder: Path) -> int:
    """The step of a local checkpoint; 0 where there is none."""
    state = folder / STATE_NAME
    return int(json.loads(state.read_text())["step"]) if state.exists() else 0


def load_checkpoint(folder: Path, state: TrainState) -> None:
    """Bring ``state`` to what a verified local checkpoint holds.

    Raises: StorageError naming the folder when it does not fit these networks.
    """
    saved = json.loads((folder / STATE_NAME).read_text())
    for name, network in state.networks.items():
        with _fitting(folder.name, name):
            network.load_state_dict(read_weights(folder / f"{name}.safetensors"))
            state.optimizers[name].load_state_dict(
                {
                    "state": _moments(load_file(folder / f"{name}-optimizer.safetensors")),
                    "param_groups": _groups(state.optimizers[name], saved["param_groups"][name]),
                }
            )
        _lay_out(state.optimizers[name])
    if state.average is not None:
        with _fitting(folder.name, "running mean"):
            state.average.load_state_dict(read_weights(folder / AVERAGE_NAME))
    if state.scaler is not None:
        state.scaler.load_state_dict(saved["scaler"])
    position = saved["position"]
    state.step = saved["step"]
    state.position = Position(position["epoch"], tuple(Used(**used) for used in position["used"]))
    state.best = Best(**saved["best"]) if saved["best"] else None
    state.stale = saved["stale"]
    state.unmeasured = _is_unmeasured(saved)


def _is_unmeasured(saved: dict[str, Any]) -> bool:
    # Checkpoints from before it was written say nothing.
    return bool(saved.get("unmeasured", False))


def _groups(optimizer: torch.optim.Optimizer, saved: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """An optimiser's saved settings, but for what its device decides."""
    own = [{name: group.get(name) for name in _OF_DEVICE} for group in optimizer.param_groups]
    return [group | here for group, here in zip(saved, own, strict=True)]


def _moments(tensors: dict[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """An optimiser's state by the number of its parameter."""
    moments: dict[int, dict[str, Tensor]] = {}
    for key, value in tensors.items():
        index, _, moment = key.partition(".")
        moments.setdefault(int(index), {})[moment] = value
    return moments


def _lay_out(optimizer: torch.optim.Optimizer) -> None:
    """Give moments the memory layout of their weights, as they had it before they were saved.

    Elsewhere PyTorch may take another path through the same arithmetic, and round otherwise.
    """
    for weight, moments in optimizer.state.items():
        for name, moment in moments.items():
            if moment.shape == weight.shape:
                moments[name] = torch.empty_like(weight).copy_(moment)


@contextmanager
def _fitting(checkpoint: str, what: str) -> Iterator[None]:
    """Raises: StorageError where what is loaded has another shape than the configuration."""
    try:
        yield
    except (RuntimeError, ValueError, FileNotFoundError) as error:
        why = " ".join(str(error).split())
        raise StorageError(
            f"checkpoint {checkpoint} does not fit this configuration's {what}: {why};"
            " give the run another name, or the configuration that it was started with"
        ) from error


class CheckpointStore:
    """The checkpoints of one run in storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def publish(self, folder: Path, step: int) -> str:
        """Upload a local checkpoint; it exists once its manifest does. Returns its name."""
        name = checkpoint_name(step)
        self.storage.delete(f"{name}/{REFUSED_NAME}")
        self.storage.publish_folder(folder, name, last=MANIFEST_NAME)
        return name

    def steps(self) -> list[int]:
        """Steps that have a manifest, ascending; their files are not verified here."""
        found = [_FOLDER.fullmatch(file.removesuffix(_MARK)) for file in self._marks()]
        return sorted(int(match[1]) for match in found if match)

    def _marks(self) -> list[str]:
        return [file for file in self.storage.list() if file.endswith(_MARK)]

    def newest_whole(self) -> int:
        """Step of the newest checkpoint whose files are what its manifest says; 0 without any.

        Raises: StorageError when storage fails, or when there are checkpoints and none is
        whole: a new start would throw the run away.
        """
        with tempfile.TemporaryDirectory() as folder:
            return self.fetch_newest(Path(folder) / "checkpoint")

    def fetch_newest(self, folder: Path) -> int:
        """Copy the newest whole checkpoint into ``folder``. Returns its step; 0 without any.

        Raises: as `newest_whole`.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                self.fetch(step, folder)
            except DamagedCheckpoint as error:
                shutil.rmtree(folder)
                logger.warning("%s; using the one before", error)
                continue
            return step
        if steps:
            raise StorageError(
                f"none of the {len(steps)} checkpoints in {self.storage.uri} is whole: restore one"
                " from a backup, or start the run under another name"
            )
        return 0

    def newest(self) -> int:
        """Step of the newest checkpoint that says where it stands, by its small files alone.

        What a driver needs to know: whether its tensors are whole is found when they are loaded.
        """
        for step in reversed(self.steps()):
            name = checkpoint_name(step)
            manifest = self.storage.read(f"{name}/{MANIFEST_NAME}").decode(errors="replace")
            digest = ""
            if self.storage.exists(f"{name}/{STATE_NAME}"):
                state = self.storage.read(f"{name}/{STATE_NAME}")
                digest = hashlib.sha256(state).hexdigest()
            if digest and digest in manifest:
                return step
        return 0

    def progress(self, step: int) -> CheckpointProgress:
        """How far a whole checkpoint is; ``step`` 0 is that of none."""
        if step == 0:
            return CheckpointProgress()
        saved = json.loads(self.storage.read(f"{checkpoint_name(step)}/{STATE_NAME}"))
        best = Best(**saved["best"]) if saved["best"] else None
        return CheckpointProgress(step, best, saved["stale"], _is_unmeasured(saved))

    def restore(self, state: TrainState, step: int) -> None:
        """Load one checkpoint into ``state``. Raises: StorageError as `fetch`."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / checkpoint_name(step)
            self.fetch(step, folder)
            load_checkpoint(folder, state)
        self.forget_lost_best(state)

    def forget_lost_best(self, state: TrainState) -> None:
        """Let a loaded state know of no best checkpoint that is gone."""
        if state.best and state.best.step not in self.steps():
            # Lost with a checkpoint that came after this one.
            state.best, state.stale = None, 0

    def fetch(self, step: int, folder: Path) -> None:
        """Copy a checkpoint into ``folder`` and verify it.

        One that differs is read once more: bits flip on the way, too.

        Raises: DamagedCheckpoint naming the file that differs twice; StorageError when storage
        fails.
        """
        try:
            self._fetch(step, folder)
        except DamagedCheckpoint as error:
            logger.warning("%s: reading it once more", error)
            shutil.rmtree(folder, ignore_errors=True)
            self._fetch(step, folder)

    def _fetch(self, step: int, folder: Path) -> None:
        name = checkpoint_name(step)
        self.storage.fetch_folder(name, folder)
        verify_checksums(folder, f"{self.storage.uri}/{name}")
        if saved_step(folder) != step:
            raise DamagedCheckpoint(
                f"checkpoint {self.storage.uri}/{name} is refused: it holds step"
                f" {saved_step(folder)}"
            )

    def prune(self, keep: int, newest: int) -> None:
        """Delete checkpoints before ``newest`` but the best and the ``keep`` newest.

        Also what is there of one that was never finished. What comes after ``newest`` may be
        another process's and stays.

        Args:
            keep: How many stay in addition to the best, ``newest`` among them.
            newest: Step of the newest whole one.
        """
        best = self.progress(newest).best
        steps = [step for step in self.steps() if step <= newest]
        kept = {*steps[-keep:], *([best.step] if best else [])}
        self._delete({step for step in self._begun() if step < newest} - kept)

    def discard_after(self, newest: int) -> None:
        """Forget what comes after the newest whole checkpoint: the run will write it again.

        What was never finished is deleted. What was refused stays where it is until then, under
        another mark, so that a person can look at it. Only for a run that nobody trains.
        """
        after = {step for step in self._begun() if step > newest}
        refused = after & set(self.steps())
        for name in map(checkpoint_name, sorted(refused)):
            mark = self.storage.read(f"{name}/{MANIFEST_NAME}")
            self.storage.write(f"{name}/{REFUSED_NAME}", mark)
            self.storage.delete(f"{name}/{MANIFEST_NAME}")
            logger.warning(
                "%s/%s was refused and is set aside: to take it after all, name its %s %s again"
                " before the run comes to that step",
                self.storage.uri,
                name,
                REFUSED_NAME,
                MANIFEST_NAME,
            )
        self._delete(after - refused)

    def _begun(self) -> set[int]:
        """Steps that have any file."""
        folders = {file.partition("/")[0] for file in self.storage.list() if "/" in file}
        found = [_FOLDER.fullmatch(folder) for folder in folders]
        return {int(match[1]) for match in found if match}

    def _delete(self, steps: set[int]) -> None:
        for step in sorted(steps):
            name = checkpoint_name(step)
            # The mark goes first: what is half deleted is no checkpoint.
            self.storage.delete(f"{name}/{MANIFEST_NAME}")
            self.storage.delete_folder(name)


def checkpoint_name(step: int) -> str:
    """The folder of a step's checkpoint, such as step-00000500."""
    return f"{_PREFIX}{step:08d}"


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}

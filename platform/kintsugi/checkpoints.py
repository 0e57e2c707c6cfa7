"""The one resumable state of a run <-> a folder of safetensors and JSON; knows no Ray.

A checkpoint is the folder `step-00000123`: tensors, `state.json` and, written last, a
manifest with the SHA-256 of each file. Without its manifest a folder is no checkpoint;
with an altered or missing file it is refused by name and the one before is used.
"""

import hashlib
import json
import logging
import tempfile
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kintsugi.errors import StorageError
from kintsugi.order import Position, Used
from kintsugi.storage import Storage

logger = logging.getLogger(__name__)

MANIFEST_NAME = "manifest.json"
STATE_NAME = "state.json"
FORMAT_VERSION = 1
_PREFIX = "step-"


class DamagedCheckpoint(StorageError):
    """A checkpoint that is not what its manifest says, as opposed to storage that fails."""


@dataclass
class TrainState:
    """Everything that a run needs to go on as if it had never stopped.

    There is no random state in it: every draw is keyed by the seed, the epoch and the
    photograph.

    Attributes:
        networks: "generator" and "discriminator".
        optimizers: One for each network, under the same names.
        step: Optimiser steps done.
        position: Where the data stands after ``step``.
    """

    networks: dict[str, nn.Module]
    optimizers: dict[str, torch.optim.Optimizer]
    step: int = 0
    position: Position = field(default_factory=Position)


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
    (folder / STATE_NAME).write_text(
        json.dumps(
            {"step": state.step, "position": asdict(state.position), "param_groups": settings}
        )
    )
    seal(folder)


def seal(folder: Path) -> None:
    """Write the manifest that vouches for every file in ``folder``."""
    files = {path.name: _fingerprint(path.read_bytes()) for path in sorted(folder.iterdir())}
    manifest = {"version": FORMAT_VERSION, "files": files}
    (folder / MANIFEST_NAME).write_text(json.dumps(manifest, indent=2))


def load_checkpoint(folder: Path, state: TrainState) -> None:
    """Bring ``state`` to what a verified local checkpoint holds.

    Raises: StorageError naming the folder when it does not fit these networks.
    """
    saved = json.loads((folder / STATE_NAME).read_text())
    for name, network in state.networks.items():
        moments: dict[int, dict[str, Tensor]] = {}
        for key, value in load_file(folder / f"{name}-optimizer.safetensors").items():
            index, _, moment = key.partition(".")
            moments.setdefault(int(index), {})[moment] = value
        try:
            network.load_state_dict(load_file(folder / f"{name}.safetensors"))
            state.optimizers[name].load_state_dict(
                {"state": moments, "param_groups": saved["param_groups"][name]}
            )
        except (RuntimeError, ValueError) as error:
            why = " ".join(str(error).split())
            raise StorageError(
                f"checkpoint {folder.name} does not fit this configuration's {name}: {why};"
                " give the run another name, or the configuration that it was started with"
            ) from error
    position = saved["position"]
    state.step = saved["step"]
    state.position = Position(position["epoch"], tuple(Used(**used) for used in position["used"]))


class CheckpointStore:
    """The checkpoints of one run in storage."""

    def __init__(self, storage: Storage) -> None:
        self.storage = storage

    def publish(self, folder: Path, step: int) -> str:
        """Upload a local checkpoint; it exists once its manifest does. Returns its name."""
        name = checkpoint_name(step)
        self.storage.publish_folder(folder, name, last=MANIFEST_NAME)
        return name

    def steps(self) -> list[int]:
        """Steps that have a manifest, ascending; their files are not verified here."""
        found = []
        for file in self.storage.list():
            folder, _, name = file.partition("/")
            if name == MANIFEST_NAME and folder.startswith(_PREFIX):
                found.append(int(folder.removeprefix(_PREFIX)))
        return sorted(found)

    def newest_whole(self) -> int:
        """Step of the newest checkpoint whose files are what its manifest says; 0 without any.

        Raises: StorageError when storage fails, or when there are checkpoints and none is
        whole: starting anew would throw the run away.
        """
        steps = self.steps()
        for step in reversed(steps):
            try:
                with tempfile.TemporaryDirectory() as folder:
                    self.fetch(step, Path(folder))
            except DamagedCheckpoint as error:
                logger.warning("%s; using the one before", error)
                continue
            return step
        if steps:
            raise StorageError(
                f"none of the {len(steps)} checkpoints in {self.storage.uri} is whole: restore one"
                " from a backup, or start the run under another name"
            )
        return 0

    def restore(self, state: TrainState, step: int) -> None:
        """Load one checkpoint into ``state``. Raises: StorageError as `fetch`."""
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) / checkpoint_name(step)
            self.fetch(step, folder)
            load_checkpoint(folder, state)

    def fetch(self, step: int, folder: Path) -> None:
        """Copy a checkpoint into ``folder`` and verify it.

        Raises: DamagedCheckpoint naming the file that differs; StorageError when storage
        fails.
        """
        name = checkpoint_name(step)
        self.storage.fetch_folder(name, folder)
        verify_checkpoint(folder, f"{self.storage.uri}/{name}")

    def prune(self, keep: int, newest: int) -> None:
        """Delete all but the ``keep`` newest up to ``newest``, and what has no manifest.

        Args:
            keep: How many stay.
            newest: Step of the newest whole one. Later ones are damaged: the run will write
                them again.
        """
        kept = [checkpoint_name(step) for step in self.steps() if step <= newest][-keep:]
        folders = {file.partition("/")[0] for file in self.storage.list() if "/" in file}
        for name in sorted(folders - set(kept)):
            if name.startswith(_PREFIX):
                # The mark goes first: what is half deleted is no checkpoint.
                self.storage.delete(f"{name}/{MANIFEST_NAME}")
                self.storage.delete_folder(name)


def verify_checkpoint(folder: Path, name: str) -> None:
    """Compare every file with the manifest.

    Raises: DamagedCheckpoint naming the first that differs.
    """
    try:
        manifest: dict[str, Any] = json.loads((folder / MANIFEST_NAME).read_text())
    except (FileNotFoundError, json.JSONDecodeError) as error:
        raise DamagedCheckpoint(
            f"checkpoint {name} is refused: its manifest cannot be read"
        ) from error
    if manifest.get("version") != FORMAT_VERSION:
        raise DamagedCheckpoint(
            f"checkpoint {name} is refused: format version {manifest.get('version')!r}, this"
            f" program reads {FORMAT_VERSION}"
        )
    for file, expected in manifest["files"].items():
        path = folder / file
        if not path.is_file():
            raise DamagedCheckpoint(f"checkpoint {name} is refused: {file} is missing")
        if _fingerprint(path.read_bytes()) != expected:
            raise DamagedCheckpoint(
                f"checkpoint {name} is refused: {file} was cut short or altered"
            )


def checkpoint_name(step: int) -> str:
    return f"{_PREFIX}{step:08d}"


def _plain(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}


def _fingerprint(data: bytes) -> dict[str, Any]:
    return {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}

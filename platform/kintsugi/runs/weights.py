"""Trained networks out of a run or a release, by their part of the method; knows no training."""

import hashlib
import tempfile
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from safetensors.torch import save_file
from torch import Tensor, nn

from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.build import ModelConfig
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import WEIGHTS_NAME as RELEASE_WEIGHTS
from kintsugi.models.weights import ReleaseConfig, file_digest, load_release, read_weights
from kintsugi.runs.checkpoints import AVERAGE_NAME
from kintsugi.runs.run import Run, open_encoder
from kintsugi.stages.base.registry import builders, discriminator_parts, stage_spec
from kintsugi.storage.storage import Storage

State = dict[str, Tensor]

DISCRIMINATORS_NAME = "discriminators.safetensors"
# The key of a release's `training` under which its discriminators' digest stands.
DISCRIMINATORS_KEY = "discriminators"


@dataclass(frozen=True)
class TrainedNetworks:
    """What a run or a release has trained.

    Attributes:
        uri: Where it was found.
        parts: Weights by the names of `kintsugi.stages.base.registry.builders`; only those that
            are there.
        model: Their architecture.
        step: The step of a run's checkpoint; 0 for a release.
        weights: "running mean" or "last": which of a run's generator; "release".
        open_encoder: Opens the encoder that they were trained with.
        release: What the release says of itself; None of a run.
    """

    uri: str
    parts: dict[str, State]
    model: ModelConfig
    step: int
    weights: str
    open_encoder: Callable[[], Vgg19Relu3]
    release: ReleaseConfig | None = None

    def digest(self) -> str:
        """``sha256:`` of all weights, the same wherever they came from."""
        total = hashlib.sha256()
        for part in sorted(self.parts):
            for name, tensor in sorted(self.parts[part].items()):
                total.update(f"{part}.{name}".encode())
                total.update(tensor.detach().cpu().contiguous().numpy().tobytes())
        return f"sha256:{total.hexdigest()}"


def open_networks(uri: str, checkpoint: str = "auto") -> TrainedNetworks:
    """Read the networks of a release or of a run's checkpoint.

    Args:
        uri: The URI of the release's or the run's folder.
        checkpoint: The checkpoint of a run: "auto", "newest", "best" or a step; see
            `Run.fetch_checkpoint`. A generator's running mean is taken where the run keeps one.

    Raises:
        ConfigError: the run has no such checkpoint.
        StorageError: neither is there, or it is altered.
    """
    storage = Storage(uri)
    with tempfile.TemporaryDirectory() as temporary:
        if storage.exists(RELEASE_WEIGHTS):
            storage.fetch_folder("", Path(temporary))
            networks = _of_release(uri, Path(temporary))
        else:
            networks = _of_run(uri, Run(storage), checkpoint, Path(temporary))
    return replace(networks, parts=_initial_fill_in(networks.parts) | networks.parts)


def _initial_fill_in(parts: dict[str, State]) -> dict[str, State]:
    """What G1 begins with, as a part of its own, where it holds one."""
    prefix = "initial_fill."
    state = {
        name.removeprefix(prefix): value
        for name, value in parts.get("infer", {}).items()
        if name.startswith(prefix)
    }
    return {"initial_fill": state} if state else {}


def _of_release(uri: str, folder: Path) -> TrainedNetworks:
    try:
        inpainter, config = load_release(folder)
    except ValueError as error:
        raise StorageError(f"{uri}: {error}") from error
    parts = {name: network.state_dict() for name, network in generators_of(inpainter).items()}
    return TrainedNetworks(
        uri,
        parts | _read_discriminators(uri, folder, config),
        config.model,
        step=0,
        weights="release",
        open_encoder=lambda: inpainter.image2feature.encoder,
        release=config,
    )


def generators_of(inpainter: Inpainter) -> dict[str, nn.Module]:
    """The trained networks of an Inpainter by their part."""
    return {"infer": inpainter.image2feature.generator, "translate": inpainter.feature2image}


def _of_run(uri: str, run: Run, checkpoint: str, folder: Path) -> TrainedNetworks:
    config = run.config()
    step = run.fetch_checkpoint(checkpoint, folder)
    averaged = (folder / AVERAGE_NAME).is_file()
    generator = read_weights(folder / (AVERAGE_NAME if averaged else "generator.safetensors"))
    parts = split_generator(config.stage, generator)
    spec = stage_spec(config.stage)
    if spec.judges(config.losses):
        parts[spec.discriminator[0]] = read_weights(folder / "discriminator.safetensors")
    return TrainedNetworks(
        uri,
        parts,
        config.model,
        step=step,
        weights="running mean" if averaged else "last",
        open_encoder=lambda: open_encoder(config.encoder, config.seed),
    )


def split_generator(stage: str, state: State) -> dict[str, State]:
    """A stage's generator as parts of the method."""
    names = list(stage_spec(stage).generator)
    if len(names) == 1:
        return {names[0]: state}
    return {
        name: {
            key.removeprefix(f"{name}."): value
            for key, value in state.items()
            if key.startswith(f"{name}.")
        }
        for name in names
    }


def join_generator(stage: str, parts: dict[str, State]) -> State:
    """Parts of the method as a stage's generator: what `split_generator` took apart."""
    names = list(stage_spec(stage).generator)
    if len(names) == 1:
        return parts[names[0]]
    return {f"{name}.{key}": value for name in names for key, value in parts[name].items()}


def check_fit(networks: TrainedNetworks, needed: list[str], model: ModelConfig, key: str) -> None:
    """Compare parts with an architecture.

    Args:
        networks: What is there.
        needed: Names of its parts.
        model: What they must fit.
        key: The configuration's key that named them, for the error.

    Raises: ConfigError naming both architectures.
    """
    known = builders()
    for part in needed:
        built = known[part](model, seed=0).state_dict()
        if _shapes(networks.parts[part]) == _shapes(built):
            continue
        theirs, ours = asdict(networks.model), asdict(model)
        differing = [name for name in ours if ours[name] != theirs[name]]
        there = ", ".join(f"{name}={theirs[name]!r}" for name in differing)
        here = ", ".join(f"model.{name}={ours[name]!r}" for name in differing)
        raise ConfigError(
            f"{key}={networks.uri!r}: its {part} has {there or 'other layers'}, this configuration"
            f" {here or 'the same names, but this version of the program builds others'}: set what"
            " the source has, or name another source"
        )


def _shapes(state: State) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in state.items()}


def save_discriminators(folder: Path, parts: dict[str, State]) -> dict[str, str]:
    """Write the discriminators of a release. Returns: what its config says of them."""
    path = folder / DISCRIMINATORS_NAME
    save_file(
        {
            f"{part}.{name}": value.contiguous()
            for part in discriminator_parts()
            if part in parts
            for name, value in parts[part].items()
        },
        path,
        metadata={"format": "pt"},
    )
    return {"file": DISCRIMINATORS_NAME, "digest": file_digest(path)}


def _read_discriminators(uri: str, folder: Path, config: ReleaseConfig) -> dict[str, State]:
    about = config.training.get(DISCRIMINATORS_KEY)
    if about is None:
        return {}
    path = folder / DISCRIMINATORS_NAME
    if not path.is_file() or file_digest(path) != about["digest"]:
        raise StorageError(
            f"{uri}/{DISCRIMINATORS_NAME} is missing or is not the file that the release's"
            " config.json names: publish the release again"
        )
    parts: dict[str, State] = {}
    for key, value in read_weights(path).items():
        part, _, name = key.partition(".")
        parts.setdefault(part, {})[name] = value
    return parts

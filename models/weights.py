"""A release folder on the local disk <-> an Inpainter; knows no object storage.

A release is `config.json` (architecture, encoder, preferences, data, metrics, digest),
`model.safetensors` and `README.md` (the model card). The digest is the SHA-256 of the weights
file, whose header repeats the preferences, so that releases which fill differently have
different ones; `config.json` is written last and is the mark of a whole release.
"""

import hashlib
import json
import os
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.precision import Precision

Value = TypeVar("Value")

FORMAT_VERSION = 1
CONFIG_NAME = "config.json"
WEIGHTS_NAME = "model.safetensors"
CARD_NAME = "README.md"
# What files from before a change of names call things; `current_name` reads them.
_RENAMED = {"first_fill": "initial_fill"}


@dataclass(frozen=True)
class ReleaseConfig:
    """What `config.json` of a release says.

    Attributes:
        name: The release's name, as `x-model-version` shows it.
        model: Architecture.
        encoder: Where VGG's weights came from: a path, "torchvision" or "random (seed 0)".
        matching: How this release matches.
        training: By stage, how it was trained: the run's config, steps and weights; for
            publishing a part of it again.
        metrics: Figures of the evaluation, free form.
        digest: "sha256:..." of the weights file; set by `save_release`.
        version: The version of this format.
    """

    name: str
    model: ModelConfig
    encoder: str
    matching: MatchingConfig = field(default_factory=MatchingConfig)
    training: dict[str, Any] = field(default_factory=dict)
    metrics: dict[str, Any] = field(default_factory=dict)
    digest: str = ""
    version: int = FORMAT_VERSION


def save_release(
    folder: Path, inpainter: Inpainter, config: ReleaseConfig, *, card: str, half: bool = False
) -> ReleaseConfig:
    """Write a release into ``folder``, which is made where it is missing; `config.json` last.

    Args:
        folder: On the local disk.
        inpainter: Whose weights are written.
        config: What the release says of itself; its digest is computed here.
        card: The model card, Markdown.
        half: Store convolutions in float16, half the bytes; what is loaded is float32 again.
            Biases and statistics of norms, which are few and may be large, stay as they are.

    Returns: the config with its digest.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG_NAME).unlink(missing_ok=True)
    state = {
        name: (tensor.half() if half and tensor.ndim == 4 else tensor).contiguous()
        for name, tensor in inpainter.state_dict().items()
    }
    decides = (config.model, config.matching)
    preferences = json.dumps([asdict(part) for part in decides], sort_keys=True)
    # One entry alone: safetensors writes several in any order.
    save_file(state, folder / WEIGHTS_NAME, metadata={"preferences": preferences})
    (folder / CARD_NAME).write_text(card, encoding="utf-8")
    named = replace(config, digest=file_digest(folder / WEIGHTS_NAME))
    partial = folder / (CONFIG_NAME + ".partial")
    partial.write_text(json.dumps(asdict(named), indent=2) + "\n", encoding="utf-8")
    os.replace(partial, folder / CONFIG_NAME)
    return named


def load_release(
    folder: Path, *, device: torch.device | str = "cpu", precision: Precision = "float32"
) -> tuple[Inpainter, ReleaseConfig]:
    """Read a release and check its digest.

    Args:
        folder: On the local disk.
        device: Where its networks run.
        precision: In what they compute.

    Raises:
        ValueError: the folder is no release, of another format version, or its weights
            are not those that its config names.
    """
    config = read_release_config(folder)
    if not (folder / WEIGHTS_NAME).is_file():
        raise ValueError(f"{folder} holds no {WEIGHTS_NAME}: publish it again, or copy all of it")
    found = file_digest(folder / WEIGHTS_NAME)
    if found != config.digest:
        raise ValueError(
            f"{folder / WEIGHTS_NAME} has digest {found} but {CONFIG_NAME} names"
            f" {config.digest}: the file was cut short or altered; fetch the release again"
        )
    inpainter = build_inpainter(config.model, Vgg19Relu3(), matching=config.matching)
    inpainter.precision = precision
    load_weights(inpainter, folder / WEIGHTS_NAME)
    return inpainter.to(device).eval(), config


def read_release_config(folder: Path) -> ReleaseConfig:
    """What a release says of itself, without its weights. Raises: ValueError as `load_release`."""
    path = folder / CONFIG_NAME
    if not path.is_file():
        raise ValueError(
            f"{folder} holds no {CONFIG_NAME}: it is no release, or one whose writing was cut"
            " short; publish it again"
        )
    return parse_release_config(path.read_bytes(), str(path))


def parse_release_config(text: bytes, path: str) -> ReleaseConfig:
    """The content of a release's `config.json`; ``path`` names it. Raises: ValueError."""
    raw = _json_object(text, path)
    if raw.get("version") != FORMAT_VERSION:
        raise ValueError(
            f"{path} has format version {raw.get('version')!r}; this program reads"
            f" {FORMAT_VERSION}: use the program that wrote it, or publish it again"
        )
    try:
        # Earlier releases name how each scale's image was finished, which was given up: by eye
        # it made fog of large holes.
        raw.pop("finishing", None)
        return ReleaseConfig(
            **{
                **raw,
                "training": _by_current_name(raw.get("training", {})),
                "model": ModelConfig(**raw["model"]),
                "matching": MatchingConfig(**_without_limit(raw["matching"])),
            }
        )
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        # A mapping that is none has no `items`, a key that is missing says its name alone.
        why = f"no {error}" if isinstance(error, KeyError) else error
        raise ValueError(f"{path} is not a release's configuration: {why}") from error


def _json_object(text: bytes, path: str) -> dict[str, Any]:
    try:
        raw = json.loads(text)
    except ValueError as error:
        raise ValueError(
            f"{path} is not JSON: {error}; it was cut short or altered, fetch the release again"
        ) from error
    if not isinstance(raw, dict):
        raise ValueError(
            f"{path} holds {text[:40]!r}, which is no JSON object: it is not a release's"
            " configuration; name the folder of a release, or publish it again"
        )
    return raw


def current_name(name: str) -> str:
    """A name out of a file, dotted or not, with each of its parts as it is called now."""
    return ".".join(_RENAMED.get(part, part) for part in name.split("."))


def read_weights(path: Path) -> dict[str, Tensor]:
    """A safetensors file of weights, by the names that its networks have now."""
    return _by_current_name(load_file(path))


def _by_current_name(values: dict[str, Value]) -> dict[str, Value]:
    return {current_name(name): value for name, value in values.items()}


def _without_limit(matching: dict[str, Any]) -> dict[str, Any]:
    """The preferences of a release, which once could limit how often a patch is copied."""
    limit = matching.get("max_uses")
    if limit is not None:
        raise ValueError(
            f"matching.max_uses={limit}: this program copies a patch any number of times; publish"
            " the release again"
        )
    return {name: value for name, value in matching.items() if name != "max_uses"}


def load_weights(module: nn.Module, path: Path) -> None:
    """Load a safetensors file into ``module``; every name and shape must agree.

    Raises: ValueError: It is no such file, or one of another architecture.
    """
    try:
        module.load_state_dict(read_weights(path))
    except SafetensorError as error:
        raise ValueError(f"{path} is no safetensors file: {error}") from error
    except RuntimeError as error:
        raise ValueError(f"{path} does not fit this architecture: {error}") from error


def file_digest(path: Path) -> str:
    """``sha256:`` and the hexadecimal SHA-256 of a file."""
    with path.open("rb") as file:
        return "sha256:" + hashlib.file_digest(file, "sha256").hexdigest()


def load_encoder(source: str, *, seed: int = 0) -> Vgg19Relu3:
    """The encoder that a configuration names.

    Args:
        source: "random" (seeded; for tests and demonstrations), "torchvision" (downloads
            548 MB on first use), or the path of a safetensors file or of a release folder.
        seed: The seed of "random".

    Raises: ValueError when the path holds neither.
    """
    if source == "random":
        return Vgg19Relu3.random(seed)
    if source == "torchvision":
        return Vgg19Relu3.from_torchvision()
    path = Path(source)
    if (path / CONFIG_NAME).is_file():
        inpainter, _ = load_release(path)
        return inpainter.image2feature.encoder
    if path.is_file():
        return Vgg19Relu3.from_file(path)
    raise ValueError(
        f"encoder={source!r} is no file and no release folder: give one of those, 'torchvision'"
        " or 'random'"
    )

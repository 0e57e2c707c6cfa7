"""Runs -> a release folder with its model card; knows no Ray."""

import json
import re
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kintsugi.config import JobConfig
from kintsugi.errors import ConfigError
from kintsugi.runs import Run, open_encoder
from kintsugi.storage import Storage
from models.build import ModelConfig, build_inpainter
from models.inpainter import Inpainter
from models.matching import MatchingConfig
from models.weights import CONFIG_NAME, ReleaseConfig, load_weights, save_release

# It travels in an HTTP header with each answer.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Published:
    """A release in storage and what its config says."""

    uri: str
    config: ReleaseConfig


def publish(
    stage1: str,
    stage2: str,
    output: str,
    *,
    name: str,
    matching: dict[str, Any] | None = None,
    metrics: dict[str, Any] | None = None,
) -> Published:
    """Join a stage 1 and a stage 2 run into one release folder.

    Args:
        stage1: URI of the run's folder.
        stage2: URI of the run's folder.
        output: URI of the release folder; a release that is there is replaced, its
            `config.json` last.
        name: Of the release.
        matching: How the release matches, by the names of `MatchingConfig`. What is not
            named is the paper's, the guard that of stage 2's training.
        metrics: Figures of an evaluation for the config and the model card.

    Raises:
        ConfigError: a run is of the wrong stage, the two differ in architecture or
            encoder, or ``matching`` names or sets something wrong.
        StorageError: a run has no whole checkpoint.
    """
    if not _NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: letters, digits, '.', '_' and '-', at most 64")
    first, second = Run(Storage(stage1)), Run(Storage(stage2))
    configs = first.config(), second.config()
    _check_pair(configs, (stage1, stage2))
    one, two = configs
    inpainter = build_inpainter(
        _joint_model(one, two),
        open_encoder(one.encoder, one.seed),
        matching=_matching({"guard": two.translate.guard} | (matching or {})),
    )
    steps = _load_networks(inpainter, first, second)
    config = ReleaseConfig(
        name=name,
        model=_joint_model(one, two),
        encoder=describe_encoder(one),
        matching=inpainter.matching,
        training={
            "stage1": {"config": one.to_dict(), "steps": steps[0]},
            "stage2": {"config": two.to_dict(), "steps": steps[1]},
        },
        metrics=metrics or {},
    )
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        saved = save_release(folder, inpainter, config, card=model_card(config))
        Storage(output).publish_folder(folder, "", last=CONFIG_NAME)
    return Published(Storage(output).uri, saved)


def _matching(preferences: dict[str, Any]) -> MatchingConfig:
    try:
        return MatchingConfig(**preferences)
    except (TypeError, ValueError) as error:
        raise ConfigError(f"matching: {error}") from error


def _joint_model(stage1: JobConfig, stage2: JobConfig) -> ModelConfig:
    return ModelConfig(
        stage1.model.size, stage1.model.generator_upsampling, stage2.model.translator_upsampling
    )


def describe_encoder(config: JobConfig) -> str:
    """What a release says its encoder is; random weights are named as such."""
    return f"random (seed {config.seed})" if config.encoder == "random" else config.encoder


def model_card(config: ReleaseConfig) -> str:
    """README.md of a release."""
    one, two = config.training["stage1"], config.training["stage2"]
    figures = json.dumps(config.metrics, indent=2) if config.metrics else "Not evaluated yet."
    matching = ", ".join(
        f"{name} {value}" for name, value in asdict(config.matching).items() if value is not None
    )
    return f"""# {config.name}

Image inpainting after "Contextual-based Image Inpainting: Infer, Match, and Translate" (ECCV 2018).

| part | what it is |
| --- | --- |
| size | {config.model.size} |
| encoder | {config.encoder} |
| matching | {matching} |
| stage 1 | {one["steps"]} steps on {one["config"]["data"]["shards"]} |
| stage 2 | {two["steps"]} steps on {two["config"]["data"]["shards"]} |

## Figures

{figures}
"""


def _check_pair(configs: tuple[JobConfig, JobConfig], uris: tuple[str, str]) -> None:
    for config, uri, stage in zip(configs, uris, ("stage1", "stage2"), strict=True):
        if config.stage != stage:
            raise ConfigError(f"--{stage} {uri} is a run of {config.stage}: name one of {stage}")
    one, two = configs
    if one.model.size != two.model.size:
        raise ConfigError(
            f"stage 1 has model.size={one.model.size!r} and stage 2 {two.model.size!r}: a release"
            " has one size; train the other stage at it"
        )
    if describe_encoder(one) != describe_encoder(two):
        raise ConfigError(
            f"stage 1 was trained with encoder {describe_encoder(one)} and stage 2 with"
            f" {describe_encoder(two)}: features of one mean nothing to the other; use the same"
        )


def _load_networks(inpainter: Inpainter, first: Run, second: Run) -> tuple[int, int]:
    networks = inpainter.image2feature.generator, inpainter.feature2image
    steps = []
    for run, network in zip((first, second), networks, strict=True):
        with tempfile.TemporaryDirectory() as temporary:
            steps.append(run.fetch_newest(Path(temporary)))
            load_weights(network, Path(temporary) / "generator.safetensors")
    return steps[0], steps[1]

"""What the parts of a release come from, runs or other releases; knows not how one is written."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from kintsugi.errors import ConfigError, StorageError
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import WEIGHTS_NAME
from kintsugi.runs.run import CONFIG_NAME, Run
from kintsugi.runs.weights import TrainedNetworks, open_networks
from kintsugi.stages.base.registry import stage_spec
from kintsugi.storage.storage import Storage

# What a release matches by as its stage 2 was trained, unless something else is asked for.
_MATCHED_IN_TRAINING = ("guard", "keys", "repeats", "colour")
# What a release says of how a stage was trained.
_DESCRIBED_BY = ("config", "steps", "weights")


@dataclass(frozen=True)
class Source:
    """Trained networks and what is known of them.

    Attributes:
        uri: The URI of the run's or the release's folder.
        networks: What is there; of a release all of it.
        training: What a release's config says of it: `training_of`.
        encoder: What that says of the encoder.
        matching: What it matches by where nothing else is said.
    """

    uri: str
    networks: TrainedNetworks
    training: dict[str, Any]
    encoder: str
    matching: dict[str, Any]


def check_runs(uris: Mapping[str, str]) -> None:
    """Whether runs can be joined, before any of their weights are fetched.

    Args: ``uris``: Of "stage1" and "stage2"; a release is passed over.

    Raises:
        ConfigError: a run is of the wrong stage, or they differ in size or encoder.
        StorageError: something is neither a run nor a release.
    """
    runs = {}
    for stage, uri in uris.items():
        storage = Storage(uri)
        if storage.exists(WEIGHTS_NAME):
            continue
        if not storage.exists(CONFIG_NAME):
            raise StorageError(
                f"--{stage} {uri} is neither a run nor a release: it has no {CONFIG_NAME}; train"
                " it first or correct the address"
            )
        runs[stage] = Run(storage).config()
    for stage, config in runs.items():
        if config.stage not in (stage, "end_to_end"):
            raise ConfigError(
                f"--{stage} {uris[stage]} is a run of {config.stage}: name one of {stage}"
            )
    if len(runs) == 2:
        one, two = runs.values()
        _check_sizes(one.model.size, two.model.size)
        if (theirs := describe_encoder(one.encoder, one.seed)) != (
            others := describe_encoder(two.encoder, two.seed)
        ):
            raise ConfigError(_other_encoders(theirs, others))


def open_source(uri: str, stage: str, checkpoint: str) -> Source:
    """Open a run of a stage, or a release that has one.

    Args:
        uri: The URI of its folder.
        stage: "stage1" or "stage2".
        checkpoint: The checkpoint of a run; see `kintsugi.runs.weights.open_networks`.

    Raises:
        ConfigError: the run has no such checkpoint, or the release does not say how that stage
            was trained.
        StorageError: neither is there, or it is altered.
    """
    networks = open_networks(uri, checkpoint)
    training = training_of(uri, stage, networks)
    if stage not in training:
        raise ConfigError(
            f"--{stage} {uri} is a release that does not say how its {stage} was trained: its"
            f" config.json must have {', '.join(_DESCRIBED_BY)} under training.{stage}; name a run"
        )
    if (release := networks.release) is None:
        config = Run(Storage(uri)).config()
        matching = {name: getattr(config.translate, name) for name in _MATCHED_IN_TRAINING}
        return Source(
            uri, networks, training, describe_encoder(config.encoder, config.seed), matching
        )
    return Source(uri, networks, training, release.encoder, asdict(release.matching))


def training_of(uri: str, stage: str, networks: TrainedNetworks) -> dict[str, Any]:
    """What a release's config says of how a part of it was trained.

    Args:
        uri: Where ``networks`` were found.
        stage: "stage1", "stage2" or "initial_fill".
        networks: The networks of a run, or of a release, which says so itself.

    Returns:
        By the name of the stage; by that of the initial fill too, where stage 1 holds one. A
        release may not say.
    """
    if networks.release is not None:
        known = networks.release.training
        stages = (stage, "initial_fill") if stage == "stage1" else (stage,)
        return {name: known[name] for name in stages if _is_described(known.get(name))}
    config = Run(Storage(uri)).config()
    about = {"config": config.to_dict(), "steps": networks.step, "weights": networks.weights}
    return {stage: {key: without_home(value) for key, value in about.items()}}


def _is_described(about: object) -> bool:
    return isinstance(about, dict) and all(key in about for key in _DESCRIBED_BY)


def joint_encoder(one: Source, two: Source) -> Vgg19Relu3:
    """The encoder of stage 1 and of stage 2, which is one; unrounded where one has it so.

    Raises: ConfigError where it is not.
    """
    encoders = [source.networks.open_encoder() for source in (one, two)]
    states = [encoder.state_dict() for encoder in encoders]
    # Releases may hold convolutions in float16 (`kintsugi.models.weights.save_release`).
    if any(
        not torch.equal(states[1][name].half(), value.half()) for name, value in states[0].items()
    ):
        raise ConfigError(_other_encoders(one.encoder, two.encoder))
    rounded = [all(torch.equal(v, v.half().to(v)) for v in state.values()) for state in states]
    return encoders[1] if rounded[0] and not rounded[1] else encoders[0]


def check_pair(one: Source, two: Source, discriminators: bool) -> None:
    """Whether stage 1 and stage 2 make one release. Raises: ConfigError."""
    models = one.networks.model, two.networks.model
    _check_sizes(models[0].size, models[1].size)
    if not discriminators:
        return
    for source, stage in ((one, "stage1"), (two, "stage2")):
        # An end-to-end run has the one of stage 2 alone.
        judges = {stage_spec(name).discriminator[0] for name in (stage, "end_to_end")}
        if not judges & source.networks.parts.keys():
            raise ConfigError(
                f"--with-discriminators: --{stage} {source.uri} has none; name a run, or a release"
                " that was published with them, or leave them out"
            )
    norms = models[0].discriminator_norm, models[1].discriminator_norm
    if norms[0] != norms[1]:
        raise ConfigError(
            f"stage 1 has model.discriminator_norm={norms[0]!r} and stage 2 {norms[1]!r}: a release"
            " has one; publish without discriminators, or train the other stage with it"
        )


def _check_sizes(one: str, two: str) -> None:
    if one != two:
        raise ConfigError(
            f"stage 1 has model.size={one!r} and stage 2 {two!r}: a release has one size; train"
            " the other stage at it"
        )


def _other_encoders(one: str, two: str) -> str:
    return (
        f"stage 1 was trained with encoder {one} and stage 2 with {two}, which has other weights:"
        " features of one mean nothing to the other; use the same"
    )


def describe_encoder(encoder: str, seed: int) -> str:
    """What a release says its encoder is; random weights are named as such."""
    named = {"random": f"random (seed {seed})", "release": "the bundled release's"}
    return str(without_home(named.get(encoder, encoder)))


def without_home(value: Any) -> Any:
    """The same with `~` for this user's home: a release goes to others."""
    if isinstance(value, dict):
        return {key: without_home(inner) for key, inner in value.items()}
    home = str(Path.home())
    if isinstance(value, str) and (value == home or value.startswith(f"{home}/")):
        return "~" + value[len(home) :]
    return value

"""What a part of a release comes from, a run or another release; knows no release folder."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from kintsugi.config import JobConfig, parse_config
from kintsugi.errors import ConfigError
from kintsugi.networks import Networks, open_networks
from kintsugi.runs import Run
from kintsugi.storage import Storage
from models.weights import CONFIG_NAME, ReleaseConfig, parse_release_config

# What a release matches by as its stage 2 was trained, unless told otherwise.
_MATCHED_IN_TRAINING = ("guard", "keys", "repeats", "colour")


@dataclass(frozen=True)
class Source:
    """Trained networks and what is known of them.

    Attributes:
        config: Of the run that trained the stage that is wanted.
        networks: Its networks, or all of the release's.
        training: What a release's config says of it: `training_of`.
        encoder: What it says of the encoder.
        matching: What it matches by where nothing else is said.
        finishing: The same of what is done to each scale's image.
    """

    config: JobConfig
    networks: Networks
    training: dict[str, Any]
    encoder: str
    matching: dict[str, Any]
    finishing: dict[str, Any]


def open_source(uri: str, stage: str, checkpoint: str) -> Source:
    """Open a run of a stage, or a release that has one.

    Args:
        uri: Of its folder.
        stage: "stage1" or "stage2".
        checkpoint: Of a run; see `kintsugi.networks.open_networks`.

    Raises:
        ConfigError: the run has no such checkpoint, or the release does not say how that stage
            was trained.
        StorageError: neither is there, or it is altered.
    """
    networks = open_networks(uri, checkpoint)
    training = training_of(uri, stage, networks)
    if stage not in training:
        raise ConfigError(
            f"--{stage} {uri} is a release that does not say how its {stage} was trained: name a"
            " run"
        )
    config = parse_config(training[stage]["config"], f"{uri}/{CONFIG_NAME}")
    if networks.weights != "release":
        matching = {name: getattr(config.translate, name) for name in _MATCHED_IN_TRAINING}
        return Source(config, networks, training, describe_encoder(config), matching, {})
    release = _release_config(uri)
    return Source(
        config,
        networks,
        training,
        release.encoder,
        asdict(release.matching),
        asdict(release.finishing),
    )


def training_of(uri: str, stage: str, networks: Networks) -> dict[str, Any]:
    """What a release's config says of how a part of it was trained.

    Args:
        uri: Where ``networks`` were found.
        stage: As `open_source`.
        networks: Of a run, or of a release, which says so itself.

    Returns:
        By the name of the stage; by that of the first fill too, where stage 1 holds one. A
        release may not say.
    """
    if networks.weights == "release":
        known = _release_config(uri).training
        stages = (stage, "first_fill") if stage == "stage1" else (stage,)
        return {name: known[name] for name in stages if name in known}
    config = Run(Storage(uri)).config()
    about = {"config": config.to_dict(), "steps": networks.step, "weights": networks.weights}
    return {stage: {key: without_home(value) for key, value in about.items()}}


def _release_config(uri: str) -> ReleaseConfig:
    # `open_networks` has found nothing wrong with it.
    return parse_release_config(Storage(uri).read(CONFIG_NAME), f"{uri}/{CONFIG_NAME}")


def describe_encoder(config: JobConfig) -> str:
    """What a release says its encoder is; random weights are named as such."""
    named = {"random": f"random (seed {config.seed})", "release": "the bundled release's"}
    return str(without_home(named.get(config.encoder, config.encoder)))


def without_home(value: Any) -> Any:
    """The same with `~` for this user's home: a release goes to others."""
    if isinstance(value, dict):
        return {key: without_home(inner) for key, inner in value.items()}
    home = str(Path.home())
    if isinstance(value, str) and (value == home or value.startswith(f"{home}/")):
        return "~" + value[len(home) :]
    return value

"""Runs, or parts of releases, -> a release folder with its model card; knows no Ray."""

import json
import re
import tempfile
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

from kintsugi.errors import ConfigError
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import CONFIG_NAME, ReleaseConfig, save_release
from kintsugi.release.sources import check_pair, check_runs, joint_encoder, open_source, training_of
from kintsugi.runs.weights import (
    DISCRIMINATORS_KEY,
    DISCRIMINATORS_NAME,
    State,
    TrainedNetworks,
    check_fit,
    generators_of,
    open_networks,
    save_discriminators,
)
from kintsugi.stages.base.registry import stage_spec
from kintsugi.storage.storage import Storage

# It travels in an HTTP header with each answer.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


@dataclass(frozen=True)
class Published:
    """A release in storage and what its config says."""

    uri: str
    config: ReleaseConfig


@dataclass(frozen=True)
class Selection:
    """What of the runs goes into a release.

    Attributes:
        checkpoint: The checkpoint of every run: "newest", "best" (lowest held-out loss), "auto"
            (the best where there is one) or a step.
        discriminators: Publish them too, so that training can start from the release.
        half: Store convolutions in float16: half the bytes.
    """

    checkpoint: str = "auto"
    discriminators: bool = False
    half: bool = False


def publish(
    stage1: str,
    stage2: str,
    output: str,
    *,
    name: str,
    select: Selection = Selection(),
    matching: dict[str, Any] | None = None,
    initial_fill: str | None = None,
    metrics: dict[str, Any] | None = None,
) -> Published:
    """Join a stage 1 and a stage 2 run into one release folder.

    A run of both stages at once (`end_to_end`) can stand in either place, or in both; so can a
    release: the networks of that part are then taken from it.

    Args:
        stage1: URI of the run's or release's folder.
        stage2: URI of the run's or release's folder.
        output: URI of the release folder; a release that is there is replaced, its
            `config.json` last.
        name: The name of the release.
        select: Which checkpoint, and whether with discriminators.
        matching: How the release matches, by the names of `MatchingConfig`. What is not
            named is the paper's; guard, keys, repeats and colour those of stage 2's training;
            all of it that of the release which stage 2 comes from.
        initial_fill: URI of a run of that stage, or of a release, whose predictor G1 then begins
            with instead of a smooth fill.
        metrics: Figures of an evaluation for the config and the model card.

    Raises:
        ConfigError: a run is of the wrong stage or has no such checkpoint, a release does not
            say how it was trained, the two differ in size or encoder, discriminators are wanted
            and missing, or ``matching`` names or sets something wrong.
        StorageError: a run has no whole checkpoint.
    """
    if not NAME.fullmatch(name):
        raise ConfigError(f"--name {name!r}: letters, digits, '.', '_' and '-', at most 64")
    check_runs({"stage1": stage1, "stage2": stage2})
    one = open_source(stage1, "stage1", select.checkpoint)
    two = open_source(stage2, "stage2", select.checkpoint)
    check_pair(one, two, select.discriminators)
    # A release has, and a run of both stages too, what is the other's to give.
    parts = {
        part: source.networks.parts[part]
        for source, stage in ((one, "stage1"), (two, "stage2"))
        for part in (*stage_spec(stage).generator, stage_spec(stage).discriminator[0])
        if part in source.networks.parts
    }
    training = one.training | {"stage2": two.training["stage2"]}
    model = _joint_model(one.networks.model, two.networks.model)
    if initial_fill is not None:
        predictor = open_networks(initial_fill, select.checkpoint)
        model = _with_initial_fill(model, predictor)
        parts["infer"] = _replace_initial_fill(parts["infer"], predictor.parts["initial_fill"])
        training.pop("initial_fill", None)
        training |= training_of(initial_fill, "initial_fill", predictor)
    encoder = joint_encoder(one, two)
    inpainter = _build(model, encoder, two.matching | (matching or {}))
    for part, network in generators_of(inpainter).items():
        network.load_state_dict(parts[part])
    config = ReleaseConfig(
        name=name,
        model=model,
        encoder=one.encoder,
        matching=inpainter.matching,
        training=training,
        metrics=metrics or {},
    )
    saved = _write(inpainter, config, parts, Storage(output), select)
    return Published(Storage(output).uri, saved)


def _write(
    inpainter: Inpainter,
    config: ReleaseConfig,
    parts: dict[str, State],
    output: Storage,
    select: Selection,
) -> ReleaseConfig:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        if select.discriminators:
            about = save_discriminators(folder, parts)
            config = replace(config, training=config.training | {DISCRIMINATORS_KEY: about})
        saved = save_release(folder, inpainter, config, card=model_card(config), half=select.half)
        output.publish_folder(folder, "", last=CONFIG_NAME)
    if not select.discriminators:
        # Files of a release that was replaced.
        output.delete(DISCRIMINATORS_NAME)
    return saved


def _with_initial_fill(model: ModelConfig, predictor: TrainedNetworks) -> ModelConfig:
    """The architecture with a predicted initial fill. Raises: ConfigError: it cannot have it."""
    if "initial_fill" not in predictor.parts:
        raise ConfigError(
            f"--initial-fill {predictor.uri} has none: it holds {', '.join(predictor.parts)}; name"
            " a run of kintsugi train initial-fill, or a release that has one"
        )
    if model.generator_input == "grey":
        raise ConfigError(
            '--initial-fill: stage 1\'s G1 draws all of the hole (model.generator_input = "grey")'
            ' and begins with no fill: train one with "smooth"'
        )
    model = replace(model, initial_fill=predictor.model.initial_fill)
    check_fit(predictor, ["initial_fill"], model, "--initial-fill")
    return replace(model, generator_input="predicted")


def _replace_initial_fill(infer: State, initial_fill: State) -> State:
    rest = {name: value for name, value in infer.items() if not name.startswith("initial_fill.")}
    return rest | {f"initial_fill.{name}": value for name, value in initial_fill.items()}


def _build(model: ModelConfig, encoder: Vgg19Relu3, matching: dict[str, Any]) -> Inpainter:
    """The release with random weights. Raises: ConfigError when it cannot fill like that."""
    try:
        return build_inpainter(model, encoder, matching=MatchingConfig(**matching))
    except (TypeError, ValueError) as error:
        raise ConfigError(f"matching: {error}") from error


def _joint_model(stage1: ModelConfig, stage2: ModelConfig) -> ModelConfig:
    """Stage 1's architecture with stage 2's translator."""
    names = (field.name for field in fields(ModelConfig))
    model = ModelConfig(**{name: getattr(stage1, name) for name in names})
    return replace(
        model,
        translator_upsampling=stage2.translator_upsampling,
        translator_input=stage2.translator_input,
    )


def model_card(config: ReleaseConfig) -> str:
    """README.md of a release."""
    one, two = config.training["stage1"], config.training["stage2"]
    figures = json.dumps(config.metrics, indent=2) if config.metrics else "Not evaluated yet."
    matching = ", ".join(f"{name} {value}" for name, value in asdict(config.matching).items())
    return f"""# {config.name}

Image inpainting after "Contextual-based Image Inpainting: Infer, Match, and Translate" (ECCV 2018).

| part | what it is |
| --- | --- |
| size | {config.model.size} |
| encoder | {config.encoder} |
| matching | {matching} |
| stage 1 | {_trained(one)} |
| stage 2 | {_trained(two)} |
| discriminators | {"yes" if DISCRIMINATORS_KEY in config.training else "no"} |

## Figures

{figures}
"""


def _trained(stage: dict[str, Any]) -> str:
    # What was trained elsewhere may say less.
    shards = stage["config"].get("data", {}).get("shards", "shards without a name")
    return f"{stage['steps']} steps on {shards}, {stage['weights']} weights"

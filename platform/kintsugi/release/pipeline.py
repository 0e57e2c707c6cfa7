"""From photographs to a release that passed its evaluation: which jobs, in which order, and when it
counts as good. Starts nothing and knows no Ray; jobs/pipeline.py does."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kintsugi.errors import ConfigError
from kintsugi.storage.storage import Storage

# Names of the steps that are done, with their commands.
STATE_NAME = "steps.json"
DONE, SOME_REJECTED = 0, 3


@dataclass(frozen=True)
class PipelineConfig:
    """The photographs, and what is made of them.

    Attributes:
        flavour: Prefix of jobs/configs: recommended, paper, debug.
        shards: URI where the photographs are packed.
        runs: URI of the folder of runs; what the pipeline itself keeps is there, too.
        output: URI of the release; its last part is its name.
        photos: URI of the photographs; "" takes the configuration's.
        held_out: Share of the photographs that is kept out of training and evaluated on.
        teacher: Whose features an encoder is trained on first: "torchvision", path, URI; "" takes
            the configuration's encoder.
        encoder_steps: How many steps that training has.
        workers: Train workers; 0 takes the configuration's number.
        least: Workers with which a training goes on while others are missing.
        metrics: Port and host of a training's metrics; a port of 0 serves none.
        masks, rivals: What is evaluated: mask sets, and methods; the release must not be farther
            from the originals than they are.
        margin: How many times as far it may be.
        limit: How many photographs are evaluated.
        settings: What each stage's configuration is changed to; see `sizing.py`.
    """

    flavour: str
    shards: str
    runs: str
    output: str
    photos: str = ""
    held_out: float = 0.02
    teacher: str = ""
    encoder_steps: int = 20_000
    workers: int = 0
    least: int = 0
    metrics: tuple[int, str] = (0, "127.0.0.1")
    masks: tuple[str, ...] = ("center-128-256", "thick-256")
    rivals: tuple[str, ...] = ("telea",)
    margin: float = 1.0
    limit: int = 200
    settings: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """The release's name, and the beginning of its runs' names."""
        return self.output.rstrip("/").rpartition("/")[2]

    @property
    def home(self) -> str:
        """URI of what the pipeline keeps for itself: finished steps, encoder, candidate."""
        return f"{self.runs.rstrip('/')}/{self.name}-pipeline"


@dataclass(frozen=True)
class PipelineStep:
    """One job.

    Attributes:
        name: Unique among the steps.
        job: File in jobs/, without .py.
        flags: Its command line.
        on_gpu: Whether it computes in its own process, and so needs a worker with a GPU.
        accepts: Exit codes that count as done.
    """

    name: str
    job: str
    flags: tuple[str, ...]
    on_gpu: bool = False
    accepts: frozenset[int] = frozenset({DONE})

    @property
    def digest(self) -> str:
        """The command's digest: another command is another step."""
        return hashlib.sha256(json.dumps([self.job, *self.flags]).encode()).hexdigest()


def steps(config: PipelineConfig, configs: Path) -> list[PipelineStep]:
    """The jobs up to a candidate and its evaluation, in their order.

    Args:
        config: What is made.
        configs: Folder of the configurations.

    Raises: ConfigError for settings that contradict one another.
    """
    if config.least > config.workers:
        raise ConfigError(
            f"--least {config.least} is more than --workers {config.workers}: lower it, or raise"
            " --workers"
        )
    found = [_pack(config)]
    if config.teacher:
        found.append(_encoder(config))
    found += [_training(config, stage, configs) for stage in stages_of(config, configs)]
    return [*found, _candidate(config, configs), _evaluation(config)]


def promotion(config: PipelineConfig, figures: str) -> PipelineStep:
    """The step that makes the candidate the release, with its figures in the card.

    Args: ``figures``: local file with what the evaluation wrote.
    """
    candidate = f"{config.home}/candidate"
    flags = ("--stage1", candidate, "--stage2", candidate, "--metrics", figures)
    return PipelineStep(
        "promote", "publish", (*flags, "--output", config.output, "--name", config.name)
    )


def failures(figures: Mapping[str, Any], config: PipelineConfig) -> list[str]:
    """Why the candidate is not good enough; empty when it is.

    A fill is missing, or on some set of holes the fills' features (Frechet distance, per layer)
    are farther from the originals' than `margin` times those of a rival.

    Args: ``figures``: as jobs/evaluate.py writes them.
    """
    rows = {(row["masks"], row["method"]): row for row in figures["figures"]}
    found = [f"{photo}: {reason}" for photo, reason in figures["rejects"].items()]
    for masks in figures["masks"]:
        ours = rows[masks, "ours"]
        found += [
            f"{masks}: no fill of {photo}: {why}" for photo, why in ours.get("problems", {}).items()
        ]
        for rival in config.rivals:
            found += _farther(masks, ours, rival, rows[masks, rival], config.margin)
    return found


def _farther(
    masks: str, ours: Mapping[str, Any], rival: str, theirs: Mapping[str, Any], margin: float
) -> list[str]:
    layers = theirs.get("realism", {}).get("layers", {})
    mine = ours.get("realism", {}).get("layers", {})
    found = []
    for layer, figure in layers.items():
        limit = margin * figure["distance"]
        distance = mine.get(layer, {}).get("distance")
        if distance is None:
            found.append(f"{masks}: no distance of {layer}, which {rival} has")
        elif distance > limit:
            found.append(
                f"{masks}: distance {layer} is {distance:.3f}, above {margin:g} x {rival}'s"
                f" {figure['distance']:.3f}"
            )
    return found


class Finished:
    """Which steps are done, kept next to the runs: a pipeline that is started again goes on."""

    def __init__(self, home: Storage) -> None:
        """Name where it is kept; nothing is read yet."""
        self._home = home

    def read(self) -> dict[str, str]:
        """Digests by name of the step."""
        if not self._home.exists(STATE_NAME):
            return {}
        found: dict[str, str] = json.loads(self._home.read(STATE_NAME))["steps"]
        return found

    def count(self, planned: Sequence[PipelineStep]) -> int:
        """How many of the first steps are done as they are planned; the next one is to be done."""
        done = self.read()
        for index, step in enumerate(planned):
            if done.get(step.name) != step.digest:
                return index
        return len(planned)

    def write(self, planned: Sequence[PipelineStep]) -> None:
        """Say that these steps, and no others, are done."""
        state = {"steps": {step.name: step.digest for step in planned}}
        self._home.write(STATE_NAME, json.dumps(state, indent=1).encode())


def _pack(config: PipelineConfig) -> PipelineStep:
    flags = ["--config", f"{config.flavour}-stage1"]
    if config.photos:
        flags += ["--input", config.photos, "--held-out", str(config.held_out)]
    flags += ["--output", config.shards, "--verify"]
    # Refused photographs are listed in the log and in the manifest.
    return PipelineStep("shards", "write_shards", tuple(flags))


def _encoder(config: PipelineConfig) -> PipelineStep:
    if not config.photos:
        raise ConfigError("--teacher needs --photos: an encoder is trained on photographs")
    flags = ["--photos", config.photos, "--teacher", config.teacher]
    flags += ["--output", f"{config.home}/encoder", "--steps", str(config.encoder_steps)]
    flags += ["--held-out", str(config.held_out)]
    on_gpu = config.workers > 0
    return PipelineStep(
        "encoder", "train_encoder", (*flags, *(("--device", "cuda") if on_gpu else ())), on_gpu
    )


def stages_of(config: PipelineConfig, configs: Path) -> list[str]:
    """What is trained, in this order: the paper has no initial fill."""
    first = _path(config, "initial_fill", configs)
    return [*(["initial_fill"] if first.exists() else []), "stage1", "stage2"]


def _run(config: PipelineConfig, stage: str) -> str:
    return f"{config.name}-{stage.replace('_', '-')}"


def _training(config: PipelineConfig, stage: str, configs: Path) -> PipelineStep:
    # Slow to import, and --help needs none of it.
    from kintsugi.config.run_config import load_config

    values = {
        **{name: str(value) for name, value in config.settings.get(stage, {}).items()},
        "run": _run(config, stage),
        "storage": config.runs,
        "data.shards": config.shards,
        # Pods come with the work.
        "workers.autoscaling": "true",
    }
    if config.teacher:
        values["encoder"] = f"{config.home}/encoder/encoder.safetensors"
    if config.workers:
        values |= {"workers.count": str(config.workers), "workers.min_count": str(config.least)}
    if stage != "initial_fill" and "initial_fill" in stages_of(config, configs):
        began = load_config(_path(config, stage, configs), ()).model.generator_input
        # What begins with a smooth fill can begin with a predicted one when it is published, and
        # what begins with grey cannot.
        values["model.generator_input"] = "smooth" if began == "grey" else began
    if stage == "stage2":
        values["translate.stage1"] = f"{config.runs}/{_run(config, 'stage1')}"
    flags = ["--config", f"{config.flavour}-{stage.replace('_', '-')}"]
    for key, value in values.items():
        flags += ["--set", f"{key}={value}"]
    port, host = config.metrics
    if port:
        flags += ["--metrics-port", str(port), "--metrics-host", host]
    return PipelineStep(stage, f"train_{stage}", tuple(flags))


def _path(config: PipelineConfig, stage: str, configs: Path) -> Path:
    return configs / f"{config.flavour}-{stage.replace('_', '-')}.toml"


def _candidate(config: PipelineConfig, configs: Path) -> PipelineStep:
    flags = ["--config", f"{config.flavour}-stage2"]
    for stage in stages_of(config, configs):
        flags += [f"--{stage.replace('_', '-')}", f"{config.runs}/{_run(config, stage)}"]
        if stage == "initial_fill":
            # What is trained with one fills by copied pixels.
            flags.append("--pixels")
    flags += ["--output", f"{config.home}/candidate", "--name", config.name]
    return PipelineStep("candidate", "publish", tuple(flags))


def _evaluation(config: PipelineConfig) -> PipelineStep:
    flags = ["--release", f"{config.home}/candidate", "--masks", ",".join(config.masks)]
    flags += ["--methods", ",".join(["ours", *config.rivals]), "--limit", str(config.limit)]
    flags += ["--output", f"{config.home}/evaluation"]
    if config.photos:
        flags += ["--photos", config.photos, "--held-out", str(config.held_out)]
    if config.teacher:
        flags += ["--encoder", config.teacher]
    return PipelineStep("evaluation", "evaluate", tuple(flags))

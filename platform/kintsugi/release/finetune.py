"""How a release is trained on with other photographs: one stage after the other; trains nothing."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.data.shard_manifest import Manifest
from kintsugi.data.splits import HELD_OUT
from kintsugi.errors import ConfigError
from kintsugi.models.weights import ReleaseConfig

# In the order in which each stands on the one before.
STAGES = ("initial_fill", "stage1", "stage2")


@dataclass(frozen=True)
class FineTuning:
    """What is trained on.

    Attributes:
        name: The name of the new release, and the beginning of its runs' names.
        runs: URI of the folder of runs.
        shards: URI of the packed photographs.
        steps: How many each stage has.
        rate: How many times the learning rate of the first training.
    """

    name: str
    runs: str
    shards: str
    steps: int
    rate: float

    def __post_init__(self) -> None:
        if self.steps < 1:
            raise ConfigError(f"--steps {self.steps}: at least 1")
        if not 0 < self.rate <= 1:
            raise ConfigError(f"--rate {self.rate:g}: above 0, at most 1")


def stages_of(release: ReleaseConfig, uri: str, wanted: Sequence[str]) -> list[str]:
    """The stages to train, in their order.

    Args:
        release: What it says of itself.
        uri: Where it is, for messages.
        wanted: Names of stages; empty for all that the release was trained in.

    Raises: ConfigError: the release does not say how a stage was trained, or there is no such one.
    """
    unknown = [stage for stage in wanted if stage not in STAGES]
    known = [stage for stage in STAGES if "config" in release.training.get(stage, {})]
    if unknown or not known or set(wanted) - set(known):
        raise ConfigError(
            f"--stages {','.join(wanted) or 'all'}: {uri} says how these were trained:"
            f" {', '.join(known) or 'none'}; choose among them"
        )
    return [stage for stage in known if not wanted or stage in wanted]


def finetuned(
    stage: str, release: ReleaseConfig, begins: str, how: FineTuning, shards: Manifest
) -> JobConfig:
    """The configuration that trains one stage on.

    Everything is as the release was trained, but for where it begins, what it reads, how long it
    takes and the learning rate.

    Args:
        stage: One of the release's.
        release: What it says of itself.
        begins: URI of a release of the same networks to begin with.
        how: What is trained on.
        shards: What the packed photographs are.
    """
    known: dict[str, Any] = release.training[stage]["config"]
    held_out = sum(part.rows for part in shards.only(HELD_OUT))
    trained = shards.rows - held_out
    if trained < 1:
        raise ConfigError(f"{how.shards} holds no photograph to train on: pack some")
    measured = min(known["held_out"]["photos"], held_out)
    loop, optimizer, model = known["loop"], known["optimizer"], known["model"]
    if stage != "initial_fill":
        # Its networks as they are now, which may have been joined after they were trained.
        model = {**model, **asdict(release.model)}
    else:
        model = {**model, "initial_fill": release.model.initial_fill}
    values = {
        **known,
        "run": f"{how.name}-{stage.replace('_', '-')}",
        "storage": how.runs,
        "data": {**known["data"], "shards": how.shards, "photos": ""},
        "encoder": begins,
        "init_from": begins,
        "model": model,
        "loop": {
            **loop,
            "max_steps": how.steps,
            "batch_size": min(loop["batch_size"], trained),
            **{
                each: max(1, min(loop[each], how.steps // parts))
                for each, parts in (("log_every", 20), ("checkpoint_every", 4), ("sample_every", 4))
            },
        },
        "optimizer": {
            **optimizer,
            **{each: how.rate * optimizer[each] for each in ("generator_lr", "discriminator_lr")},
        },
        "held_out": {
            # Of few photographs none may be held out: then nothing says when to end early.
            "photos": measured,
            "patience": known["held_out"]["patience"] if measured else 0,
        },
        "workers": {},
    }
    if known["translate"]["prediction_share"]:
        values["translate"] = {**known["translate"], "stage1": begins}
    return parse_config(values, f"{stage} of {release.name}")

"""A sweep: Ray Tune draws values of a configuration, and ASHA ends the trials that fall behind.

Each trial is a run of its own, trained in one process. Its name follows from its values, and they
from the seed: the same sweep goes on where it was cut off.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import ray
from ray import tune
from ray.tune.schedulers import ASHAScheduler
from ray.tune.search import BasicVariantGenerator

from kintsugi.config.run_config import JobConfig, parse_config
from kintsugi.config.sections import LossSection
from kintsugi.data.mask_files.mask_folder import is_pinned, pin_masks, with_pinned
from kintsugi.errors import ConfigError, Diverged
from kintsugi.runs.metrics_log import Metrics, read_metrics
from kintsugi.runs.run import Run
from kintsugi.storage.storage import Storage
from kintsugi.train.cluster.resources import check_trial_resources, trial_resources
from kintsugi.train.ray_trainer import ensure_shards
from kintsugi.train.worker import train_locally

# What a sweep draws where nothing else is asked for.
RANGES = (
    "optimizer.generator_lr=1e-4:1e-2",
    "losses.adversarial=0.01:1",
    "losses.pixels=0.1:10",
)
# At every rung of ASHA one of so many trials goes on.
_REDUCTION = 2
# By which stages judge their checkpoints: of those that a row has, the first.
_CRITERIA = ("fill_perceptual", "perceptual", "reconstruction")
_DIGITS = 8


@dataclass(frozen=True)
class SweepRequest:
    """What a sweep does.

    Attributes:
        config: What each trial is, but for its values; its held-out loss is compared.
        ranges: Dotted keys of it, with the least and the most; drawn by their logarithms.
        trials: How many.
        at_once: How many of them at one time.
    """

    config: JobConfig
    ranges: Mapping[str, tuple[float, float]]
    trials: int = 8
    at_once: int = 2

    def __post_init__(self) -> None:
        for name in ("trials", "at_once"):
            if getattr(self, name) < 1:
                raise ConfigError(f"--{name.replace('_', '-')} {getattr(self, name)}: at least 1")
        if not self.config.held_out.photos:
            raise ConfigError(
                "held_out.photos=0: a sweep compares held-out losses; set it to 1 or more, of"
                " shards that hold some out (data.held_out_share)"
            )


@dataclass(frozen=True)
class Trial:
    """One trial of a sweep.

    Attributes:
        run: Its name, of a run in the sweep's storage.
        values: By dotted key.
        step: The last one at which it was measured; ASHA ended it there, or it was the end.
        loss: Its held-out loss there, over its weight; infinite where it diverged.
    """

    run: str
    values: Mapping[str, float]
    step: int
    loss: float


def parse_ranges(words: Sequence[str]) -> dict[str, tuple[float, float]]:
    """ "section.key=LEAST:MOST" each. Raises: ConfigError naming the one that is not."""
    ranges = {}
    for word in words:
        key, _, text = word.partition("=")
        try:
            least, most = (float(part) for part in text.split(":"))
        except ValueError:
            least = most = 0.0
        if not key or not 0 < least < most < math.inf:
            raise ConfigError(
                f"--range {word!r}: write it as section.key=LEAST:MOST with 0 < LEAST < MOST, for"
                f" example {RANGES[0]}"
            )
        ranges[key] = (least, most)
    return ranges


def trial_config(config: JobConfig, values: Mapping[str, float]) -> JobConfig:
    """The run of a trial. Raises: ConfigError when its values are impossible."""
    raw = config.to_dict()
    for key, value in values.items():
        *sections, name = key.split(".")
        section = raw
        for each in sections:
            section = section.setdefault(each, {})
        section[name] = value
    text = json.dumps(dict(values), sort_keys=True)
    digest = hashlib.sha256(text.encode()).hexdigest()[:_DIGITS]
    raw["run"] = f"{config.run}-{digest}"
    return parse_config(raw, f"a trial with {text}")


def sweep(request: SweepRequest) -> list[Trial]:
    """Train the trials on the connected Ray cluster. Returns: all of them, the best first.

    Raises:
        ConfigError: a key or a value is impossible, no node has room for a trial, or the shards
            hold nothing out; or a mask cannot be used.
        StorageError: there are no shards, or masks cannot be read.
        RuntimeError: trials failed, by an error of ours or Ray's.
    """
    config, ranges = request.config, request.ranges
    check_trial_resources(
        config.workers, [node["Resources"] for node in ray.nodes() if node["Alive"]]
    )
    for which in (0, 1):
        trial_config(config, {key: ends[which] for key, ends in ranges.items()})
    ensure_shards(config.data)
    # For Ray Tune's own record, and ours.
    name = f"{config.run}-sweep"
    config = _with_masks(config, Storage(config.storage).join(name))
    filesystem, path = Storage(config.storage).arrow_filesystem()
    needs = {name.lower(): amount for name, amount in trial_resources(config.workers).items()}
    tuner = tune.Tuner(
        tune.with_resources(partial(_train_trial, base=config.to_dict()), needs),
        param_space={key: tune.loguniform(*ends) for key, ends in ranges.items()},
        tune_config=tune.TuneConfig(
            metric="loss",
            mode="min",
            num_samples=request.trials,
            search_alg=BasicVariantGenerator(
                max_concurrent=request.at_once, random_state=config.seed
            ),
            scheduler=ASHAScheduler(
                time_attr="step",
                # A trial ends by itself: ended at its last step, it would lose what travels.
                max_t=config.loop.max_steps + 1,
                grace_period=min(config.loop.checkpoint_every, config.loop.max_steps),
                reduction_factor=_REDUCTION,
            ),
        ),
        run_config=tune.RunConfig(
            name=name, storage_path=path, storage_filesystem=filesystem, verbose=0
        ),
    )
    results = tuner.fit()
    if results.errors:
        raise RuntimeError(f"{len(results.errors)} trials failed") from results.errors[0]
    trials = [
        Trial(
            trial_config(config, result.config).run,
            result.config,
            result.metrics["step"],
            result.metrics["loss"],
        )
        for result in results
    ]
    return ranked(trials)


def _with_masks(config: JobConfig, folder: Storage) -> JobConfig:
    """The configuration with masks of the sweep's own where it names places.

    They are read once, and not by every trial; a sweep that goes on has those that it began with.
    """
    # Of other places or crops they lie elsewhere: trials that exist are then refused as other runs.
    what = json.dumps([config.data.crop_px, config.data.masks])
    home = folder.join(f"masks-{hashlib.sha256(what.encode()).hexdigest()[:_DIGITS]}")
    if not is_pinned(config.data, home):
        pin_masks(config.data, home)
    return replace(config, data=with_pinned(config.data, home))


def ranked(trials: Sequence[Trial]) -> list[Trial]:
    """The trials, the best first: losses of one step are compared, and later steps come first.

    What a trial that was ended had early may be less than what others have at the end.
    """
    return sorted(trials, key=lambda trial: (math.isinf(trial.loss), -trial.step, trial.loss))


def _train_trial(values: dict[str, float], *, base: dict[str, Any]) -> None:
    """What runs in a process of Tune's: one trial, from where it stands."""
    config = trial_config(parse_config(base, "the sweep's configuration"), values)

    def report(row: Mapping[str, Any], step: int) -> None:
        loss = held_out_loss(row, config.losses)
        if loss is not None:
            tune.report({"loss": loss, "step": step})

    run = Run.of(config)
    done = run.checkpoints.newest()
    for row in read_metrics(run.storage.join("metrics")):
        if row["step"] <= done:
            report(row, row["step"])

    def announce(row: Metrics, folder: Path | None, step: int) -> None:
        report(row, step)

    try:
        train_locally(config, "cuda" if config.workers.use_gpu else "cpu", announce=announce)
    except Diverged:
        tune.report({"loss": math.inf, "step": config.loop.max_steps})


def held_out_loss(row: Mapping[str, Any], losses: LossSection) -> float | None:
    """The loss of a row by which checkpoints are judged, over its weight, which may be what is
    drawn; None: the row was not measured.

    Raises: ConfigError: its weight is 0.
    """
    for name in _CRITERIA:
        if f"held_out/{name}" in row:
            weight: float = getattr(losses, name)
            if not weight:
                raise ConfigError(f"losses.{name}=0: a sweep compares that loss; set it above 0")
            return float(row[f"held_out/{name}"]) / weight
    return None


def table(trials: Sequence[Trial]) -> str:
    """The trials in Markdown, the best first."""
    keys = list(trials[0].values)
    lines = [
        "| " + " | ".join(["run", *keys, "step", "held-out loss"]) + " |",
        "| --- " * (len(keys) + 3) + "|",
    ]
    for trial in trials:
        values = [f"{trial.values[key]:.3g}" for key in keys]
        cells = [trial.run, *values, str(trial.step), f"{trial.loss:.4f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)


def to_dict(trials: Sequence[Trial]) -> dict[str, Any]:
    """The figures for `--json`."""
    return {"trials": [asdict(replace(trial, values=dict(trial.values))) for trial in trials]}

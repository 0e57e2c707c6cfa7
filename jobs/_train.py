"""What the training jobs share: configuration in, a trained run and its figures out."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any

import typer

from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._command import Command
from kintsugi.stages.base.names import stage_names

if TYPE_CHECKING:
    from kintsugi.config.run_config import JobConfig

STAGES = stage_names()


def train(stage: str, argv: Sequence[str]) -> int:
    """Run the job that trains ``stage``. Returns its exit code."""
    return training(stage)(argv)


def training(stage: str) -> Command:
    """The command that trains ``stage``."""
    name = stage.replace("_", "-")
    # What goes beyond the paper has no configuration of its.
    published = (options.CONFIGS / f"paper-{name}.toml").exists()
    flavour = "paper" if published else "recommended"

    @options.command(
        f"kintsugi train {name} --print-config",
        f"kintsugi train {name} --dry-run",
        f"kintsugi train {name} --config {flavour}-{name} --set workers.count=8 --tensorboard",
        f"ray job submit -- kintsugi train {name} --set storage=s3://runs --set run=first-{name}",
    )
    def main(
        config: options.Config = f"debug-{name}",
        overrides: options.Overrides = None,
        print_config: Annotated[
            bool,
            typer.Option(
                "--print-config",
                help="print the merged configuration with what each key means; trains nothing",
            ),
        ] = False,
        dry_run: Annotated[
            bool, typer.Option("--dry-run", help="one step here, without Ray; keeps nothing")
        ] = False,
        without_ray: options.WithoutRay = False,
        tensorboard: Annotated[
            bool, typer.Option("--tensorboard", help="write event files into the run's folder")
        ] = False,
        metrics_port: options.MetricsPort = 0,
        metrics_host: options.MetricsHost = "127.0.0.1",
        mlflow: Annotated[
            str, typer.Option(metavar="URI", help="send the rows to this MLflow store as well")
        ] = "",
        mlflow_experiment: Annotated[
            str, typer.Option(metavar="NAME", help="of the run there")
        ] = "kintsugi",
        wandb: Annotated[
            str, typer.Option(metavar="PROJECT", help="send the rows to Weights & Biases as well")
        ] = "",
        json: options.Json = None,
    ) -> int:
        shown = {
            "tensorboard": tensorboard,
            "metrics_port": metrics_port,
            "metrics_host": metrics_host,
            "mlflow": mlflow,
            "mlflow_experiment": mlflow_experiment,
            "wandb": wandb,
        }
        how = "print" if print_config else "dry" if dry_run else "here" if without_ray else "ray"
        return _train(stage, options.find_config(config), overrides or (), how, shown, json)

    main.function.__doc__ = f"Train {name} on Ray; the same run and configuration resume."
    return main


def _train(
    stage: str,
    file: Path,
    overrides: Sequence[str],
    how: str,
    shown: Mapping[str, Any],
    json: Path | None,
) -> int:
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import explain, load_config
    from kintsugi.errors import ConfigError
    from kintsugi.train.dry_run import describe, dry_run

    config = load_config(file, overrides)
    if config.stage != stage:
        raise ConfigError(
            f"{file} is for {config.stage}: kintsugi train {config.stage.replace('_', '-')}"
        )
    if how == "print":
        print(explain(config), end="")
        return _bootstrap.DONE
    if how == "dry":
        print(describe(done := dry_run(config)))
        _bootstrap.write_results(json, done.to_dict())
        return _bootstrap.DONE
    return train_config(stage, config, how == "ray", shown, json)


def train_config(
    stage: str,
    config: "JobConfig",
    on_ray: bool,
    shown: Mapping[str, Any] = MappingProxyType({}),
    json: Path | None = None,
) -> int:
    """Train a run, or take it up again. Returns the exit code.

    Args: ``shown``: values of `DisplayOptions` by name, which is not imported yet.
    """
    from kintsugi.monitor.reporting import DisplayOptions, reporting, summary
    from kintsugi.monitor.run_page import write_run_page
    from kintsugi.runs.run import Run

    if on_ray:
        _bootstrap.start_ray()
        from kintsugi.train.ray_trainer import fit
    else:
        from kintsugi.train.local import fit

    began = time.monotonic()
    print(f"{stage}: run {config.run!r} in {config.storage}", flush=True)
    with reporting(config, DisplayOptions(**shown)) as note_stop:
        trained = fit(config)
        if trained.stopped:
            note_stop()
    seconds = time.monotonic() - began
    print("\n".join(summary(trained, seconds)))
    if trained.metrics:
        print(f"page: {write_run_page(Run.of(config))}")
    _bootstrap.write_results(json, asdict(trained) | {"seconds": seconds})
    return _bootstrap.STOPPED if trained.stopped else _bootstrap.DONE

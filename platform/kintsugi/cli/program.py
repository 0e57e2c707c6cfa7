"""`kintsugi NAME`: every command by its name; knows nothing of what they do.

A command's options are declared where its work is started: of jobs in `jobs/`, which run on a
cluster too, of the others here. Nothing that is slow to import is imported before one is chosen.
"""

from collections.abc import Sequence
from importlib import metadata
from typing import Annotated

import typer

from kintsugi.cli import demo, releases, serve
from kintsugi.jobs import (
    _bootstrap,
    ablate,
    benchmark_data,
    benchmark_latency,
    benchmark_match,
    benchmark_serve,
    benchmark_train,
    compare,
    evaluate,
    fill,
    finetune,
    pipeline,
    publish,
    report,
    stylize,
    sweep,
    train_encoder,
    write_masks,
    write_shards,
)
from kintsugi.jobs._command import Command, CommandLine, new_app
from kintsugi.jobs._train import STAGES, training

TEXT = "Fill holes in photographs, serve that, and train the networks that do it."
COMMANDS: dict[str, Command] = {
    "fill": fill.main,
    "stylize": stylize.main,
    "serve": serve.main,
    "shards": write_shards.main,
    "masks": write_masks.main,
    "finetune": finetune.main,
    "publish": publish.main,
    "pipeline": pipeline.main,
    "report": report.main,
    "evaluate": evaluate.main,
    "ablate": ablate.main,
    "sweep": sweep.main,
    "demo": demo.main,
}
# Each group with its help and its commands.
GROUPS: dict[str, tuple[str, dict[str, Command]]] = {
    "train": (
        "Train one network or stage.",
        {
            "encoder": train_encoder.main,
            **{stage.replace("_", "-"): training(stage) for stage in STAGES},
        },
    ),
    "releases": ("What is published: list, compare, promote.", releases.COMMANDS),
    "compare": ("Compare two methods by eye, blind.", compare.COMMANDS),
    "benchmark": (
        "Measure data, match, training and service.",
        {
            "data": benchmark_data.main,
            "latency": benchmark_latency.main,
            "match": benchmark_match.main,
            "serve": benchmark_serve.main,
            "train": benchmark_train.main,
        },
    ),
}


def main() -> None:
    """Run the command of this process's arguments, and end with its exit code."""
    _bootstrap.run(run)


def run(argv: Sequence[str]) -> int:
    """Run one command. Raises: SystemExit for help, usage and completion."""
    line = CommandLine(new_app(TEXT, add_completion=True))
    line.app.callback(invoke_without_command=True, help=TEXT)(_root)
    for name, command in COMMANDS.items():
        line.add(command, name)
    for name, (text, commands) in GROUPS.items():
        group = new_app(text)
        line.app.add_typer(group, name=name)
        for own, command in commands.items():
            line.add(command, own, group)
    return line.run(argv, "kintsugi")


def _root(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, help="say which version this is")
    ] = False,
) -> None:
    if version:
        typer.echo(f"kintsugi {metadata.version('kintsugi-inpainting')}")
        raise typer.Exit

#!/usr/bin/env python3
"""Photographs to a release that passed its evaluation; kintsugi.release.pipeline plans it."""

import json
import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType
from typing import Annotated, NamedTuple

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.errors import ConfigError
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, FAILED, STOPPED, run, start_ray
from kintsugi.release.pipeline import (
    Finished,
    PipelineConfig,
    PipelineStep,
    failures,
    promotion,
    stages_of,
    steps,
)
from kintsugi.storage.storage import Storage

# The flavour that is fitted to what is there.
FITTED = "recommended"


@options.command(
    "kintsugi pipeline --flavour debug --shards ~/.kintsugi/shards/p --runs ~/.kintsugi/runs"
    " --output ~/.kintsugi/releases/mine --rivals ''",
    "kintsugi pipeline --photos s3://photos --shards s3://shards/train --runs s3://runs"
    " --output s3://releases/street --teacher torchvision --dry-run    # hours and cost",
    "kintsugi pipeline --photos s3://photos --shards s3://shards/train --runs s3://runs"
    " --output s3://releases/street --teacher torchvision --workers 4 --least 2",
)
def main(
    shards: Annotated[str, typer.Option(metavar="URI", help="where photographs are packed")],
    runs: Annotated[str, typer.Option(metavar="URI", help="folder of the runs")],
    output: Annotated[
        str, typer.Option(metavar="URI", help="of the release; one that is there is replaced")
    ],
    flavour: Annotated[str, typer.Option(help="which configurations")] = "recommended",
    photos: Annotated[
        str, typer.Option(metavar="URI", help="photographs", show_default="--flavour's")
    ] = "",
    held_out: Annotated[float, typer.Option(metavar="SHARE", help="evaluated, not trained")] = 0.02,
    teacher: Annotated[
        str, typer.Option(metavar="FILE", help="train an encoder: path, URI or `torchvision`")
    ] = "",
    encoder_steps: Annotated[int, typer.Option(metavar="N", help="of that")] = 20_000,
    workers: Annotated[
        int, typer.Option(metavar="N", help="that train", show_default="--flavour's")
    ] = 0,
    least: Annotated[
        int, typer.Option(metavar="N", help="go on with so few", show_default="all")
    ] = 0,
    masks: Annotated[
        str, typer.Option(metavar="SET,...", help="evaluated on")
    ] = "center-128-256,thick-256",
    rivals: Annotated[
        str, typer.Option(metavar="NAME,...", help="methods not to be worse than; '' for none")
    ] = "telea",
    margin: Annotated[
        float, typer.Option(metavar="X", help="times as far from the originals as a rival")
    ] = 1.0,
    limit: Annotated[int, typer.Option(metavar="N", help="photographs that are evaluated")] = 200,
    metrics_port: options.MetricsPort = 0,
    metrics_host: options.MetricsHost = "127.0.0.1",
    price: Annotated[
        float, typer.Option(metavar="X", help="dollars an hour of a GPU, for the estimate")
    ] = 3.0,
    tflops: Annotated[
        float,
        typer.Option(
            metavar="X", help="sustained, of a GPU, for the estimate", show_default="measured here"
        ),
    ] = 0.0,
    as_configured: Annotated[
        bool,
        typer.Option("--as-configured", help="train as long as --flavour says, whatever is there"),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="print hours, cost and commands; run nothing")
    ] = False,
) -> int:
    """Make a release of photographs: pack, train, publish a candidate, evaluate it, promote it.

    `recommended` is fitted to the photographs, GPUs and memory that are there, and says hours and
    cost before it starts. Started again it goes on: finished steps are left out, an unfinished one
    resumes. The release is replaced only when its candidate is good enough; else this fails and
    says why.
    """
    config = PipelineConfig(
        flavour=flavour,
        shards=shards,
        runs=runs,
        output=output,
        photos=photos,
        held_out=held_out,
        teacher=teacher,
        encoder_steps=encoder_steps,
        workers=workers,
        least=least,
        metrics=(metrics_port, metrics_host),
        masks=tuple(options.names(masks)),
        rivals=tuple(filter(None, options.names(rivals))),
        margin=margin,
        limit=limit,
    )
    if flavour == FITTED and not as_configured:
        config = _fitted(config, _evaluated(config), price, tflops, keep=not dry_run)
    elif not dry_run:
        # What is only listed is planned without the photographs: a bucket may be out of reach.
        _evaluated(config)
    planned = steps(config, options.CONFIGS)
    if dry_run:
        print("\n".join(f"{step.name}: {shlex.join(_command(step))}" for step in planned))
        return DONE
    return _run_all(config, planned)


def _evaluated(config: PipelineConfig) -> int:
    """How many photographs are evaluated.

    Raises: ConfigError: none, which else would be seen when all has been trained.
    """
    from kintsugi.data.evaluation_photos import list_photos

    if not config.photos:
        return config.limit
    return len(list_photos(config.photos, config.limit, held_out=config.held_out))


def _fitted(
    config: PipelineConfig, evaluated: int, price: float, tflops: float, *, keep: bool
) -> PipelineConfig:
    """Fitted to what is there, or as it began. Says hours and cost."""
    from kintsugi.config.run_config import load_config
    from kintsugi.release import sizing

    known = sizing.kept_size(config.home)
    if known is not None:
        print(f"pipeline: as it began: {config.home}/{sizing.SIZE_NAME}", flush=True)
        return replace(config, settings=known)
    count = sizing.photographs_of(config.photos, config.shards, config.held_out)
    if not count:
        raise ConfigError(
            f"no photographs in {config.photos or config.shards}: name them by --photos, or train"
            " as the configuration says by --as-configured"
        )
    cluster = _cluster()
    machine = sizing.this_machine(config.workers or cluster.gpus, cluster.cores, tflops)
    configs = {
        stage: load_config(options.find_config(f"{config.flavour}-{stage.replace('_', '-')}"), ())
        for stage in stages_of(config, options.CONFIGS)
    }
    around = sizing.Around(
        config.encoder_steps if config.teacher else 0,
        evaluated,
        len(config.masks),
    )
    size = sizing.sized(count, machine, configs, price, around)
    print("\n".join(f"pipeline: {line}" for line in size.lines()), flush=True)
    if keep:
        sizing.keep_size(config.home, size)
    return replace(config, settings=size.settings)


class _Cluster(NamedTuple):
    """What Ray has; 0 where there is no cluster."""

    gpus: int = 0
    cores: int = 0


def _cluster() -> _Cluster:
    if not options.on_ray():
        return _Cluster()
    start_ray()
    import ray

    try:
        found = ray.cluster_resources()
    finally:
        # Steps join it themselves.
        ray.shutdown()
    return _Cluster(int(found.get("GPU", 0)), int(found.get("CPU", 0)))


def _run_all(config: PipelineConfig, planned: list[PipelineStep]) -> int:
    finished = Finished(Storage(config.home))
    begun = finished.count(planned)
    if begun:
        print(f"pipeline: {begun} of {len(planned)} steps are done already", flush=True)
    for index, step in enumerate(planned[begun:], begun):
        print(f"pipeline: step {index + 1} of {len(planned)}, {step.name}", flush=True)
        began = time.monotonic()
        code = _on_gpu(step) if step.on_gpu else _here(step)
        if code not in step.accepts:
            print(f"pipeline: {step.name} ended with {code}", file=sys.stderr)
            return code
        # Whatever was done after it before was made of something else.
        finished.write(planned[: index + 1])
        print(f"pipeline: {step.name} done in {time.monotonic() - began:.0f} s", flush=True)
    return _promote(config)


def _promote(config: PipelineConfig) -> int:
    # As `kintsugi evaluate` writes them.
    raw = Storage(f"{config.home}/evaluation").read("results.json")
    if reasons := failures(json.loads(raw), config):
        print("pipeline: the candidate is not good enough:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in reasons), file=sys.stderr)
        print(f"  it is kept at {config.home}/candidate", file=sys.stderr)
        return FAILED
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        file.write_bytes(raw)
        code = _here(promotion(config, str(file)))
    if code == DONE:
        print(f"pipeline: {config.output} is the release")
    return code


def _command(step: PipelineStep) -> list[str]:
    return [sys.executable, str(Path(__file__).parent / f"{step.job}.py"), *step.flags]


def _here(step: PipelineStep) -> int:
    """Run a step as a process of its own, which a SIGTERM reaches. Returns its exit code."""
    process = subprocess.Popen(_command(step))

    def stop(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return STOPPED if code == -signal.SIGTERM else code


def _on_gpu(step: PipelineStep) -> int:
    """Run a step on a worker with a GPU, where there is a cluster. Returns its exit code."""
    if "RAY_ADDRESS" not in os.environ:
        return _here(step)
    start_ray()
    import ray

    def call(command: list[str]) -> int:
        return subprocess.run(command, check=False).returncode

    # A worker that is lost is replaced; the step resumes where it stood.
    remote = ray.remote(num_cpus=1, num_gpus=1, max_retries=5)(call)
    try:
        code: int = ray.get(remote.remote(_command(step)))
    finally:
        ray.shutdown()
    return code


if __name__ == "__main__":
    run(main)

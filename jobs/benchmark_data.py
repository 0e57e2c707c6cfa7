#!/usr/bin/env python3
"""Measure how fast batches come out of shards and how long steps would wait; kintsugi measures."""

import sys
from contextlib import nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _bootstrap
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import run


def value_of(key: str, metavar: str, meaning: str) -> Any:
    """An option that stands for a value of the configuration."""
    return typer.Option(metavar=metavar, help=f"{meaning}; sets {key}")


@options.command(
    "kintsugi benchmark data",
    "kintsugi benchmark data --object-store --workers 2 --tasks 1 --step-seconds 0.5",
    "ray job submit -- kintsugi benchmark data --shards s3://shards/all --workers 8",
)
def main(
    config: options.Config = "debug-stage1",
    overrides: options.Overrides = None,
    shards: Annotated[str | None, value_of("data.shards", "URI", "folder of shards")] = None,
    workers: Annotated[str | None, value_of("workers.count", "N", "that read at one time")] = None,
    tasks: Annotated[str | None, value_of("data.tasks", "N", "reading tasks per worker")] = None,
    crop: Annotated[str | None, value_of("data.crop_px", "PX", "side of the crops")] = None,
    resize: Annotated[
        str | None, value_of("data.resize_px", "PX", "shorter side before the crop")
    ] = None,
    batch_size: Annotated[
        str | None, value_of("loop.batch_size", "N", "photographs per worker and step")
    ] = None,
    steps: Annotated[int, typer.Option(metavar="N", help="measured", min=1)] = 20,
    step_seconds: Annotated[
        float, typer.Option(metavar="S", help="of a step that is acted", min=0)
    ] = 0.25,
    object_store: Annotated[
        bool, typer.Option("--object-store", help="read a copy from an S3 server started here")
    ] = False,
    json: options.Json = None,
) -> int:
    """Measure images/s from storage to batch, and how long steps would wait for them."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config

    values = {
        "data.shards": shards,
        "workers.count": workers,
        "data.tasks": tasks,
        "data.crop_px": crop,
        "data.resize_px": resize,
        "loop.batch_size": batch_size,
    }
    changed = [f"{key}={value}" for key, value in values.items() if value is not None]
    settings = load_config(options.find_config(config), [*(overrides or ()), *changed])

    from kintsugi.benchmarks.data_reading import (
        Reading,
        format_report,
        in_object_store,
        keeping_masks,
        run_benchmark,
    )
    from kintsugi.train.ray_trainer import ensure_shards

    ensure_shards(settings.data)
    place = settings.data.shards
    with (
        keeping_masks(settings.data, settings.storage) as data,
        in_object_store(place) if object_store else nullcontext(place) as uri,
    ):
        _bootstrap.start_ray()
        data = replace(data, shards=uri)
        size = settings.loop.batch_size
        reading = Reading(data, settings.workers, settings.seed, size, steps)
        figures = run_benchmark(reading, step_seconds)
    print(f"\n{format_report(figures)}\n")
    _bootstrap.write_results(json, figures)
    return _bootstrap.DONE


if __name__ == "__main__":
    run(main)

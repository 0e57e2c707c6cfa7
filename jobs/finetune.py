#!/usr/bin/env python3
"""Train a release on with photographs of your own; kintsugi.release.finetune says how."""

import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import HOME
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, join_ray, run
from kintsugi.jobs._train import train_config

if TYPE_CHECKING:
    from kintsugi.data.shard_manifest import Manifest


@options.command(
    "kintsugi finetune small ~/photos --output ~/.kintsugi/releases/mine",
    "kintsugi finetune s3://releases/street s3://photos/rain --output s3://releases/rain"
    " --runs s3://runs --stages stage1,stage2 --steps 5000 --use-gpu",
)
def main(
    release: Annotated[str, typer.Argument(help="a path or URI; `small` is the bundled one")],
    photos: Annotated[str, typer.Argument(help="folder of photographs: a path or URI")],
    *,
    output: Annotated[
        str, typer.Option("--output", "-o", metavar="URI", help="of the new release")
    ],
    runs: Annotated[
        str, typer.Option(metavar="URI", help="where shards and runs are kept")
    ] = f"{HOME}/finetune",
    steps: Annotated[int, typer.Option(metavar="N", help="of each stage")] = 500,
    rate: Annotated[
        float, typer.Option(metavar="0-1", help="times the learning rate of the first training")
    ] = 0.5,
    stages: Annotated[
        str, typer.Option(metavar="NAME,...", show_default="all that the release has")
    ] = "",
    held_out: Annotated[
        float, typer.Option(metavar="SHARE", help="of the photographs, only measured on")
    ] = 0.05,
    workers: Annotated[int, typer.Option(metavar="N", help="that train, on Ray")] = 1,
    use_gpu: Annotated[bool, typer.Option("--use-gpu", help="one for each worker")] = False,
) -> int:
    """Train a release on with photographs of your own, stage by stage, and publish it.

    Each stage begins with what the stages before made of the release. Started again it goes on.
    Without RAY_ADDRESS it runs in this process.
    """
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.defaults import BUNDLED_RELEASE
    from kintsugi.release.catalog import read_config
    from kintsugi.release.finetune import FineTuning, finetuned, stages_of
    from kintsugi.release.publish import publish
    from kintsugi.storage.storage import Storage

    begins = BUNDLED_RELEASE if release == "small" else Storage(release).uri
    about = read_config(begins)
    name = output.rstrip("/").rpartition("/")[2]
    place = Storage(runs).uri
    how = FineTuning(name, place, f"{place}/{name}-shards", steps, rate)
    chosen = stages_of(about, release, [each for each in stages.split(",") if each])
    join_ray()
    shards = _packed(photos, how.shards, held_out)
    for index, stage in enumerate(chosen):
        config = finetuned(stage, about, begins, how, shards)
        config = replace(config, workers=replace(config.workers, count=workers, use_gpu=use_gpu))
        code = train_config(stage, config, options.on_ray())
        if code != DONE:
            return code
        last = index == len(chosen) - 1
        target = Storage(output).uri if last else f"{place}/{name}-after-{stage}"
        trained = f"{place}/{config.run}"
        published = publish(
            trained if stage == "stage1" else begins,
            trained if stage == "stage2" else begins,
            target,
            name=name,
            initial_fill=trained if stage == "initial_fill" else None,
        )
        begins = target
    print(f"published {name}: {published.uri}")
    print(f"  {published.config.digest}; kintsugi serve --release {output}")
    return DONE


def _packed(photos: str, shards: str, held_out: float) -> "Manifest":
    """The photographs in shards, which are packed once.

    Raises: ConfigError: the shards that are there are of others, or hold another share out.
    """
    from kintsugi.data.packing import Packing
    from kintsugi.data.sample_photos import open_photos
    from kintsugi.data.shard_manifest import MANIFEST_NAME
    from kintsugi.data.shard_writer import read_packed, write_shards
    from kintsugi.storage.storage import Storage

    if Storage(shards).exists(MANIFEST_NAME):
        with open_photos(photos) as source:
            return read_packed(Storage(shards), photos=source, held_out_share=held_out)
    since = time.monotonic()
    with open_photos(photos) as source:
        manifest = write_shards(source, shards, seed=0, packing=Packing(held_out_share=held_out))
    rejected = f", {len(manifest.rejects)} left out" if manifest.rejects else ""
    print(f"packed {manifest.rows} photographs{rejected} in {time.monotonic() - since:.0f} s")
    return manifest


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Pack photographs into Parquet shards; kintsugi.data.shard_writer does the work."""

import sys
import time
from contextlib import nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import SAMPLES
from kintsugi.errors import ConfigError
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, FAILED, SOME_REJECTED, run, start_ray, write_results

if TYPE_CHECKING:
    from kintsugi.data.unfinished import PartResult


@options.command(
    "kintsugi shards --input ~/photos --output ~/.kintsugi/shards/mine --verify",
    "kintsugi shards --input s3://photos --output s3://shards/all --held-out 0.02",
    "kintsugi shards --input gs://photos/webdataset --output s3://shards/all",
    "kintsugi shards --output s3://shards/all --verify --decode",
)
def main(
    config: options.Config = "debug-stage1",
    overrides: options.Overrides = None,
    input: Annotated[
        str | None,
        typer.Option(metavar="URI", help=f"photographs, or `{SAMPLES}`", show_default="--config's"),
    ] = None,
    output: Annotated[
        str | None,
        typer.Option(metavar="URI", help="folder of the shards", show_default="--config's"),
    ] = None,
    seed: Annotated[int | None, typer.Option(help="decides the order of the rows")] = None,
    held_out: Annotated[
        float | None, typer.Option(metavar="SHARE", help="keep out of training")
    ] = None,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace shards that are there")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="read all back; pack only if new")
    ] = False,
    decode: Annotated[
        bool, typer.Option("--decode", help="--verify decodes every photograph")
    ] = False,
    max_side: Annotated[
        int, typer.Option(metavar="PX", help="store larger ones at this shorter side; 0 = as is")
    ] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="end with an error if any photograph is rejected")
    ] = False,
    kind: Annotated[
        str, typer.Option(metavar="KIND", help="photos, tar, parquet or lmdb; auto = what is there")
    ] = "auto",
    image_column: Annotated[
        str, typer.Option(metavar="NAME", help="of Parquet files", show_default="found")
    ] = "",
    id_column: Annotated[
        str, typer.Option(metavar="NAME", help="that names photographs", show_default="found")
    ] = "",
    json: options.Json = None,
) -> int:
    """Pack photographs into shards: files in folders, tars, Parquet files or an LMDB."""
    if decode and not verify:
        raise ConfigError("--decode belongs to --verify: give both")
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config
    from kintsugi.data.packing import Packing
    from kintsugi.data.sample_photos import open_photos
    from kintsugi.data.shard_manifest import MANIFEST_NAME
    from kintsugi.data.shard_verify import verify_shards
    from kintsugi.data.shard_writer import read_packed, write_shards
    from kintsugi.data.sources.items import read_intake
    from kintsugi.storage.storage import Storage

    settings = load_config(options.find_config(config), overrides or ())
    source, output = input or settings.data.photos, output or settings.data.shards
    started = time.monotonic()
    intake = read_intake(kind, image_column, id_column)
    kept = Storage(output).exists(MANIFEST_NAME) and not overwrite
    if kept and verify:
        # Of what no flag names, anything is right.
        with open_photos(source) if input else nullcontext() as photos:
            manifest = read_packed(
                Storage(output), photos=photos, held_out_share=held_out, intake=intake
            )
    else:
        seed = settings.seed if seed is None else seed
        share = settings.data.held_out_share if held_out is None else held_out
        how = Packing(overwrite=overwrite, held_out_share=share, max_side=max_side)
        # After the flags were checked: it takes seconds, on a busy machine minutes.
        if not kept:
            start_ray()
        with open_photos(source) as photos:
            manifest = write_shards(
                photos, output, seed=seed, packing=how, intake=intake, report=report_part
            )
    problems = verify_shards(output, decode=decode) if verify else []
    seconds = round(time.monotonic() - started, 1)
    figures = {**manifest.to_dict(), "problems": problems, "seconds": seconds, "output": output}
    write_results(json, figures)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    if problems:
        return FAILED
    # A few that are broken are found in every large collection: they are listed, no failure.
    return SOME_REJECTED if strict and manifest.rejects else DONE


def report_part(result: "PartResult", done: int, total: int) -> None:
    """Print how many photographs a part has, and each that it left out."""
    rejects = [f"\n  {reject.id}: {reject.detail}" for reject in result.rejects]
    counts = f"{result.rows} photographs, {len(rejects)} rejected"
    print(f"part {done} of {total}: {counts}{''.join(rejects)}", flush=True)


if __name__ == "__main__":
    run(main)

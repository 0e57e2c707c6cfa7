#!/usr/bin/env python3
"""Write seeded mask sets as shards; kintsugi.data.mask_shards does the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.errors import ConfigError
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED, join_ray, run, write_results


@options.command(
    "kintsugi masks --masks thick-512,border-256 --count 1000",
    "kintsugi masks --photos s3://photos/test --masks thick-512 --output s3://masks --pairs",
)
def main(
    masks: Annotated[
        str | None,
        typer.Option(metavar="SET,...", help="<kind>-<side px>", show_default="the standard ten"),
    ] = None,
    photos: Annotated[
        str | None, typer.Option(metavar="URI", help="one mask for each of these; or give --count")
    ] = None,
    count: Annotated[int, typer.Option(metavar="N", help="numbered masks")] = 100,
    output: Annotated[
        str, typer.Option(metavar="URI", help="a folder per set")
    ] = "~/.kintsugi/masks",
    pairs: Annotated[
        bool, typer.Option("--pairs", help="also PNGs of holed photographs and masks")
    ] = False,
    seed: options.MaskSeed = 0,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="replace sets that are there")
    ] = False,
    verify: Annotated[
        bool, typer.Option("--verify", help="write nothing: read back and draw again")
    ] = False,
    json: options.Json = None,
) -> int:
    """Write seeded mask sets as shards."""
    if pairs and not photos:
        raise ConfigError("--pairs needs --photos")
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.data.evaluation_photos import list_photos
    from kintsugi.data.mask_shards import verify_mask_set, write_mask_set
    from kintsugi.inference.mask_pairs import write_pairs
    from kintsugi.masks.sets import STANDARD_SETS, numbered_ids, parse_mask_set
    from kintsugi.storage.storage import Storage

    chosen = options.names(masks) if masks else STANDARD_SETS
    ids = list_photos(photos) if photos else numbered_ids(count)
    join_ray()
    figures, rejects = dict[str, object](), dict[str, str]()
    for mask_set in [parse_mask_set(name, seed) for name in chosen]:
        target = Storage(output).join(mask_set.name)
        if verify:
            manifest = verify_mask_set(target)
        else:
            manifest = write_mask_set(mask_set, ids, target, overwrite=overwrite)
        if photos and pairs and not verify:
            rejects |= write_pairs(Storage(photos), ids, mask_set, target)
        figures[mask_set.name] = manifest.to_dict()
        print(
            f"{target.uri}: {manifest.rows} {'mask' if manifest.rows == 1 else 'masks'}"
            f" {'verified' if verify else 'written'}, SHA-256 {manifest.masks_sha256}",
            flush=True,
        )
    print("".join(f"rejected: {name}: {why}\n" for name, why in rejects.items()), end="")
    write_results(json, {"sets": figures, "rejects": rejects})
    return SOME_REJECTED if rejects else DONE


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Give a photograph, or a folder of them, the look of one picture; kintsugi.inference does it."""

import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.imaging.photo_options import OutputOptions, StyleChoices
from kintsugi.jobs import _command as options
from kintsugi.jobs import _photo_options as photos
from kintsugi.jobs._bootstrap import join_ray, run
from kintsugi.jobs._folder import finish, is_folder, read_file, reporting
from kintsugi.jobs._one_photo import check_is_for_one, one_output, watching


@options.command(
    "kintsugi stylize photo.jpg painting.jpg -o styled.jpg",
    "kintsugi stylize photos painting.jpg -o styled",
    "kintsugi stylize s3://shop/photos s3://shop/looks/ink.png -o s3://shop/ink --strength 0.7",
)
def main(
    content: Annotated[str, typer.Argument(help="photograph, or folder: a path or URI")],
    style: Annotated[str, typer.Argument(help="one picture")],
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="URI",
            help="a file, whose ending says its format; one that is there is replaced, but never"
            " an input; or folder, one for each style",
        ),
    ],
    strength: photos.Strength = "1.0",
    seed: photos.Seed = "0",
    format: photos.Format = "same",
    quality: photos.Quality = "auto",
    strip_metadata: photos.StripMetadata = False,
    processes: photos.Processes = 1,
    overwrite: photos.Overwrite = False,
    release: options.Release = BUNDLED_RELEASE,
    retry_failed: options.RetryFailed = False,
    json: options.Json = None,
) -> int:
    """Give a photograph, or a folder of them, the look of one picture; on Ray by RAY_ADDRESS.

    Format, size, depth, transparency and metadata stay as the photograph's; what cannot is named.
    """
    chosen = photos.chosen(StyleChoices, strength=strength, seed=seed)
    file = photos.chosen(
        OutputOptions, format=format, quality=quality, strip_metadata=strip_metadata
    )
    one = None
    if not is_folder(content):
        check_is_for_one(content, processes=processes, retry_failed=retry_failed)
        one = one_output(output, file, [content, style])
    # Before anything slow: a mistyped name is refused at once.
    data = b"" if one is None else read_file(content)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.inference.folder import FolderRun
    from kintsugi.inference.methods import open_release
    from kintsugi.inference.stylize import Stylist, read_style, stylize_folder, stylize_photo
    from kintsugi.storage.storage import Storage

    look, notes = read_style(style)
    for note in notes:
        print(note, flush=True)
    inpainter, config = open_release(release)
    stylist = Stylist(inpainter, look, **asdict(chosen))
    if one is not None:
        since = time.monotonic()
        with watching(content) as progress:
            saved = stylize_photo(data, replace(stylist, progress=progress), one.file)
        return one.finish(saved, "styled", config, time.monotonic() - since, json)
    print(f"release {config.name} {config.digest[:19]}", flush=True)
    join_ray()
    with reporting() as report:
        summary = stylize_folder(
            Storage(content),
            Storage(output),
            stylist=stylist,
            file=file,
            run=FolderRun(retry_failed, overwrite, processes, report),
        )
    return finish(summary, output, json)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Give a folder of photographs the look of one picture; kintsugi.inference does the work."""

import sys
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.jobs import _command as options
from kintsugi.jobs import _photo_options as photos
from kintsugi.jobs._bootstrap import join_ray, run
from kintsugi.jobs._folder import finish, reporting


@options.command(
    "kintsugi stylize photos painting.jpg -o styled",
    "kintsugi stylize s3://shop/photos s3://shop/looks/ink.png -o s3://shop/ink --strength 0.7",
)
def main(
    content: Annotated[str, typer.Argument(help="folder of photographs: a path or URI")],
    style: Annotated[str, typer.Argument(help="one picture")],
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="URI", help="folder; what is there stays: one for each style"
        ),
    ],
    strength: Annotated[float, typer.Option(metavar="0-1", help="how much is style")] = 1.0,
    format: photos.Format = "same",
    quality: photos.Quality = "auto",
    strip_metadata: photos.StripMetadata = False,
    processes: photos.Processes = 1,
    overwrite: photos.Overwrite = False,
    release: options.Release = BUNDLED_RELEASE,
    retry_failed: options.RetryFailed = False,
    json: options.Json = None,
) -> int:
    """Give photographs the look of one picture."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.inference.folder import FolderRun
    from kintsugi.inference.methods import open_release
    from kintsugi.inference.stylize import Stylist, read_style, stylize_folder
    from kintsugi.storage.storage import Storage

    file = photos.output_options(format=format, quality=quality, strip_metadata=strip_metadata)
    look = read_style(style)
    inpainter, config = open_release(release)
    stylist = Stylist(inpainter, look, strength)
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

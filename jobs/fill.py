#!/usr/bin/env python3
"""Fill one photograph, or a folder of them; kintsugi.inference does the work."""

import sys
import time
from pathlib import Path, PurePosixPath
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, join_ray, run, write_results
from kintsugi.jobs._folder import finish, is_folder, read_file, reporting, split

# Of one photograph by the ending of its output; folders get PNGs.
FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}


@options.command(
    "kintsugi fill photo.jpg mask.png -o filled.jpg",
    "kintsugi fill photos -o filled                    # photos/a.jpg by photos/a_mask.png",
    "kintsugi fill s3://shop/photos s3://shop/masks -o s3://shop/filled --retry-failed",
)
def main(
    photo: Annotated[str, typer.Argument(help="photograph, or folder: a path or URI")],
    mask: Annotated[
        str | None,
        typer.Argument(
            help="of the same size, white is hole; or a folder of them: same stem, or stem + _mask,"
            " + _mask001",
            show_default="PHOTO, if a folder",
        ),
    ] = None,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output", "-o", metavar="URI", help=f"{', '.join(FORMATS)}; of a folder, a folder"
        ),
    ],
    release: options.Release = BUNDLED_RELEASE,
    seed: Annotated[int, typer.Option(metavar="N", help="decides every random choice")] = 0,
    retry_failed: options.RetryFailed = False,
    json: options.Json = None,
) -> int:
    """Fill one photograph, or a folder of them, in this process; on Ray if RAY_ADDRESS is set."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.storage.storage import Storage

    if not is_folder(photo):
        return _fill_one(photo, mask, output, release, seed, json)
    from kintsugi.inference.inpaint import Places, inpaint_folder
    from kintsugi.inference.methods import ReleaseMethod, open_release
    from kintsugi.models.plan.fill_plan import FillOptions

    places = Places(Storage(photo), Storage(mask or photo), Storage(output))
    inpainter, config = open_release(release)
    print(f"release {config.name} {config.digest[:19]}", flush=True)
    join_ray()
    method = ReleaseMethod(inpainter, FillOptions(seed=seed))
    with reporting() as report:
        summary = inpaint_folder(places, method, retry_failed=retry_failed, report=report)
    return finish(summary, output, json)


def _fill_one(
    photo: str, mask: str | None, output: str, release: str, seed: int, json: Path | None
) -> int:
    format = FORMATS.get(PurePosixPath(output).suffix.lower())
    if format is None:
        raise ConfigError(f"{output}: let it end in one of {', '.join(FORMATS)}")
    if mask is None:
        raise ConfigError(f"name the mask of {photo} after it: white is hole")
    # Before anything slow: a mistyped name is refused at once.
    files = read_file(photo), read_file(mask)
    folder, name = split(output)
    if not folder.is_bucket and not Path(folder.uri).is_dir():
        raise ConfigError(f"{folder.uri} is no folder to write to: make it, or correct the path")
    from kintsugi.inference.inpaint import fill_photo
    from kintsugi.inference.methods import ReleaseMethod, open_release
    from kintsugi.models.plan.fill_plan import FillOptions

    inpainter, config = open_release(release)
    since = time.monotonic()
    filled = fill_photo(*files, ReleaseMethod(inpainter, FillOptions(seed=seed)), format=format)
    seconds = round(time.monotonic() - since, 3)
    folder.write(name, filled)
    print(f"{folder.join(name).uri}: filled in {seconds:.1f} s by {config.name}")
    write_results(json, {"seconds": seconds, "release": config.name, "digest": config.digest})
    return DONE


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Fill one photograph in this process; kintsugi.inference.inpaint fills folders of them."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path, PurePosixPath

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, job_parser, run
from kintsugi.storage.storage import Storage

EXAMPLES = (
    "jobs/inpaint.py photo.jpg mask.png filled.png",
    "jobs/inpaint.py s3://shop/photo.jpg s3://shop/mask.png filled.jpg --seed 7",
)
FORMATS = {
    ".png": "png",
    ".jpg": "jpeg",
    ".jpeg": "jpeg",
    ".webp": "webp",
    ".tif": "tiff",
    ".tiff": "tiff",
}


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Fill one photograph, without a service.", EXAMPLES, config=None)
    add = parser.add_argument
    add("photo", metavar="PHOTO", help="path or URI")
    add("mask", metavar="MASK", help="of the same size; white is hole")
    add("output", metavar="OUTPUT", help=f"format by its ending: {', '.join(FORMATS)}")
    add("--release", metavar="URI", default=BUNDLED_RELEASE, help="(default: the bundled one)")
    add("--seed", metavar="N", type=int, default=0, help="of the match (default: 0)")
    args = parser.parse_args(argv)
    format = FORMATS.get(PurePosixPath(args.output).suffix.lower())
    if format is None:
        raise ConfigError(f"{args.output}: let it end in one of {', '.join(FORMATS)}")
    # Before anything slow: a mistyped name is refused at once.
    photo, mask = read(args.photo), read(args.mask)
    folder, name = split(args.output)
    if not folder.is_bucket and not Path(folder.uri).is_dir():
        raise ConfigError(f"{folder.uri} is no folder to write to: make it, or correct the path")
    from kintsugi.inference.inpaint import fill_photo
    from kintsugi.inference.methods import ReleaseMethod, open_release
    from kintsugi.jobs._bootstrap import write_results
    from kintsugi.models.plan.fill_plan import FillOptions

    inpainter, config = open_release(args.release)
    since = time.monotonic()
    filled = fill_photo(
        photo, mask, ReleaseMethod(inpainter, FillOptions(seed=args.seed)), format=format
    )
    seconds = round(time.monotonic() - since, 3)
    folder.write(name, filled)
    print(f"{folder.join(name).uri}: filled in {seconds:.1f} s by {config.name}")
    write_results(args.json, {"seconds": seconds, "release": config.name, "digest": config.digest})
    return DONE


def read(uri: str) -> bytes:
    folder, name = split(uri)
    return folder.read(name)


def split(uri: str) -> tuple[Storage, str]:
    """A file as its folder and its name there."""
    folder, _, name = uri.rpartition("/")
    if not name:
        raise ConfigError(f"{uri!r} names no file")
    return Storage(folder or ("/" if uri.startswith("/") else ".")), name


if __name__ == "__main__":
    run(main)

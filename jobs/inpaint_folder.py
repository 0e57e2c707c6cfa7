#!/usr/bin/env python3
"""Fill a folder of photographs with a folder of masks; kintsugi.inference.inpaint does the work."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.jobs._bootstrap import job_parser, join_ray, run
from kintsugi.storage.storage import Storage

EXAMPLES = (
    "jobs/inpaint_folder.py --images photos --masks masks --output filled",
    "jobs/inpaint_folder.py --images s3://shop/photos --masks s3://shop/masks"
    " --output s3://shop/filled --release s3://releases/first --retry-failed",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Fill a folder of photographs.", EXAMPLES, config=None)
    parser.add_argument("--images", metavar="URI", required=True, help="photographs")
    parser.add_argument(
        "--masks",
        metavar="URI",
        required=True,
        help="white is hole; same stem, or stem + _mask, + _mask001",
    )
    parser.add_argument("--output", metavar="URI", required=True, help="one PNG per photograph")
    parser.add_argument(
        "--release", metavar="URI", default=BUNDLED_RELEASE, help="(default: the bundled one)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.inference.inpaint import Places, inpaint_folder
    from kintsugi.inference.methods import ReleaseMethod, open_release
    from kintsugi.jobs._folder import finish, reporting

    inpainter, config = open_release(args.release)
    print(f"release {config.name} {config.digest[:19]}", flush=True)
    join_ray()
    places = Places(Storage(args.images), Storage(args.masks), Storage(args.output))
    method = ReleaseMethod(inpainter)
    with reporting() as report:
        summary = inpaint_folder(places, method, retry_failed=args.retry_failed, report=report)
    return finish(summary, args)


if __name__ == "__main__":
    run(main)

#!/usr/bin/env python3
"""Give a folder of photographs the look of one picture; kintsugi.inference does the work."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.jobs._bootstrap import job_parser, join_ray, run
from kintsugi.storage.storage import Storage

EXAMPLES = (
    "jobs/stylize_folder.py --content photos --style painting.jpg --output styled",
    "jobs/stylize_folder.py --content s3://shop/photos --style s3://shop/looks/ink.png"
    " --output s3://shop/ink --strength 0.7 --release s3://releases/first",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Give photographs the look of one picture.", EXAMPLES, config=None)
    parser.add_argument("--content", metavar="URI", required=True, help="photographs")
    parser.add_argument("--style", metavar="URI", required=True, help="one picture")
    parser.add_argument(
        "--output",
        metavar="URI",
        required=True,
        help="one PNG per photograph; what is there stays: one folder for each style",
    )
    parser.add_argument(
        "--strength", metavar="0-1", type=float, default=1.0, help="how much is style (default: 1)"
    )
    parser.add_argument(
        "--release", metavar="URI", default=BUNDLED_RELEASE, help="(default: the bundled one)"
    )
    parser.add_argument("--retry-failed", action="store_true", help="try again what failed before")
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.inference.methods import open_release
    from kintsugi.inference.stylize import Stylist, read_style, stylize_folder
    from kintsugi.jobs._folder import finish, reporting

    style = read_style(args.style)
    inpainter, config = open_release(args.release)
    stylist = Stylist(inpainter, style, args.strength)
    print(f"release {config.name} {config.digest[:19]}", flush=True)
    join_ray()
    content, output = Storage(args.content), Storage(args.output)
    retry = args.retry_failed
    with reporting() as report:
        summary = stylize_folder(
            content, output, stylist=stylist, retry_failed=retry, report=report
        )
    return finish(summary, args)


if __name__ == "__main__":
    run(main)

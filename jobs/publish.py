#!/usr/bin/env python3
"""Join runs, or parts of releases, into a release; kintsugi.release.publish does the work."""

import sys
from argparse import BooleanOptionalAction, Namespace
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import PUBLISHED_RELEASE
from kintsugi.jobs._bootstrap import DONE, job_parser, read_results, run, write_results

EXAMPLES = (
    "jobs/publish.py --stage1 s3://runs/street-stage1 --stage2 s3://runs/street-stage2"
    " --output s3://releases/street --keys matched-standardised --metrics results.json",
    "jobs/publish.py --stage1 s3://releases/street --stage2 s3://releases/street"
    " --initial-fill s3://runs/better-fill --output s3://releases/street-2   # one part again",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser(
        "Publish runs, or parts of releases, as a release.", EXAMPLES, config="debug-stage2.toml"
    )
    add = parser.add_argument
    add("--stage1", metavar="URI", help="of the run, or of a release that has it (--config's)")
    add("--stage2", metavar="URI", help="of the run, or of a release that has it (--config's)")
    add(
        "--initial-fill",
        metavar="URI",
        help="of a run or release: G1 begins with its fill (stage 1's)",
    )
    add("--checkpoint", default="auto", help="newest, best (held-out loss; default) or a step")
    add("--with-discriminators", action="store_true", help="training can start from it then")
    add(
        "--half",
        action="store_true",
        help="store float16, half the bytes; else float32, of a half release too",
    )
    output = f"of the release; one that is there is replaced (default: {PUBLISHED_RELEASE})"
    add("--output", metavar="URI", default=PUBLISHED_RELEASE, help=output)
    add("--name", help="of the release (default: the last part of --output)")
    add("--metrics", metavar="FILE", type=Path, help="what jobs/evaluate.py wrote")
    add("--keys", help="plain, standardised, matched, matched-standardised (stage 2's)")
    add("--guard", type=int, help="cells around the hole not copied from")
    add("--repeats", type=int, help="matches of the first scale after its first")
    add("--colour", type=float, help="what pixels count next to features in the match (stage 2's)")
    add(
        "--pixels",
        action=BooleanOptionalAction,
        help="fill holes with copied pixels, by what the networks draw (as a release that --stage2"
        " names; else not)",
    )
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config
    from kintsugi.release.publish import Selection, publish

    config = load_config(args.config, args.overrides)
    matching = _named(args, "keys", "guard", "repeats", "colour", "pixels")
    published = publish(
        args.stage1 or config.translate.stage1,
        args.stage2 or f"{config.storage}/{config.run}",
        args.output,
        name=args.name or args.output.rstrip("/").rpartition("/")[2],
        select=Selection(args.checkpoint, args.with_discriminators, args.half),
        matching=matching,
        initial_fill=args.initial_fill,
        metrics=read_results(args.metrics) if args.metrics else None,
    )
    print(f"published {published.config.name}: {published.uri}")
    print(f"  {published.config.digest}, encoder {published.config.encoder}")
    for stage in ("initial_fill", "stage1", "stage2"):
        if about := published.config.training.get(stage):
            print(f"  {stage}: step {about['steps']}, {about['weights']} weights")
    write_results(args.json, {"uri": published.uri, "config": asdict(published.config)})
    return DONE


def _named(args: Namespace, *names: str) -> dict[str, Any]:
    """Of these arguments those that were given."""
    return {name: value for name in names if (value := getattr(args, name)) is not None}


if __name__ == "__main__":
    run(main)

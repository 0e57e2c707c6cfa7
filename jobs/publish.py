#!/usr/bin/env python3
"""Join a stage 1 and a stage 2 run into a release; kintsugi.release does the work."""

import json
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs._bootstrap import DONE, job_parser, run, write_figures
from kintsugi.defaults import DEFAULT_RELEASE
from kintsugi.errors import ConfigError

EXAMPLES = (
    "jobs/publish.py",
    "jobs/publish.py --stage1 s3://runs/street-stage1 --stage2 s3://runs/street-stage2"
    " --output s3://releases/street --metrics results.json",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Publish two runs as a release.", EXAMPLES, config="debug-stage2.toml")
    parser.add_argument("--stage1", metavar="RUN", help="URI of the run (default: --config's)")
    parser.add_argument("--stage2", metavar="RUN", help="URI of the run (default: --config's)")
    parser.add_argument("--output", metavar="URI", default=DEFAULT_RELEASE)
    parser.add_argument("--name", help="of the release (default: the last part of --output)")
    parser.add_argument("--metrics", metavar="FILE", type=Path, help="what jobs/evaluate.py wrote")
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config import load_config
    from kintsugi.release import publish

    config = load_config(args.config, args.overrides)
    published = publish(
        args.stage1 or config.translate.stage1,
        args.stage2 or f"{config.storage}/{config.run}",
        args.output,
        name=args.name or args.output.rstrip("/").rpartition("/")[2],
        metrics=read_metrics(args.metrics) if args.metrics else None,
    )
    print(f"published {published.config.name}: {published.uri}")
    print(f"  {published.config.digest}, encoder {published.config.encoder}")
    write_figures(args.json, {"uri": published.uri, "config": asdict(published.config)})
    return DONE


def read_metrics(path: Path) -> dict[str, Any]:
    try:
        figures = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"--metrics {path}: {error}: give what jobs/evaluate.py wrote") from error
    if not isinstance(figures, dict):
        raise ConfigError(f"--metrics {path} has no {{...}}: give what jobs/evaluate.py wrote")
    return figures


if __name__ == "__main__":
    run(main)

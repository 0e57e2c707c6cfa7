#!/usr/bin/env python3
"""Blind sheets and their tallies; kintsugi.evaluation.blind does the work."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import METHODS, SAMPLES, SETS
from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/compare.py sheet --photos ~/photos --masks center-128-256 --methods ours,patchmatch"
    " --limit 40 --output sheets/first --key first-key.json",
    "jobs/compare.py tally --key first-key.json --answers sheets/first/answers.csv",
)


def main(argv: Sequence[str]) -> int:
    parser = _bootstrap.job_parser("Compare two methods by eye, blind.", EXAMPLES, config=None)
    commands = parser.add_subparsers(dest="command", required=True)
    sheet = commands.add_parser("sheet", help="write pages of pairs, and a key apart from them")
    add = sheet.add_argument
    add("--photos", metavar="URI", default=SAMPLES, help=f"or `{SAMPLES}`")
    add("--release", metavar="URI", help="what `ours` is (default: the bundled one)")
    add("--masks", metavar="SET,...", default="random-256", help=SETS)
    add("--methods", metavar="ONE,OTHER", default="ours,patchmatch", help=METHODS)
    add("--limit", metavar="N", type=int, help="only the first N photographs")
    add("--held-out", metavar="SHARE", type=float, help="only what training kept out")
    add("--seed", type=int, default=0, help="decides masks and sides (default: 0)")
    add("--context", metavar="PX", type=int, default=48, help="shown around a hole (default: 48)")
    add("--per-page", metavar="N", type=int, default=4, help="pairs on a page (default: 4)")
    add("--show-hole", action="store_true", help="a third picture with the hole's outline")
    add("--cache", metavar="URI", help="fills to use again, as of jobs/evaluate.py")
    add("--output", metavar="URI", required=True, help="gets the pages and answers.csv")
    add("--key", metavar="FILE", type=Path, required=True, help="gets whose is whose")
    count = commands.add_parser("tally", help="count the answers")
    count.add_argument("--key", metavar="FILE", type=Path, required=True)
    count.add_argument("--answers", metavar="FILE", type=Path, required=True, help="CSV")
    for each in (sheet, count):
        each.add_argument("--json", metavar="FILE", type=Path, default=argparse.SUPPRESS)
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.evaluation.blind import job as work

    rest = {name: value for name, value in vars(args).items() if name not in ("command", "json")}
    text, figures, whole = work.RUN[args.command](**rest)
    print(text)
    _bootstrap.write_results(args.json, figures)
    return _bootstrap.DONE if whole else _bootstrap.SOME_REJECTED


if __name__ == "__main__":
    _bootstrap.run(main)

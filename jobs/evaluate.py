#!/usr/bin/env python3
"""Compare methods on seeded holes; kintsugi.evaluation.comparison does the work."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import METHODS, SAMPLES, SETS
from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/evaluate.py --photos ~/photos --masks center-96-256 --methods telea,ns --limit 24",
    "jobs/evaluate.py --release s3://releases/first --masks random-256,thick-512"
    " --methods ours,lama=folder:s3://results/lama,patchmatch --output s3://evaluations/first",
)


def main(argv: Sequence[str]) -> int:
    parser = _bootstrap.job_parser("Compare methods on seeded holes.", EXAMPLES, config=None)
    add = parser.add_argument
    add("--photos", metavar="URI", default=SAMPLES, help=f"or `{SAMPLES}`")
    add("--release", metavar="URI", help="what `ours` is (default: the bundled one)")
    add("--masks", metavar="SET,...", default="random-256", help=SETS)
    add("--methods", metavar="NAME,...", default="ours,telea,ns", help=METHODS)
    add("--encoder", metavar="SOURCE", help="whose features are compared: path, URI, random")
    add("--limit", metavar="N", type=int, help="only the first N photographs")
    add("--held-out", metavar="SHARE", type=float, help="only what training kept out")
    add("--seed", type=int, default=0, help="decides every mask (default: 0)")
    add("--output", metavar="URI", help="results.json, results.md, cases.jsonl, grid.png, fills")
    add("--cache", metavar="URI", help="fills to use again (default: OUTPUT/fills)")
    add("--lpips-weights", metavar="FILE", type=Path, help="torchvision's VGG16")
    add("--inception-weights", metavar="FILE", type=Path, help="torch-fidelity's, for FID")
    add("--grid", metavar="FILE", type=Path, help="write a picture grid (PNG)")
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.evaluation import comparison as work
    from kintsugi.evaluation.report import draw_grid, format_table
    from kintsugi.evaluation.request import EvaluationRequest

    same = ("release", "encoder", "seed", "lpips_weights", "inception_weights")
    how = {name: getattr(args, name) for name in same}
    how["cache"] = args.cache or (f"{args.output}/fills" if args.output else None)
    opened = work.open_comparison(
        EvaluationRequest(args.methods.split(","), args.masks.split(","), **how)
    )
    _bootstrap.join_ray()
    which = {"limit": args.limit, "held_out": args.held_out, "report": work.Progress()}
    results, figures = work.compare(args.photos, *opened, **which)
    print(format_table(figures))
    _bootstrap.write_results(args.json, figures)
    if args.grid is not None:
        _bootstrap.write_file(args.grid, draw_grid(results))
    if args.output is not None:
        work.write_report(args.output, results, figures)
    return _bootstrap.DONE if work.is_complete(figures) else _bootstrap.SOME_REJECTED


if __name__ == "__main__":
    _bootstrap.run(main)

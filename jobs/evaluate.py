#!/usr/bin/env python3
"""Compare methods on seeded holes; kintsugi.evaluation does the work."""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from jobs import _bootstrap
from kintsugi.defaults import DEFAULT_RELEASE
from kintsugi.photos import SAMPLES

if TYPE_CHECKING:
    from kintsugi.evaluation import Evaluated

EXAMPLES = (
    "jobs/evaluate.py",
    "jobs/evaluate.py --photos ~/photos --masks center-96-256 --methods telea,ns --limit 24",
    "jobs/evaluate.py --release s3://releases/first --masks random-256,thick-512"
    " --json figures.json --grid grid.png",
)


def main(argv: Sequence[str]) -> int:
    parser = _bootstrap.job_parser("Compare methods on seeded holes.", EXAMPLES, config=None)
    parser.add_argument("--photos", metavar="URI", default=SAMPLES, help=f"or `{SAMPLES}`")
    parser.add_argument("--release", metavar="URI", help=f"what `ours` is ({DEFAULT_RELEASE})")
    parser.add_argument("--masks", metavar="SET,...", default="random-256", help="<kind>-<side px>")
    parser.add_argument("--methods", metavar="NAME,...", default="ours,telea,ns")
    parser.add_argument(
        "--encoder", metavar="SOURCE", help="of the VGG distance: path, URI, random"
    )
    parser.add_argument("--limit", metavar="N", type=int, help="only the first N photographs")
    parser.add_argument("--seed", type=int, default=0, help="decides every mask (default: 0)")
    parser.add_argument("--grid", metavar="FILE", type=Path, help="write a picture grid (PNG)")
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.comparison import compare, open_comparison
    from kintsugi.figures import draw_grid, format_table

    comparison, about = open_comparison(
        args.methods.split(","),
        args.masks.split(","),
        release=args.release,
        encoder=args.encoder,
        seed=args.seed,
    )
    _bootstrap.join_ray()
    results, figures = compare(args.photos, comparison, about, limit=args.limit, report=tell)
    print(format_table(figures["figures"], figures["vgg_encoder"]))
    _bootstrap.write_figures(args.json, figures)
    if args.grid is not None:
        _bootstrap.write_file(args.grid, draw_grid(results))
    return _bootstrap.SOME_REJECTED if figures["rejects"] else _bootstrap.DONE


def tell(result: "Evaluated", done: int, total: int) -> None:
    problem = f": rejected: {result.reject}" if result.reject else ""
    print(f"{done} of {total}: {result.id}{problem}", flush=True)


if __name__ == "__main__":
    _bootstrap.run(main)

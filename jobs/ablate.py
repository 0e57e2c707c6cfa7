#!/usr/bin/env python3
"""Train variants of the method and compare them in one table; kintsugi.evaluation does the work."""

import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs import _bootstrap

EXAMPLES = (
    "jobs/ablate.py",
    "jobs/ablate.py --set loop.max_steps=20 --limit 3 --variants base,coarse,lsgan",
    "ray job submit --working-dir . -- jobs/ablate.py --config jobs/configs/ablation.toml"
    " --photos s3://photos/test --output s3://ablation/tables/first",
)


def main(argv: Sequence[str]) -> int:
    text = "Train variants of the method, where they are not trained yet, and compare them."
    parser = _bootstrap.job_parser(text, EXAMPLES, config="ablation-debug.toml")
    add = parser.add_argument
    add("--variants", metavar="NAME,...", help="only these of the plan")
    add("--photos", metavar="URI", help="in the place of the plan's")
    add("--limit", metavar="N", type=int, help="in the place of the plan's")
    add("--output", metavar="URI", help="ablation.json, ablation.md (default: the plan's storage)")
    add("--without-ray", action="store_true", help="one worker, in this process")
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.evaluation.ablations.ablation import Interrupted, ablate
    from kintsugi.evaluation.ablations.ablation_plan import chosen, load_plan

    plan = load_plan(args.config, args.overrides)
    if args.variants:
        plan = chosen(plan, args.variants.split(","))
    plan = replace(plan, photos=args.photos or plan.photos, limit=args.limit or plan.limit)
    if args.without_ray:
        from kintsugi.train.local import fit
    else:
        _bootstrap.start_ray()
        from kintsugi.train.ray_trainer import fit
    try:
        done = ablate(plan, fit, args.output or f"{plan.storage}/table")
    except Interrupted as interrupted:
        print(f"{interrupted}: start the job again to go on")
        return _bootstrap.STOPPED
    _bootstrap.write_results(args.json, done.to_dict())
    return _bootstrap.DONE


if __name__ == "__main__":
    _bootstrap.run(main)

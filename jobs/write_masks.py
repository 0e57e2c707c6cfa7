#!/usr/bin/env python3
"""Write seeded mask sets as shards; kintsugi.data.mask_shards does the work."""

import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED, job_parser, join_ray, run, write_results
from kintsugi.storage.storage import Storage

OUTPUT = "~/.kintsugi/masks"
EXAMPLES = (
    "jobs/write_masks.py --masks thick-512,border-256 --count 1000",
    "jobs/write_masks.py --photos s3://photos/test --masks thick-512 --output s3://masks --pairs",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Write seeded mask sets as shards.", EXAMPLES, config=None)
    add = parser.add_argument
    add("--masks", metavar="SET,...", help="<kind>-<side px> (default: the standard ten)")
    add("--photos", metavar="URI", help="one mask for each of these; or give --count")
    add("--count", metavar="N", type=int, default=100, help="numbered masks (default: 100)")
    add("--output", metavar="URI", default=OUTPUT, help=f"a folder per set (default: {OUTPUT})")
    add("--pairs", action="store_true", help="also PNGs of holed photographs and masks")
    add("--seed", type=int, default=0, help="decides every mask (default: 0)")
    add("--overwrite", action="store_true", help="replace sets that are there")
    add("--verify", action="store_true", help="write nothing: read back and draw again")
    args = parser.parse_args(argv)
    if args.pairs and not args.photos:
        parser.error("--pairs needs --photos")
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.data.evaluation_photos import list_photos
    from kintsugi.data.mask_shards import verify_mask_set, write_mask_set
    from kintsugi.inference.mask_pairs import write_pairs
    from kintsugi.masks.sets import STANDARD_SETS, numbered_ids, parse_mask_set

    names = args.masks.split(",") if args.masks else STANDARD_SETS
    ids = list_photos(args.photos) if args.photos else numbered_ids(args.count)
    join_ray()
    figures, rejects = dict[str, object](), dict[str, str]()
    for mask_set in [parse_mask_set(name, args.seed) for name in names]:
        target = Storage(args.output).join(mask_set.name)
        if args.verify:
            manifest = verify_mask_set(target)
        else:
            manifest = write_mask_set(mask_set, ids, target, overwrite=args.overwrite)
        if args.pairs and not args.verify:
            rejects |= write_pairs(Storage(args.photos), ids, mask_set, target)
        figures[mask_set.name] = manifest.to_dict()
        print(f"{target.uri}: {figures[mask_set.name]}", flush=True)
    print("".join(f"rejected: {name}: {why}\n" for name, why in rejects.items()), end="")
    write_results(args.json, {"sets": figures, "rejects": rejects})
    return SOME_REJECTED if rejects else DONE


if __name__ == "__main__":
    run(main)

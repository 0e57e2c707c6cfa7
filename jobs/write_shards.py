#!/usr/bin/env python3
"""Pack photographs into Parquet shards; kintsugi.data.shard_writer does the work."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.data.sample_photos import open_photos
from kintsugi.defaults import SAMPLES
from kintsugi.jobs._bootstrap import (
    DONE,
    FAILED,
    SOME_REJECTED,
    job_parser,
    run,
    start_ray,
    write_results,
)
from kintsugi.storage.storage import Storage

if TYPE_CHECKING:
    from kintsugi.data.shard_writer import PartResult

EXAMPLES = (
    "jobs/write_shards.py --input ~/photos --output ~/.kintsugi/shards/mine --verify",
    "jobs/write_shards.py --input s3://photos --output s3://shards/all --held-out 0.02",
    "jobs/write_shards.py --output s3://shards/all --verify --decode",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Pack photographs into shards.", EXAMPLES, config="debug-stage1.toml")
    parser.add_argument("--input", metavar="URI", help=f"photographs, or `{SAMPLES}`")
    parser.add_argument("--output", metavar="URI", help="folder of the shards")
    parser.add_argument("--seed", type=int, help="decides the order of the rows")
    parser.add_argument("--held-out", metavar="SHARE", type=float, help="keep out of training")
    parser.add_argument("--overwrite", action="store_true", help="replace shards that are there")
    parser.add_argument("--verify", action="store_true", help="read all back; pack only if new")
    parser.add_argument("--decode", action="store_true", help="--verify decodes every photograph")
    args = parser.parse_args(argv)
    if args.decode and not args.verify:
        parser.error("--decode belongs to --verify: give both")
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import load_config
    from kintsugi.data.packing import Packing
    from kintsugi.data.shard_manifest import MANIFEST_NAME, read_manifest
    from kintsugi.data.shard_verify import verify_shards
    from kintsugi.data.shard_writer import write_shards

    config = load_config(args.config, args.overrides)
    source, output = args.input or config.data.photos, args.output or config.data.shards
    started = time.monotonic()
    kept = Storage(output).exists(MANIFEST_NAME) and not args.overwrite
    if kept and args.verify:
        manifest = read_manifest(Storage(output))
    else:
        if not kept:
            start_ray()
        seed = config.seed if args.seed is None else args.seed
        share = config.data.held_out_share if args.held_out is None else args.held_out
        how = Packing(overwrite=args.overwrite, held_out_share=share)
        with open_photos(source) as photos:
            manifest = write_shards(photos, output, seed=seed, packing=how, report=report_part)
    problems = verify_shards(output, decode=args.decode) if args.verify else []
    seconds = round(time.monotonic() - started, 1)
    figures = {**manifest.to_dict(), "problems": problems, "seconds": seconds, "output": output}
    write_results(args.json, figures)
    print("\n".join(f"{name}: {value}" for name, value in figures.items()))
    return FAILED if problems else SOME_REJECTED if manifest.rejects and not kept else DONE


def report_part(result: "PartResult", done: int, total: int) -> None:
    rejects = [f"\n  {reject.id}: {reject.detail}" for reject in result.rejects]
    counts = f"{result.rows} photographs, {len(rejects)} rejected"
    print(f"part {done} of {total}: {counts}{''.join(rejects)}", flush=True)


if __name__ == "__main__":
    run(main)

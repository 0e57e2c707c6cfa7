#!/usr/bin/env python3
"""Train an encoder of our own on a teacher's features; kintsugi.encoder.training does it."""

import sys
import time
from collections.abc import Sequence
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs._bootstrap import DONE, job_parser, run, write_results

EXAMPLES = (
    "jobs/train_encoder.py --photos ~/photos --teacher vgg19.safetensors --output ~/encoder",
    "jobs/train_encoder.py --photos s3://photos --teacher torchvision --output s3://encoders/1",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Train the encoder of a release.", EXAMPLES, config=None)
    add = parser.add_argument
    add("--photos", metavar="URI", required=True, help="photographs, at any depth")
    add("--teacher", metavar="FILE", required=True, help="path, URI or `torchvision` (downloads)")
    add("--output", metavar="URI", required=True, help="folder; the same one resumes")
    add("--steps", type=int, default=20_000, help="in all (default: 20000)")
    add("--batch-size", type=int, default=8, help="crops per step (default: 8)")
    add("--crop", metavar="PX", type=int, default=96, help="their side (default: 96)")
    add("--learning-rate", type=float, default=2e-3, help="Adam's, falling (default: 0.002)")
    add("--held-out", metavar="SHARE", type=float, default=0.1, help="only measured on (0.1)")
    add("--seed", type=int, default=0, help="decides all that is drawn (default: 0)")
    add("--threads", type=int, default=2, help="of PyTorch on the CPU (default: 2)")
    add("--device", default="cpu", help='"cpu" (default) or "cuda"')
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    import torch

    from kintsugi.encoder.crops import EncoderTraining
    from kintsugi.encoder.training import ENCODER_NAME, train_encoder
    from kintsugi.runs.run import open_encoder
    from kintsugi.storage.storage import Storage

    torch.set_num_threads(args.threads)
    given = (args.photos, args.steps, args.batch_size, args.crop, args.learning_rate, args.held_out)
    training, output = EncoderTraining(*given, seed=args.seed), Storage(args.output)
    teacher, began = open_encoder(args.teacher, args.seed), time.monotonic()

    def show(row: dict[str, float]) -> None:
        done = f"step {row['step']}/{args.steps}  loss {row['loss']:.4f}"
        print(f"{done}  {time.monotonic() - began:.0f} s", flush=True)

    figures = train_encoder(training, teacher, output, device=args.device, report=show)
    print(f"{output.uri}/{ENCODER_NAME}: on {figures['photographs']} photographs held out:")
    print(f"  cosine {figures['cosine']:.4f}, error per channel {figures['error']:.4f}")
    write_results(args.json, figures)
    return DONE


if __name__ == "__main__":
    run(main)

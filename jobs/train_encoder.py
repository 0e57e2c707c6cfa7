#!/usr/bin/env python3
"""Train an encoder of our own on a teacher's features; kintsugi.encoder.training does it."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, run, write_results


@options.command(
    "kintsugi train encoder --photos ~/photos --teacher vgg19.safetensors --output ~/encoder",
    "kintsugi train encoder --photos s3://photos --teacher torchvision --output s3://encoders/1",
)
def main(
    photos: Annotated[str, typer.Option(metavar="URI", help="photographs, at any depth")],
    teacher: Annotated[
        str, typer.Option(metavar="FILE", help="path, URI or `torchvision` (downloads)")
    ],
    output: Annotated[str, typer.Option(metavar="URI", help="folder; the same one resumes")],
    steps: Annotated[int, typer.Option(help="in all")] = 20_000,
    batch_size: Annotated[int, typer.Option(help="crops per step")] = 8,
    crop: Annotated[int, typer.Option(metavar="PX", help="their side")] = 96,
    learning_rate: Annotated[float, typer.Option(help="Adam's, falling")] = 2e-3,
    held_out: Annotated[float, typer.Option(metavar="SHARE", help="only measured on")] = 0.1,
    seed: Annotated[int, typer.Option(help="decides all that is drawn")] = 0,
    threads: Annotated[int, typer.Option(help="of PyTorch on the CPU")] = 2,
    device: Annotated[str, typer.Option(help="cpu or cuda")] = "cpu",
    json: options.Json = None,
) -> int:
    """Train the encoder of a release."""
    # Down here, like all that is slow to import: --help and usage answer without it.
    import torch

    from kintsugi.devices import check_device
    from kintsugi.encoder.crops import EncoderTraining
    from kintsugi.encoder.training import ENCODER_NAME, train_encoder
    from kintsugi.runs.run import open_encoder
    from kintsugi.storage.storage import Storage

    check_device(device)
    torch.set_num_threads(threads)
    training = EncoderTraining(photos, steps, batch_size, crop, learning_rate, held_out, seed=seed)
    folder, began = Storage(output), time.monotonic()

    def show(row: dict[str, float]) -> None:
        done = f"step {row['step']}/{steps}  loss {row['loss']:.4f}"
        print(f"{done}  {time.monotonic() - began:.0f} s", flush=True)

    figures = train_encoder(
        training, open_encoder(teacher, seed), folder, device=device, report=show
    )
    print(f"{folder.uri}/{ENCODER_NAME}: on {figures['photographs']} photographs held out:")
    print(f"  cosine {figures['cosine']:.4f}, error per channel {figures['error']:.4f}")
    write_results(json, figures)
    return DONE


if __name__ == "__main__":
    run(main)

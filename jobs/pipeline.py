#!/usr/bin/env python3
"""From photographs to a release that passed its evaluation; each step is a job of this folder.

Started again it goes on: finished steps are left out, an unfinished one resumes. The release is
replaced only when its candidate is good enough; else this fails and says why.
"""

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.jobs._bootstrap import DONE, FAILED, ROOT, STOPPED, job_parser, run, start_ray
from kintsugi.release.pipeline import (
    Finished,
    PipelineConfig,
    Step,
    failures,
    promotion,
    steps,
)
from kintsugi.storage.storage import Storage

EXAMPLES = (
    "jobs/pipeline.py --flavour debug --shards ~/.kintsugi/shards/p --runs ~/.kintsugi/runs"
    " --output ~/.kintsugi/releases/debug --rivals ''",
    "jobs/pipeline.py --photos s3://photos --shards s3://shards/train --runs s3://runs"
    " --output s3://releases/street --teacher torchvision --workers 4 --least 2",
)


def main(argv: Sequence[str]) -> int:
    parser = job_parser("Photographs to a release.", EXAMPLES, config=None)
    add = parser.add_argument
    add("--flavour", default="recommended", help="of jobs/configs (default: recommended)")
    add("--photos", metavar="URI", default="", help="default: the configuration's")
    add("--shards", metavar="URI", required=True, help="where they are packed")
    add("--runs", metavar="URI", required=True, help="folder of the runs")
    add("--output", metavar="URI", required=True, help="of the release; replaced when it is there")
    add("--held-out", metavar="SHARE", type=float, default=0.02, help="not trained on (0.02)")
    add("--teacher", metavar="FILE", default="", help="train an encoder: path, URI, `torchvision`")
    add("--encoder-steps", metavar="N", type=int, default=20_000, help="of that (default: 20000)")
    add("--workers", metavar="N", type=int, default=0, help="default: the configuration's")
    add("--least", metavar="N", type=int, default=0, help="go on with so few (default: all)")
    add("--masks", metavar="SET,...", default="center-128-256,thick-256", help="evaluated on")
    add("--rivals", metavar="NAME,...", default="telea", help="be no worse than these; '' for none")
    add("--margin", metavar="X", type=float, default=1.0, help="times as far as a rival (1.0)")
    add("--limit", metavar="N", type=int, default=200, help="photographs evaluated (default: 200)")
    add("--metrics-port", metavar="N", type=int, default=0, help="of the trainings (0: none)")
    add("--metrics-host", metavar="HOST", default="127.0.0.1", help="at (default: 127.0.0.1)")
    add("--dry-run", action="store_true", help="print the commands and run none")
    args = vars(parser.parse_args(argv))
    del args["json"]
    metrics = (args.pop("metrics_port"), args.pop("metrics_host"))
    only_shown = args.pop("dry_run")
    for name in ("masks", "rivals"):
        args[name] = tuple(word for word in args[name].split(",") if word)
    config = PipelineConfig(**args, metrics=metrics)
    planned = steps(config, str(ROOT / "jobs" / "configs"))
    if only_shown:
        print("\n".join(f"{step.name}: {' '.join(_command(step))}" for step in planned))
        return DONE
    return _run_all(config, planned)


def _run_all(config: PipelineConfig, planned: list[Step]) -> int:
    finished = Finished(Storage(config.home))
    begun = finished.count(planned)
    if begun:
        print(f"pipeline: {begun} of {len(planned)} steps are done already", flush=True)
    for index, step in enumerate(planned[begun:], begun):
        print(f"pipeline: step {index + 1} of {len(planned)}, {step.name}", flush=True)
        began = time.monotonic()
        code = _on_gpu(step) if step.on_gpu else _here(step)
        if code not in step.accepts:
            print(f"pipeline: {step.name} ended with {code}", file=sys.stderr)
            return code
        # Whatever was done after it before was made of something else.
        finished.write(planned[: index + 1])
        print(f"pipeline: {step.name} done in {time.monotonic() - began:.0f} s", flush=True)
    return _promote(config)


def _promote(config: PipelineConfig) -> int:
    evaluation = Storage(f"{config.home}/evaluation")
    # As jobs/evaluate.py writes them next to its page.
    raw = evaluation.read("results.json")
    if reasons := failures(json.loads(raw), config):
        print("pipeline: the candidate is not good enough:", file=sys.stderr)
        print("\n".join(f"  {reason}" for reason in reasons), file=sys.stderr)
        print(f"  it is kept at {config.home}/candidate", file=sys.stderr)
        return FAILED
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "results.json"
        file.write_bytes(raw)
        code = _here(promotion(config, str(file)))
    if code == DONE:
        print(f"pipeline: {config.output} is the release")
    return code


def _command(step: Step) -> list[str]:
    return [sys.executable, str(ROOT / "jobs" / f"{step.job}.py"), *step.flags]


def _here(step: Step) -> int:
    """Run a step as a process of its own, which a SIGTERM reaches. Returns its exit code."""
    process = subprocess.Popen(_command(step))

    def stop(number: int, frame: FrameType | None) -> None:
        process.send_signal(signal.SIGTERM)

    before = signal.signal(signal.SIGTERM, stop)
    try:
        code = process.wait()
    finally:
        signal.signal(signal.SIGTERM, before)
    return STOPPED if code == -signal.SIGTERM else code


def _on_gpu(step: Step) -> int:
    """Run a step on a worker with a GPU, where there is a cluster. Returns its exit code."""
    if "RAY_ADDRESS" not in os.environ:
        return _here(step)
    start_ray()
    import ray

    def call(command: list[str]) -> int:
        return subprocess.run(command, check=False).returncode

    # A worker that is lost is replaced; the step resumes where it stood.
    remote = ray.remote(num_cpus=1, num_gpus=1, max_retries=5)(call)
    try:
        code: int = ray.get(remote.remote(_command(step)))
    finally:
        ray.shutdown()
    return code


if __name__ == "__main__":
    run(main)

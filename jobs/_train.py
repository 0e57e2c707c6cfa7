"""What the training jobs share: configuration in, a trained run and its figures out."""

import time
from collections.abc import Sequence

from jobs import _bootstrap


def train(stage: str, argv: Sequence[str]) -> int:
    """Run `jobs/train_<stage>.py`. Returns its exit code."""
    parser = _bootstrap.job_parser(
        f"Train {stage} on Ray; the same run and configuration resume.",
        [
            f"python jobs/train_{stage}.py",
            f"python jobs/train_{stage}.py --config jobs/configs/paper-{stage}.toml"
            " --set workers.count=8",
            f"ray job submit --working-dir . -- jobs/train_{stage}.py"
            f" --set storage=s3://runs --set run=first-{stage}",
        ],
        config=f"debug-{stage}.toml",
    )
    arguments = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config import load_config
    from kintsugi.errors import ConfigError

    config = load_config(arguments.config, arguments.overrides)
    if config.stage != stage:
        raise ConfigError(
            f"{arguments.config} is for {config.stage}: run jobs/train_{config.stage}.py with it"
        )
    _bootstrap.start_ray()
    from kintsugi.training import fit

    began = time.monotonic()
    print(f"{stage}: run {config.run!r} in {config.storage}", flush=True)
    trained = fit(config)
    seconds = time.monotonic() - began
    if trained.first_step == trained.last_step:
        print(f"already finished at step {trained.last_step}: {trained.run}")
    else:
        print(
            f"steps {trained.first_step} to {trained.last_step} in {seconds:.0f} s: {trained.run}"
        )
    fixed = [row for row in trained.metrics if "fixed/perceptual" in row]
    if len(fixed) > 1:
        first, last = fixed[0], fixed[-1]
        print(
            f"perceptual loss on the fixed photographs: {first['fixed/perceptual']:.4f} at step"
            f" {first['step']}, {last['fixed/perceptual']:.4f} at step {last['step']}"
        )
    _bootstrap.write_figures(
        arguments.json,
        {
            "run": trained.run,
            "first_step": trained.first_step,
            "last_step": trained.last_step,
            "seconds": seconds,
            "metrics": trained.metrics,
        },
    )
    return _bootstrap.DONE

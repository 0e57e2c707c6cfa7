"""What the training jobs share: configuration in, a trained run and its figures out."""

import argparse
import time
from collections.abc import Sequence
from dataclasses import asdict

from kintsugi.jobs import _bootstrap


def train(stage: str, argv: Sequence[str]) -> int:
    """Run the job that trains ``stage``. Returns its exit code."""
    args = _parser(stage).parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.config.run_config import explain, load_config
    from kintsugi.errors import ConfigError
    from kintsugi.monitor.reporting import Shown, reporting, summary
    from kintsugi.train.dry_run import describe, dry_run

    config = load_config(args.config, args.overrides)
    if config.stage != stage:
        raise ConfigError(
            f"{args.config} is for {config.stage}: run jobs/train_{config.stage}.py with it"
        )
    if args.print_config:
        print(explain(config), end="")
        return _bootstrap.DONE
    if args.dry_run:
        print(describe(done := dry_run(config)))
        _bootstrap.write_results(args.json, done.to_dict())
        return _bootstrap.DONE
    if args.without_ray:
        from kintsugi.train.local import fit
    else:
        _bootstrap.start_ray()
        from kintsugi.train.ray_trainer import fit

    began = time.monotonic()
    print(f"{stage}: run {config.run!r} in {config.storage}", flush=True)
    with reporting(config, Shown(args.tensorboard, args.metrics_port, args.metrics_host)):
        trained = fit(config)
    seconds = time.monotonic() - began
    print("\n".join(summary(trained, seconds)))
    _bootstrap.write_results(args.json, asdict(trained) | {"seconds": seconds})
    return _bootstrap.STOPPED if trained.stopped else _bootstrap.DONE


def _parser(stage: str) -> argparse.ArgumentParser:
    job, name = f"jobs/train_{stage}.py", stage.replace("_", "-")
    # What goes beyond the paper has no configuration of its.
    published = _bootstrap.ROOT / "jobs" / "configs" / f"paper-{name}.toml"
    flavour = "paper" if published.exists() else "recommended"
    examples = [
        f"{job} --print-config",
        f"{job} --dry-run",
        f"{job} --config jobs/configs/{flavour}-{name}.toml --set workers.count=8 --tensorboard",
        f"ray job submit --working-dir . -- {job} --set storage=s3://runs --set run=first-{name}",
    ]
    text = f"Train {stage} on Ray; the same run and configuration resume."
    parser = _bootstrap.job_parser(text, examples, config=f"debug-{name}.toml")
    add = parser.add_argument
    text = "print the merged configuration with what each key means; trains nothing"
    add("--print-config", action="store_true", help=text)
    add("--dry-run", action="store_true", help="one step here, without Ray; keeps nothing")
    add("--without-ray", action="store_true", help="one worker, in this process")
    add("--tensorboard", action="store_true", help="write event files into the run's folder")
    add("--metrics-port", metavar="N", type=int, default=0, help="serve Prometheus metrics (0: no)")
    add("--metrics-host", metavar="HOST", default="127.0.0.1", help="at (default: 127.0.0.1)")
    return parser

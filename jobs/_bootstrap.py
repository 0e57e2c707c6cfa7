"""What every job does around its work: import paths, flags, Ray, exit codes.

Imported first by each job; knows nothing of what a job does.
"""

import argparse
import json
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
# A job run by its path finds neither the root nor platform/ by itself.
if (ROOT / "platform").is_dir() and str(ROOT / "platform") not in sys.path:
    sys.path.insert(0, str(ROOT / "platform"))

# Of every process that may compute: a thread that waits for another spins for about a tenth of
# a millisecond, the gap between two operations, and then gives its core away. PyTorch's spin
# for a hundred times as long by default; with other work on the machine each then waits for the
# others.
_THREADS = {"GOMP_SPINCOUNT": "3000"}

# Of Ray's own processes.
_SETTINGS = {
    **_THREADS,
    # How often Ray Train looks at its workers, in seconds: a lost one is noticed, and a
    # checkpoint committed, no sooner. Its default is 2.
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    # For how long a worker may not answer, in seconds, before it counts as dead. Its default
    # is ten minutes.
    "RAY_TRAIN_WORKER_HEALTH_CHECK_TIMEOUT_S": "40",
    # For how long it asks workers to leave one another before it ends them, in seconds; one that
    # does not answer never does. Its default is 30.
    "TORCH_PROCESS_GROUP_SHUTDOWN_TIMEOUT_S": "5",
    # How long Ray Train waits for room for its workers, in seconds, before it counts again how
    # many there may be: right after a node is lost it counts that, too. Its default is 60.
    "RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S": "20",
    # Ray Train repeats what workers print; once is enough.
    "RAY_TRAIN_ENABLE_PRINT_PATCH": "0",
    # A pipeline that gets nowhere for ten minutes is an error; Ray's default is thirty.
    "RAY_DATA_EXECUTION_NO_PROGRESS_TIMEOUT_S": "600",
}

DONE, FAILED, USAGE, SOME_REJECTED = range(4)
# By SIGTERM, after the state was saved.
STOPPED = 128 + signal.SIGTERM


def job_parser(
    description: str, examples: Sequence[str], *, config: str | None
) -> argparse.ArgumentParser:
    """A parser with the flags that all jobs share, and examples at the end of --help.

    Args:
        description: What the job does.
        examples: Command lines.
        config: The default of --config, a file name in jobs/configs; None for a job
            that takes no configuration.
    """
    parser = argparse.ArgumentParser(
        description=description,
        epilog="examples:\n" + "\n".join(f"  {example}" for example in examples),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    if config is not None:
        parser.add_argument(
            "--config",
            metavar="FILE",
            type=Path,
            default=ROOT / "jobs" / "configs" / config,
            help=f"configuration in TOML (default: jobs/configs/{config})",
        )
        parser.add_argument(
            "--set",
            metavar="a.b=c",
            action="append",
            default=[],
            dest="overrides",
            help="replace one value of the configuration; may be repeated",
        )
    parser.add_argument("--json", metavar="FILE", type=Path, help="write the figures to this file")
    return parser


def write_results(path: Path | None, figures: dict[str, Any]) -> None:
    """Write what `--json` asks for, if it does."""
    if path is not None:
        write_file(path, (json.dumps(figures, indent=1) + "\n").encode())


def read_results(path: Path) -> dict[str, Any]:
    """Read what another job's `--json` wrote. Raises: ConfigError when it is no such file."""
    from kintsugi.errors import ConfigError

    try:
        figures = json.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise ConfigError(f"{path}: {error}: give what a job's --json wrote") from error
    if not isinstance(figures, dict):
        raise ConfigError(f"{path} has no {{...}}: give what a job's --json wrote")
    return figures


def write_file(path: Path, data: bytes) -> None:
    """Write a file that a flag asked for, and say where it is."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    # Under `ray job submit` the current folder is a temporary one of the cluster's.
    print(f"wrote {path.absolute()}")


def join_ray() -> None:
    """Join the cluster this job was submitted to or RAY_ADDRESS names; without one, nothing."""
    if "RAY_ADDRESS" in os.environ:
        start_ray()


def start_ray() -> None:
    """Join the cluster this job was submitted to or RAY_ADDRESS names, else start Ray here.

    Afterwards `kintsugi` and `models` can be imported in every worker.
    """
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    if not sys.stdout.isatty():
        # Of what workers print: a log has no colours.
        os.environ.setdefault("RAY_COLOR_PREFIX", "0")
    joins = "RAY_ADDRESS" in os.environ
    if not joins:
        # Left unset, a new cluster makes up a token, and other clients of this machine are
        # refused (401).
        os.environ.setdefault("RAY_AUTH_MODE", "disabled")
    import ray

    if joins:
        _check_reachable(os.environ["RAY_ADDRESS"])
        ray.init(runtime_env=_runtime_env(os.environ.get("RAY_JOB_CONFIG_JSON_ENV_VAR")))
    else:
        # Logical CPUs cost nothing; with only two, training holds both and waits for ever for
        # data that no CPU is left to read.
        ray.init(
            address="local",
            num_cpus=max(4, os.cpu_count() or 1),
            runtime_env={"env_vars": _here() | _SETTINGS},
        )


def _check_reachable(address: str) -> None:
    """Refuse an address behind which no cluster is: Ray itself would try for ten minutes."""
    from kintsugi.errors import ConfigError

    if address.startswith("http"):
        raise ConfigError(
            f"RAY_ADDRESS={address} is where jobs are submitted: use `ray job submit`, or set it"
            " to the cluster's HOST:PORT, or unset it to start Ray here"
        )
    host, _, port = address.rpartition(":")
    if not host or not port.isdigit():
        return
    try:
        socket.create_connection((host, int(port)), timeout=10).close()
    except OSError as error:
        raise ConfigError(
            f"no Ray cluster at RAY_ADDRESS={address} ({error}): start one, or unset it to start"
            " Ray here"
        ) from error


def _runtime_env(submitted: str | None) -> dict[str, Any]:
    """What to add to the environment of the cluster's workers.

    Args:
        submitted: Ray's description (JSON) of the job that this process was
            submitted as; None when it only joins the cluster.
    """
    if submitted is None:
        # Workers of other nodes need the code; what git ignores is not sent.
        return {"working_dir": str(ROOT), "env_vars": {"PYTHONPATH": "platform"} | _SETTINGS}
    theirs = json.loads(submitted).get("runtime_env") or {}
    if "PYTHONPATH" in theirs.get("env_vars", {}):
        # Given twice it is refused; whoever submitted it knows where the code is.
        return {"env_vars": {k: v for k, v in _SETTINGS.items() if k not in theirs["env_vars"]}}
    # Ray puts a relative path below the folder into which it unpacks working_dir.
    path = {"PYTHONPATH": "platform"} if "working_dir" in theirs else _here()
    return {"env_vars": path | _SETTINGS}


def _here() -> dict[str, str]:
    return {"PYTHONPATH": str(ROOT / "platform")}


def interrupt_once() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, and only the first of them.

    The next would cut short the stopping of what was started, and leave processes behind.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, signal.SIG_IGN)
        raise KeyboardInterrupt

    for each in (signal.SIGINT, signal.SIGTERM):
        signal.signal(each, interrupt)


def run(main: Callable[[Sequence[str]], int]) -> None:
    """Run a job's main with the command line and end the process with its exit code.

    0 done, 1 failed, 2 usage or configuration, 3 finished with some inputs
    rejected. An error whose cause lies outside the code is one line; anything
    else is a bug and keeps its trace.
    """
    from kintsugi.errors import ConfigError, KintsugiError

    # Read when PyTorch is loaded, which is later.
    for name, value in _THREADS.items():
        os.environ.setdefault(name, value)
    try:
        sys.exit(main(sys.argv[1:]))
    except KintsugiError as error:
        # Raised in a task it comes wrapped, with the trace through Ray as its text.
        cause = getattr(error, "cause", error)
        # Of bytes that cannot be used: what to do about it.
        hint = getattr(cause, "hint", "")
        print(f"error: {cause}" + (f": {hint}" if hint else ""), file=sys.stderr)
        sys.exit(USAGE if isinstance(cause, ConfigError) else FAILED)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(FAILED)

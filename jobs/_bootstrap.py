"""What every job does around its work: Ray, files that flags ask for, exit codes.

Imported first by each job; knows nothing of what a job does.
"""

import contextlib
import json
import os
import select
import signal
import socket
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType
from typing import Any

from kintsugi.defaults import PACKAGE, THREADS

# Settings of Ray's own processes.
_SETTINGS = {
    **THREADS,
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

# Of Ray on this machine: other work that takes all processors for half a minute ends one.
_STARTS = 3
DONE, FAILED, USAGE, SOME_REJECTED = range(4)
# By SIGTERM, after the state was saved.
STOPPED = 128 + signal.SIGTERM
_STOPS = (signal.SIGINT, signal.SIGTERM)


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
    """Write a file that an option asked for, and say where it is."""
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
    # How often a task is tried again whose worker was ended for its memory; without end by default,
    # so that one photograph that is too large would never let the others finish.
    os.environ.setdefault("RAY_task_oom_retries", "3")
    if not sys.stdout.isatty():
        # For what workers print: a log has no colours.
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
        _start_here()


def _start_here() -> None:
    """Start Ray on this machine. Raises: ConfigError when the machine is too busy for it."""
    import ray

    from kintsugi.errors import ConfigError

    for left in reversed(range(_STARTS)):
        before = _children()
        try:
            # Logical CPUs cost nothing; with only two, training holds both and waits for ever for
            # data that no CPU is left to read.
            ray.init(
                address="local",
                num_cpus=max(4, os.cpu_count() or 1),
                runtime_env={"env_vars": _SETTINGS | {"PYTHONPATH": str(PACKAGE.parent)}},
            )
            return
        except Exception as error:
            # Ray gives its own processes 30 s, says so in an exception of no type of its own, and
            # has no setting for it.
            if "timed out during startup" not in str(error):
                raise
            ray.shutdown()
            # Ray forgets what it has started by then, and that would run as long as the job.
            for process in _children() - before:
                if b"ray" in _command(process):
                    with contextlib.suppress(ProcessLookupError):
                        os.kill(process, signal.SIGKILL)
            if not left:
                raise ConfigError(
                    f"Ray did not start here within 30 s, {_STARTS} times: the processors of this"
                    " machine are busy: end other work, or set RAY_ADDRESS to a cluster that runs"
                ) from error


def _children() -> set[int]:
    """Processes that this one has started and that have not ended; on Linux alone."""
    lists = Path("/proc/self/task").glob("*/children")
    return {int(number) for each in lists for number in each.read_text().split()}


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:
        # It has ended meanwhile.
        return b""


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
        # Workers of other nodes need the code.
        return {"py_modules": [str(PACKAGE)], "env_vars": _SETTINGS}
    theirs = json.loads(submitted).get("runtime_env") or {}
    mine = {k: v for k, v in _SETTINGS.items() if k not in theirs.get("env_vars", {})}
    if "PYTHONPATH" in theirs.get("env_vars", {}) or "py_modules" in theirs:
        # Its sender knows where the code is, and the same name twice is refused.
        return {"env_vars": mine}
    # Ray puts a relative path below the folder into which it unpacks working_dir. Without one the
    # package is where this process found it, on each node.
    sent = "working_dir" in theirs and (Path.cwd() / "platform" / "kintsugi").is_dir()
    return {"env_vars": mine | {"PYTHONPATH": "platform" if sent else str(PACKAGE.parent)}}


def interrupt_once() -> None:
    """From now on SIGINT and SIGTERM raise KeyboardInterrupt, and only the first of them.

    The next would cut short the stopping of what was started, and leave processes behind.
    """

    def interrupt(number: int, frame: FrameType | None) -> None:
        no_interrupts()
        raise KeyboardInterrupt

    for each in _STOPS:
        signal.signal(each, interrupt)


def no_interrupts() -> None:
    """From now on SIGINT and SIGTERM do nothing."""
    for each in _STOPS:
        signal.signal(each, signal.SIG_IGN)


def run(main: Callable[[Sequence[str]], int]) -> None:
    """Run a job's main with the command line and end the process with its exit code.

    0 done, 1 failed, 2 usage or configuration, 3 finished with some inputs
    rejected. An error whose cause lies outside the code is one line; anything
    else is a bug and keeps its trace.
    """
    from kintsugi.errors import ConfigError, KintsugiError

    # Read when PyTorch is loaded, which is later.
    for name, value in THREADS.items():
        os.environ.setdefault(name, value)
    try:
        code = main(sys.argv[1:])
        # Now: when Python itself ends it is too late for what follows.
        sys.stdout.flush()
        sys.exit(code)
    except KintsugiError as error:
        # Raised in a task it comes wrapped, with the trace through Ray as its text.
        cause = getattr(error, "cause", error)
        # What to do about bytes that cannot be used.
        hint = getattr(cause, "hint", "")
        print(f"error: {cause}" + (f": {hint}" if hint else ""), file=sys.stderr)
        sys.exit(USAGE if isinstance(cause, ConfigError) else FAILED)
    except KeyboardInterrupt:
        print("error: interrupted", file=sys.stderr)
        sys.exit(FAILED)
    except BrokenPipeError:
        if not _is_unread():
            raise
        sys.exit(128 + signal.SIGPIPE)


def _is_unread() -> bool:
    """Whether who read what is printed has gone, as `head` does when it has enough.

    What is printed from then on goes nowhere.
    """
    poll = select.poll()
    poll.register(sys.stdout.fileno(), 0)
    if not poll.poll(0):
        return False
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return True

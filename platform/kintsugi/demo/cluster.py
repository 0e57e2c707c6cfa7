"""A Ray cluster of one node on this machine, by `ray start --block` and its process alone."""

import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from kintsugi.demo.object_store import free_ports
from kintsugi.errors import StorageError

# Logical: they bound how much runs at once. Two physical cores do; Ray starts an idle
# process for each, so more only make the start slower.
LOGICAL_CPUS = 4
OBJECT_STORE_BYTES = 500_000_000
_START_SECONDS = 90.0
_STOP_SECONDS = 20.0
_PORT_FLAGS = (
    "--port",
    "--dashboard-port",
    "--metrics-export-port",
    "--dashboard-agent-listen-port",
    "--dashboard-agent-grpc-port",
    "--runtime-env-agent-port",
    "--ray-client-server-port",
)


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        dashboard: URL of its dashboard, to which jobs and applications are sent.
        metrics: URL of its Prometheus metrics.
        token: What its processes and clients prove themselves with; secret.
    """

    dashboard: str
    metrics: str
    token: str = field(repr=False)

    def environment(self) -> dict[str, str]:
        """The variables by which `ray job submit` and `serve deploy` find it and are let in."""
        return {
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
            **self.authentication(),
        }

    def authentication(self) -> dict[str, str]:
        """The variables that its own processes need, and every process that calls them."""
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@contextmanager
def ray_cluster(root: Path, log: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a cluster until the block ends.

    Some of Ray's ports listen on every network of the machine, whatever it is told, and
    whoever reaches them can run code: they answer only to the cluster's own token.

    Args:
        root: The repository, whose code the cluster's processes import.
        log: File for what `ray start` prints.
        environment: Variables that all its processes see, such as an object store's.

    Raises: StorageError naming the log when it does not come up.
    """
    ports = free_ports(len(_PORT_FLAGS))
    # Ray's sockets live here, and their paths may have 107 characters at most.
    temporary = tempfile.mkdtemp(prefix="kintsugi-", dir="/tmp")
    cluster = Cluster(
        dashboard=f"http://127.0.0.1:{ports[1]}",
        metrics=f"http://127.0.0.1:{ports[2]}",
        token=secrets.token_hex(32),
    )
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
                *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
                *("--num-cpus", str(LOGICAL_CPUS), "--temp-dir", temporary),
                *("--object-store-memory", str(OBJECT_STORE_BYTES), "--disable-usage-stats"),
                *(f"{flag}={port}" for flag, port in zip(_PORT_FLAGS, ports, strict=True)),
            ],
            env={
                **os.environ,
                **environment,
                **_node_environment(root),
                **cluster.authentication(),
            },
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=root,
            # Ctrl-C is for this program, which then stops the node itself.
            start_new_session=True,
        )
    try:
        _wait_until_ready(process, cluster, log)
        yield cluster
    finally:
        _stop(process)
        _remove(Path(temporary))


def _node_environment(root: Path) -> dict[str, str]:
    return {
        # Stop at once: there is no other node to drain work to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'platform'}",
        # Jobs are started as `jobs/...py` and must find this Python.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _wait_until_ready(process: "subprocess.Popen[bytes]", cluster: Cluster, log: Path) -> None:
    give_up = time.monotonic() + _START_SECONDS
    # Answers once jobs can be submitted.
    jobs = Request(  # noqa: S310
        f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"}
    )
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise StorageError(f"Ray ended with {process.returncode} while starting: see {log}")
        try:
            with urlopen(jobs, timeout=5):  # noqa: S310
                return
        except (URLError, TimeoutError, ConnectionError):
            time.sleep(0.25)
    raise StorageError(f"Ray did not start in {_START_SECONDS:.0f} s: see {log}")


def _stop(process: "subprocess.Popen[bytes]") -> None:
    """End the node with all its processes; only those it started, by their process group."""
    process.terminate()
    try:
        process.wait(_STOP_SECONDS)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
    # Its agents notice seconds later that their node is gone, and a killed process still
    # runs for a moment.
    give_up = time.monotonic() + _STOP_SECONDS
    while _runs(process.pid) and time.monotonic() < give_up:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        time.sleep(0.05)


def _runs(group: int) -> bool:
    """Whether a process of the group still runs; dead ones may wait to be reaped."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            # Fields after the name in brackets: state, parent, process group, ...
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
        except OSError:
            continue
        if int(of_group) == group and state not in ("Z", "X"):
            return True
    return False


def _remove(folder: Path) -> None:
    """Delete a folder into which a process that is just ending may still write."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)

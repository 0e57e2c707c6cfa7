"""A Ray cluster of one node on this machine, by `ray start --block` and its process alone."""

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.error import URLError

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
)


@dataclass(frozen=True)
class Cluster:
    """A running cluster.

    Attributes:
        dashboard: URL of its dashboard, to which jobs and applications are sent.
        metrics: URL of its Prometheus metrics.
    """

    dashboard: str
    metrics: str

    def environment(self) -> dict[str, str]:
        """The variables by which `ray job submit` and `serve deploy` find it."""
        return {
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
            "RAY_AUTH_MODE": "disabled",
        }


@contextmanager
def ray_cluster(root: Path, log: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a cluster until the block ends, listening on 127.0.0.1 only where Ray allows it.

    Args:
        root: The repository, whose code the cluster's processes import.
        log: File for what `ray start` prints.
        environment: Variables that all its processes see, such as an object store's.

    Raises: StorageError naming the log when it does not come up.
    """
    ports = free_ports(len(_PORT_FLAGS))
    # Ray's sockets live here, and their paths may have 107 characters at most.
    temporary = tempfile.mkdtemp(prefix="kintsugi-", dir="/tmp")
    cluster = Cluster(f"http://127.0.0.1:{ports[1]}", f"http://127.0.0.1:{ports[2]}")
    with log.open("ab") as output:
        process = subprocess.Popen(
            [
                *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
                *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
                *("--num-cpus", str(LOGICAL_CPUS), "--temp-dir", temporary),
                *("--object-store-memory", str(OBJECT_STORE_BYTES), "--disable-usage-stats"),
                *(f"{flag}={port}" for flag, port in zip(_PORT_FLAGS, ports, strict=True)),
            ],
            env=dict(os.environ) | dict(environment) | _node_environment(root),
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
        shutil.rmtree(temporary, ignore_errors=True)


def _node_environment(root: Path) -> dict[str, str]:
    return {
        "RAY_AUTH_MODE": "disabled",
        # Stop at once: there is no other node to drain work to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        "PYTHONPATH": f"{root}{os.pathsep}{root / 'platform'}",
        # Jobs are started as `jobs/...py` and must find this Python.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _wait_until_ready(process: "subprocess.Popen[bytes]", cluster: Cluster, log: Path) -> None:
    give_up = time.monotonic() + _START_SECONDS
    while time.monotonic() < give_up:
        if process.poll() is not None:
            raise StorageError(f"Ray ended with {process.returncode} while starting: see {log}")
        try:
            # Answers once jobs can be submitted.
            with urllib.request.urlopen(f"{cluster.dashboard}/api/jobs/", timeout=5):  # noqa: S310
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
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()

"""A Ray cluster of one node on this machine, by `ray start --block` and its process alone."""

import os
import secrets
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from urllib.error import URLError
from urllib.request import Request, urlopen

from kintsugi.defaults import PACKAGE
from kintsugi.servers.processes import Server, free_ports, running

# Logical: they bound how much runs at once. Two physical cores do; Ray starts an idle
# process for each, so more only make the start slower.
LOGICAL_CPUS = 4
OBJECT_STORE_BYTES = 500_000_000
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

    @classmethod
    def running(cls, dashboard: str) -> "Cluster":
        """One that runs already, with the token that this process's environment has."""
        return cls(dashboard, metrics="", token=os.environ.get("RAY_AUTH_TOKEN", ""))

    def environment(self) -> dict[str, str]:
        """The variables by which `ray job submit` and `serve deploy` find it and are let in."""
        return {
            "RAY_API_SERVER_ADDRESS": self.dashboard,
            "RAY_DASHBOARD_ADDRESS": self.dashboard,
            **self.authentication(),
        }

    def authentication(self) -> dict[str, str]:
        """The variables that its own processes need, and every process that calls them."""
        if not self.token:
            return {}
        return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": self.token}


@contextmanager
def ray_cluster(root: Path, log: Path, environment: Mapping[str, str]) -> Iterator[Cluster]:
    """Run a cluster until the block ends.

    Some of Ray's ports listen on every network of the machine, whatever its settings say, and
    a client that reaches them can run code: they answer only to the cluster's own token.

    Args:
        root: The current folder of its processes.
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
    command = [
        *(str(Path(sys.executable).parent / "ray"), "start", "--head", "--block"),
        *("--node-ip-address", "127.0.0.1", "--dashboard-host", "127.0.0.1"),
        *("--num-cpus", str(LOGICAL_CPUS), "--temp-dir", temporary),
        *("--object-store-memory", str(OBJECT_STORE_BYTES), "--disable-usage-stats"),
        *(f"{flag}={port}" for flag, port in zip(_PORT_FLAGS, ports, strict=True)),
    ]
    variables = {
        **os.environ,
        **environment,
        **_node_environment(),
        **cluster.authentication(),
    }
    try:
        with running(Server("Ray", command, variables, root, log), lambda: _takes_jobs(cluster)):
            yield cluster
    finally:
        _remove(Path(temporary))


def _node_environment() -> dict[str, str]:
    return {
        # Stop at once: there is no other node to drain work to.
        "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S": "0",
        # A proxy that died is replaced after seconds, not half a minute.
        "RAY_SERVE_PROXY_HEALTH_CHECK_PERIOD_S": "0.5",
        # One that starts slowly on a busy machine is not killed before it is ready.
        "RAY_SERVE_PROXY_READY_CHECK_TIMEOUT_S": "15",
        # As jobs/_bootstrap.py has it: replicas share the cores, their threads spin briefly.
        "GOMP_SPINCOUNT": "3000",
        "PYTHONPATH": str(PACKAGE.parent),
        # Jobs are started as `kintsugi ...` and must find this Python.
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}",
    }


def _takes_jobs(cluster: Cluster) -> bool:
    jobs = Request(  # noqa: S310
        f"{cluster.dashboard}/api/jobs/", headers={"Authorization": f"Bearer {cluster.token}"}
    )
    try:
        with urlopen(jobs, timeout=5):  # noqa: S310
            return True
    except (URLError, TimeoutError, ConnectionError):
        return False


def _remove(folder: Path) -> None:
    """Delete a folder into which a process that is just ending may still write."""
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)

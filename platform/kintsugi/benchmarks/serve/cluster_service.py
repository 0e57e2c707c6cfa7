"""The service to measure: one that runs already, or the graph on a cluster of this machine."""

import os
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from kintsugi.benchmarks.serve.serve_plan import ServePlan
from kintsugi.servers.cluster import ray_cluster
from kintsugi.servers.console import Console
from kintsugi.servers.processes import free_ports
from kintsugi.servers.service import deploy_service


@contextmanager
def running_service(
    plan: ServePlan, settings: Mapping[str, object] | None = None
) -> Iterator[tuple[str, int]]:
    """URL of the service, and the process below which all of it runs (0: not known here).

    Args:
        plan: Which service.
        settings: For one that is started: other `args` than those of
            `deploy/serve.yaml`.

    Raises: StorageError naming the log when it does not come up.
    """
    if plan.url:
        yield plan.url, plan.pid
        return
    # Where `ray` and `serve` are.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    with tempfile.TemporaryDirectory(prefix="kintsugi-serve-") as name:
        folder = Path(name)
        console = Console(1, folder)
        with ray_cluster(folder, folder / "ray.log", {}) as cluster:
            with console.step("Start Ray and the graph"):
                url = deploy_service(
                    console,
                    cluster,
                    release=plan.release,
                    port=free_ports(1)[0],
                    folder=folder,
                    settings=settings,
                )
            # All of it descends from this process, whose own memory is not counted.
            yield url, os.getpid()

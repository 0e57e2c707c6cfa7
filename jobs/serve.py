#!/usr/bin/env python3
"""Serve a release on this machine until Ctrl-C; kintsugi.servers starts the parts."""

import argparse
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, ROOT, interrupt_once, run
from kintsugi.servers.cluster import ray_cluster
from kintsugi.servers.console import Console
from kintsugi.servers.service import check_port, deploy_service
from kintsugi.storage.storage import Storage


def main(argv: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(description="Serve a release on this machine.")
    parser.add_argument("--release", metavar="URI", default=BUNDLED_RELEASE)
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--jobs", metavar="URI", default="", help="folder or bucket where /v1/jobs keeps its work"
    )
    args = parser.parse_args(argv)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.models.weights import CONFIG_NAME

    release = Storage(args.release)
    if not release.exists(CONFIG_NAME):
        raise ConfigError(f"no release at {release.uri}: publish one, or leave --release out")
    # From where this was started, as --release; the replicas are started elsewhere.
    jobs = args.jobs and Storage(args.jobs).uri
    check_port(args.port)
    folder = ROOT / "demo"
    (folder / "logs").mkdir(parents=True, exist_ok=True)
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    interrupt_once()
    console = Console(1, folder / "logs")
    with ray_cluster(ROOT, folder / "logs" / "ray.log", {}) as cluster:
        with console.step("Start Ray and the graph"):
            url = deploy_service(
                console,
                cluster,
                ROOT,
                release=release.uri,
                port=args.port,
                folder=folder,
                jobs=jobs,
            )
        # One address: the page there has photographs to try, and the README has the API.
        print(f"\nOpen {url} in a browser. Ctrl-C stops it. It serves {release.uri}.")
        with suppress(KeyboardInterrupt):
            signal.pause()
    return DONE


if __name__ == "__main__":
    run(main)

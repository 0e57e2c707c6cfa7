"""The service on a running cluster: `deploy/serve.yaml`, deployed and waited for."""

import json
import socket
import time
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit

import yaml

from kintsugi.defaults import SERVE_CONFIG
from kintsugi.errors import ConfigError, StorageError
from kintsugi.servers.cluster import Cluster
from kintsugi.servers.console import Console
from kintsugi.servers.processes import free_ports

_READY_SECONDS = 180.0
_EVERY_ADDRESS = ("0.0.0.0", "::")


def deploy_service(
    console: Console,
    cluster: Cluster,
    *,
    release: str,
    port: int,
    folder: Path,
    jobs: str = "",
    host: str = "127.0.0.1",
    api_keys: str = "",
    settings: Mapping[str, object] | None = None,
) -> str:
    """Deploy `deploy/serve.yaml` with these values of its own. Returns the service's URL.

    Args:
        release: Path or URI of the release.
        port: Where it listens, at ``host``.
        folder: Where the changed copy of the file is written.
        jobs: Path or URI of the folder where jobs are kept; "" as the file has it.
        host: Address to listen at.
        api_keys: File of API keys; "" for none.
        settings: Other `args` that differ from the file's.

    Raises: StorageError naming what is not ready in time.
    """
    changed = folder / "serve.yaml"
    config = service_config(release=release, port=port, jobs=jobs, host=host, api_keys=api_keys)
    config["applications"][0]["args"] |= settings or {}
    changed.write_text(yaml.safe_dump(config, sort_keys=False))
    console.run(["serve", "deploy", str(changed)], cwd=folder, environment=cluster.environment())
    # The proxy runs where the cluster's head does.
    there = urlsplit(cluster.dashboard).hostname if host in _EVERY_ADDRESS else host
    url = f"http://{there}:{port}"
    _wait_until_ready(console, url)
    return url


def service_config(
    *, release: str, port: int, jobs: str, host: str = "127.0.0.1", api_keys: str = ""
) -> dict[str, Any]:
    """`deploy/serve.yaml` with these values and a free port for gRPC; as `deploy_service`."""
    config: dict[str, Any] = yaml.safe_load(SERVE_CONFIG.read_text())
    config["http_options"] |= {"host": host, "port": port}
    config["grpc_options"]["port"] = free_ports(1)[0]
    args = config["applications"][0]["args"]
    args["release"] = release
    if jobs:
        args["jobs"] = jobs
    if api_keys:
        args["api_keys"] = api_keys
        # A client with a key may use any name of it.
        args.pop("hosts", None)
    return config


def check_port(port: int, host: str = "127.0.0.1") -> None:
    """Raises: ConfigError for no port, or when something listens on it at ``host`` already.

    Serve's proxy would share it, and each would get some of the requests.
    """
    if not 0 < port < 2**16:
        raise ConfigError(f"--port {port}: 1 to 65535")
    with socket.socket() as probe:
        if probe.connect_ex(("127.0.0.1" if host in _EVERY_ADDRESS else host, port)) == 0:
            raise ConfigError(
                f"port {port} of {host} is in use: stop what listens there, or choose --port"
            )


def _wait_until_ready(console: Console, url: str) -> None:
    give_up = time.monotonic() + _READY_SECONDS
    said = ""
    while time.monotonic() < give_up:
        nodes = _readiness(url)
        missing = [name for name, ready in nodes.items() if not ready]
        if nodes and not missing:
            console.say("ready: " + ", ".join(nodes))
            return
        waiting = "waiting for " + (", ".join(missing) if nodes else "the ingress")
        if waiting != said:
            console.say(waiting)
            said = waiting
        time.sleep(0.5)
    raise StorageError(f"the service was not ready in {_READY_SECONDS:.0f} s; {said}")


def _readiness(url: str) -> Mapping[str, bool]:
    """Which nodes answer, by name; empty while the ingress does not."""
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=10) as answer:  # noqa: S310
            body = json.load(answer)
    except HTTPError as error:
        try:
            body = json.load(error)
        except json.JSONDecodeError:
            return {}
    except (URLError, TimeoutError, ConnectionError):
        return {}
    nodes: Mapping[str, bool] = body.get("nodes", {})
    return nodes

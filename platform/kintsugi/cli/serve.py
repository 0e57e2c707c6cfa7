"""`kintsugi serve`: a release over HTTP, in this process or on Ray, until Ctrl-C."""

import ipaddress
import os
import signal
import sys
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Annotated, Any

import typer

from kintsugi.defaults import BUNDLED_RELEASE, HOME
from kintsugi.errors import ConfigError
from kintsugi.jobs import _command as options
from kintsugi.jobs._bootstrap import DONE, interrupt_once, no_interrupts

NO_JOBS = "none"


@options.command(
    "kintsugi serve                                        # this machine only",
    "kintsugi serve --host 0.0.0.0 --api-keys keys.txt     # other machines, with keys",
    "kintsugi serve --release mine --also s3://releases/street   # requests say model=street",
    "kintsugi serve --ray --release s3://releases/street   # the graph, on a cluster started here",
    "kintsugi serve --address http://head:8265             # the graph, on a cluster that runs",
)
def main(
    release: options.Release = BUNDLED_RELEASE,
    also: Annotated[
        list[str] | None,
        typer.Option(
            "--also",
            metavar="URI",
            help="serve this release, too: requests choose by `model`; may be repeated",
        ),
    ] = None,
    host: Annotated[str, typer.Option(help="address to listen at")] = "127.0.0.1",
    port: Annotated[int, typer.Option(metavar="N", help="at it; 0: any free one")] = 8000,
    api_keys: Annotated[
        str | None,
        typer.Option(metavar="FILE", help="keys that requests must have, a line each"),
    ] = None,
    jobs: Annotated[
        str,
        typer.Option(metavar="URI", help=f"where /v1/jobs keeps long work; `{NO_JOBS}`: nowhere"),
    ] = f"{HOME}/jobs",
    webhook_hosts: Annotated[
        str, typer.Option(metavar="HOSTS", help="hosts that may be called when a job has ended")
    ] = "",
    webhook_secret: Annotated[
        str, typer.Option(metavar="FILE", help="what those calls are signed with")
    ] = "",
    threads: Annotated[
        int | None,
        typer.Option(metavar="N", help="of PyTorch in this process", show_default="all cores"),
    ] = None,
    in_process: Annotated[
        bool, typer.Option("--in-process", help="in this process, without Ray (the default)")
    ] = False,
    ray: Annotated[
        bool, typer.Option("--ray", help="as a graph of nodes on a Ray cluster that starts here")
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(metavar="URL", help="dashboard of a Ray cluster that runs: deploy there"),
    ] = None,
) -> int:
    """Serve a release over HTTP, with a page at /, until Ctrl-C."""
    if in_process and (ray or address):
        raise ConfigError("--in-process is without Ray: leave it out, or --ray and --address")
    keys = str(Path(api_keys).expanduser().absolute()) if api_keys else ""
    if not keys and not _is_loopback(host):
        raise ConfigError(
            f"--host {host} lets other machines in: name who may ask by --api-keys FILE"
        )
    if webhook_hosts and not webhook_secret:
        raise ConfigError(
            "--webhook-hosts needs --webhook-secret FILE: who is called must know that it is you"
        )
    secret = str(Path(webhook_secret).expanduser().absolute()) if webhook_secret else ""
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.servers.service import check_port
    from kintsugi.storage.storage import Storage

    place, *others = [Storage(uri) for uri in (release, *(also or []))]
    for each in (place, *others):
        if not each.exists("config.json"):
            raise ConfigError(f"no release at {each.uri}: publish one, or leave it out")
    more = [each.uri for each in others]
    # From where this was started; the replicas of the graph are started elsewhere.
    kept = "" if jobs == NO_JOBS else Storage(jobs).uri
    # One process may take any free port, and says which.
    if not address and (port or ray):
        check_port(port, host)
    if ray or address:
        given = {
            "more_releases": more,
            "webhook_hosts": webhook_hosts,
            "webhook_secret": secret,
        }
        settings = {name: value for name, value in given.items() if value}
        return _on_ray(place.uri, settings, host, port, keys, kept, address)
    from kintsugi.deploy.settings import AppArgs
    from kintsugi.deploy.standalone import serve_in_process

    args = AppArgs(
        release=place.uri,
        more_releases=more,
        api_keys=keys,
        jobs=kept,
        threads=threads or os.cpu_count() or 1,
        webhook_hosts=webhook_hosts,
        webhook_secret=secret,
    )
    served = ", ".join([place.uri, *more])
    serve_in_process(args, host=host, port=port, on_ready=lambda url: _say(url, served, kept))
    return DONE


def _on_ray(
    release: str,
    settings: dict[str, Any],
    host: str,
    port: int,
    keys: str,
    jobs: str,
    address: str | None,
) -> int:
    """The graph, on a cluster of its own until Ctrl-C, or on one that runs."""
    from kintsugi.servers.cluster import Cluster, ray_cluster
    from kintsugi.servers.console import Console
    from kintsugi.servers.draining import drain_service
    from kintsugi.servers.service import deploy_service

    folder = Path(HOME).expanduser() / "serve"
    folder.mkdir(parents=True, exist_ok=True)
    # Where `ray` and `serve` are.
    os.environ["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    console = Console(1, folder)

    def deploy(cluster: Cluster) -> str:
        with console.step("Start the graph"):
            url = deploy_service(
                console,
                cluster,
                release=release,
                port=port,
                folder=folder,
                jobs=jobs,
                host=host,
                api_keys=keys,
                settings=settings,
            )
        _say(url, ", ".join([release, *settings.get("more_releases", [])]), jobs)
        return url

    if address:
        deploy(Cluster.running(address))
        print("It runs on until `serve shutdown` there.")
        return DONE
    interrupt_once()
    with ray_cluster(folder, folder / "ray.log", {}) as cluster:
        url = deploy(cluster)
        with suppress(KeyboardInterrupt):
            signal.pause()
        # Once more: it ends the waiting. What is stopped then is stopped whole.
        interrupt_once()
        with suppress(KeyboardInterrupt):
            drain_service(cluster, folder / "serve.yaml", url, partial(print, flush=True))
            no_interrupts()
    return DONE


def _say(url: str, release: str, jobs: str) -> None:
    # One address: the page there has photographs to try, and /docs has the API.
    print(f"Open {url} in a browser. Ctrl-C stops it. It serves {release}.")
    print(f"Jobs are kept in {jobs}." if jobs else "It keeps no jobs.", flush=True)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False

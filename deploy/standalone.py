"""The whole service in one process, for a laptop: uvicorn over an engine in it; knows no Ray."""

import asyncio
import logging
import math
import resource
import sys
from collections.abc import Callable
from contextlib import suppress

import torch
import uvicorn

from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.http.access_log import access_logger
from kintsugi.deploy.http.connections import BoundedConnection
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.observability.metrics import MetricsObserver
from kintsugi.deploy.observability.process_metrics import (
    MeasuredEngine,
    ProcessMetrics,
    add_metrics_route,
)
from kintsugi.deploy.planning import check_names, model_info
from kintsugi.deploy.release_files import local_release
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import StorageError
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.weights import load_release

logger = logging.getLogger(__name__)

# Requests that are answered when it is stopped are finished; jobs go on at the next start.
_SAY_SECONDS = 5.0
_MOST_FILES = 65_536
# Without keys nobody is asked who he is: only names of this machine are answered.
_LOOPBACK = ["localhost", "127.0.0.1", "::1"]


def serve_in_process(
    args: AppArgs, *, host: str, port: int, on_ready: Callable[[str], None]
) -> None:
    """Serve until SIGINT or SIGTERM; one fill at a time, with ``args.threads`` threads.

    Args:
        args: Settings; those of nodes and replicas mean nothing here.
        host: Address to listen at.
        port: At it; 0 for one that is free.
        on_ready: Called with the service's URL when it answers.

    Raises:
        ConfigError: A setting cannot be used, or two releases have one name.
        StorageError: There is no whole release at ``args.release``, or the port is taken.
    """
    torch.set_num_threads(args.threads)
    # The engine fills one photograph at a time; the second one's files are opened meanwhile. Who
    # waits, waits where turns are shared out.
    args = args.model_copy(update={"max_in_progress": args.max_in_progress or 2})
    if not args.api_keys and not args.hosts:
        args = args.model_copy(update={"hosts": [*_LOOPBACK, host]})
    (inpainter, model), *more = [
        _loaded(uri, args.device) for uri in (args.release, *args.more_releases)
    ]
    check_names([model, *(each for _, each in more)])
    metrics = ProcessMetrics()
    observer = MetricsObserver(metrics)
    engine = MeasuredEngine(LocalEngine(inpainter, model, more), observer)
    app = build_api(engine, args, observer=observer)
    add_metrics_route(app, metrics)
    _log_here()
    _allow_connections()
    server = _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            http=BoundedConnection,
            # No route is one: it would have none of the limits.
            ws="none",
            log_config=None,
            # The application has its own.
            access_log=False,
            timeout_graceful_shutdown=math.ceil(args.deadline_seconds) + 1,
        ),
        on_ready,
    )
    # Ctrl-C is how it is stopped: uvicorn raises it once more when all is closed.
    with suppress(KeyboardInterrupt):
        server.run()
    if not server.started:
        raise StorageError(f"cannot listen at {host}:{port}: see the line above")


def _loaded(uri: str, device: str) -> tuple[Inpainter, ModelInfo]:
    with local_release(uri) as folder:
        try:
            inpainter, config = load_release(folder)
        except ValueError as error:
            # The message names a temporary copy; people know the URI.
            raise StorageError(str(error).replace(str(folder), uri)) from error
    return inpainter.to(device), model_info(config)


class _Server(uvicorn.Server):
    """Says when it answers, and for what it waits when it is stopped."""

    def __init__(self, config: uvicorn.Config, on_ready: Callable[[str], None]) -> None:
        super().__init__(config)
        self._on_ready = on_ready

    async def startup(self, sockets: object = None) -> None:
        await super().startup(sockets)  # type: ignore[arg-type]
        if self.started:
            host, port = self.servers[0].sockets[0].getsockname()[:2]
            shown = "127.0.0.1" if host in ("0.0.0.0", "::") else host
            self._on_ready(f"http://{shown}:{port}")

    async def shutdown(self, sockets: object = None) -> None:
        saying = asyncio.create_task(self._say())
        try:
            await super().shutdown(sockets)  # type: ignore[arg-type]
        finally:
            saying.cancel()

    async def _say(self) -> None:
        while count := len(self.server_state.tasks):
            logger.warning("stopping: %d requests are answered first; Ctrl-C drops them", count)
            await asyncio.sleep(_SAY_SECONDS)


def _allow_connections() -> None:
    """As many open files as the system lets this process have: each connection is one."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST_FILES if hard == resource.RLIM_INFINITY else min(hard, _MOST_FILES)
    if soft != resource.RLIM_INFINITY and soft < most:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))


def _log_here() -> None:
    """Requests and what goes wrong, a line each, on standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
    logging.getLogger().addHandler(handler)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    # A line for each malformed form, which any client can send by the thousand.
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    access_logger.setLevel(logging.INFO)

"""The releases that a Refiner answers with, and how one replaces another while it runs.

It reads a release whole before a request begins with it. Of the nodes it knows only that they
load a release when they are asked to; it walks no request.
"""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

from ray.serve.handle import DeploymentHandle

from kintsugi.deploy.engine import ModelInfo, find_model
from kintsugi.deploy.graph.remote_calls import answer_of
from kintsugi.deploy.graph.request_context import Release
from kintsugi.deploy.observability.metrics import RELEASE_REFUSED, Record
from kintsugi.deploy.planning import check_names, model_info
from kintsugi.deploy.release_files import local_release
from kintsugi.deploy.settings import AppArgs, RefinerState
from kintsugi.errors import KintsugiError, StorageError
from kintsugi.models.weights import load_release

logger = logging.getLogger(__name__)

# For a download to a node whose queue is full. Reading is tried again after it.
_PREPARE_SECONDS = 300


class ReleaseRollout:
    """Starts with the releases of the `AppArgs`. The first of them can be replaced."""

    def __init__(self, args: AppArgs, nodes: Sequence[DeploymentHandle], record: Record) -> None:
        """Read the releases of ``args``.

        Args:
            args: The deployment's.
            nodes: Load a new release before the first request for it.
            record: Is given `kintsugi_release_refused`.

        Raises:
            StorageError, ValueError: There is no release, or not a whole one.
            ConfigError: Two have one name.
        """
        self._own_uri = args.release
        self._nodes = nodes
        self._record = record
        self._started = False
        # What is wanted in place of the first release, and whether to try once more to read it.
        self._wanted, self._again = args.release, False
        self._trying: asyncio.Task[None] | None = None
        self._releases = [_sound_release(uri) for uri in (args.release, *args.more_releases)]
        check_names(self.models)

    @property
    def models(self) -> tuple[ModelInfo, ...]:
        """Those that answer new requests; the first answers requests that name none."""
        return tuple(release.model for release in self._releases)

    def find(self, name: str) -> Release:
        """The release that answers a request. Raises: InvalidInput as `find_model`."""
        return self._releases[find_model(self.models, name)]

    async def read_again(self, gone: Release) -> Release:
        """What is at a release's place now that the release is no more.

        Raises: StorageError, ValueError: There is no release, or not a whole one.
        """
        found = await asyncio.to_thread(_sound_release, gone.uri)
        # Unless another place was named meanwhile.
        self._releases = [found if kept is gone else kept for kept in self._releases]
        return found

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Begin new requests with the release that a `user_config` names.

        Requests that have begun end with the release that they began with. A replica that runs
        keeps its release when it or a node cannot read the new one: Serve would stop one that
        raises, and its successor is given the same `user_config`. Its log says so, and the metric
        `kintsugi_release_refused`. What may pass is tried again with each health check.

        Raises:
            ValidationError: A replica that starts is given no `RefinerState`.
            StorageError, ValueError: It is given a release that is none.
        """
        try:
            uri = RefinerState.model_validate(user_config).release
            if uri and uri != self._own_uri and not self._started:
                logger.warning("user_config names %s: release=%s is not served", uri, self._own_uri)
            await self._change_release(uri or self._own_uri)
        except Exception as error:
            if not self._started:
                raise
            kept, kind = self._releases[0].model.version, type(error).__name__
            self._refused(error)
            logger.exception(
                "user_config %s is refused (%s), %s goes on to answer; tried again: %s",
                user_config,
                kind,
                kept,
                "yes" if self._again else "no",
            )

    def check_health(self) -> None:
        """The replica has started. Read again, in the background, what may be readable by now."""
        self._started = True
        if self._again:
            self._again = False
            self._trying = asyncio.create_task(self._try_again())

    async def _change_release(self, uri: str) -> None:
        """New requests begin with this one, unless another one is wanted meanwhile."""
        self._wanted, self._again = uri, False
        if uri != self._releases[0].uri:
            release = await asyncio.to_thread(_sound_release, uri)
            check_names([release.model, *(more.model for more in self._releases[1:])])
            # One that starts would wait for nodes that may start after it.
            if self._started:
                await self._prepare(release)
            if self._wanted != uri:
                return
            self._releases[0] = release
            logger.info("%s answers from now on", release.model.version)
        self._record(RELEASE_REFUSED, 0, {})

    async def _prepare(self, release: Release) -> None:
        """Have a replica of each node load it: what none can load, no request shall begin with.

        Raises:
            ReleaseUnreadable: One cannot.
            ReleaseChanged: There is another one at its place by now.
            Busy, TimeoutError: A node does not take calls.
        """
        async with asyncio.timeout(_PREPARE_SECONDS):
            await asyncio.gather(*(answer_of(node.prepare.remote(release)) for node in self._nodes))

    def _refused(self, error: Exception) -> None:
        # Others may have read it: a replica that gave up would answer with the old one for ever.
        self._again = _may_pass(error)
        self._record(RELEASE_REFUSED, 1, {})

    async def _try_again(self) -> None:
        uri = self._wanted
        try:
            await self._change_release(uri)
        # The trace is in the log already; a task's error would be seen by nobody.
        except Exception as error:  # noqa: BLE001
            logger.warning("%s is refused again (%s): %s", uri, type(error).__name__, error)
            if self._wanted == uri:
                self._refused(error)


def _may_pass(error: Exception) -> bool:
    """Whether the same release can be read later: storage that is silent, a disk that is full."""
    if isinstance(error, StorageError):
        return error.may_pass
    # These say what is wrong with a release; of all others nothing is known.
    return not isinstance(error, (ValueError, KintsugiError))


def _sound_release(uri: str) -> Release:
    """What is at a place, after all of it was read: no request shall meet a broken release.

    Raises: StorageError, ValueError: There is no release, or not a whole one.
    """
    with local_release(uri) as folder:
        _, config = load_release(folder)
    return Release(uri, model_info(config), config.matching.pixels, config.matching.first_side)

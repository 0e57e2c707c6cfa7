"""The releases that a replica holds: those it serves, and the one before or after; no network.

While a release is rolled out, replicas of the old one and of the new one run side by side, and
each request stays with the release of the Refiner that took it. Whichever replica a call
meets, it answers with the call's release: it loads what it does not hold.
"""

import asyncio
import logging
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

from kintsugi.deploy.engine import ModelInfo, ReleaseUnreadable
from kintsugi.deploy.graph.request_context import Release, ReleaseChanged

logger = logging.getLogger(__name__)

Held = TypeVar("Held")

# For each release that is served: the current one, and the previous or the next.
_HELD_OF_ONE = 2


class ReleaseCache(Generic[Held]):
    """Holds twice as many releases as are served; one more takes the place of the one that was
    not asked for longest."""

    def __init__(
        self,
        load: Callable[[str], tuple[Held, ModelInfo]],
        uri: str,
        more: Sequence[str] = (),
    ) -> None:
        """Load those that are served.

        Args:
            load: Gives what a node needs of the release at a URI.
            uri: The URI of the replica's own release.
            more: The URIs of others that it serves.
        """
        self._load = load
        self._held = OrderedDict[Release, Held]()
        for place in (uri, *more):
            held, model = load(place)
            self._held[Release(place, model)] = held
        self.own, *_ = self._held
        self.models = tuple(release.model for release in self._held)
        self._most_held = _HELD_OF_ONE * (1 + len(more))
        self._loading = asyncio.Lock()

    async def get(self, release: Release) -> Held:
        """Give a release; load it first, during running computations, if need be.

        Raises:
            ReleaseChanged: There is another one at its place by now.
            ReleaseUnreadable: It cannot be loaded; the log says why.
        """
        if release not in self._held:
            async with self._loading:
                if release not in self._held:
                    await self._add(release)
        self._held.move_to_end(release)
        return self._held[release]

    async def _add(self, release: Release) -> None:
        try:
            held, found = await asyncio.to_thread(self._load, release.uri)
        except Exception as error:
            # The Refiner has read it whole: what is wrong is wrong here, or now.
            logger.exception("cannot load %s from %s", release.model.version, release.uri)
            raise ReleaseUnreadable(
                f"release {release.model.version} cannot be loaded by each part of the service"
            ) from error
        if found != release.model:
            raise ReleaseChanged(
                f"at {release.uri} is {found.version} by now, the request was begun with"
                f" {release.model.version}: publish each release to a place of its own"
            )
        if len(self._held) == self._most_held:
            self._held.popitem(last=False)
        self._held[release] = held

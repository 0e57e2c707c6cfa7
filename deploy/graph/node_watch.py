"""Which nodes of the graph are gone, so that nobody waits for them; asks Serve, and no node."""

import asyncio
import logging
import threading
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from typing import TypeVar

from ray import serve
from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from kintsugi.deploy.engine import NodeGone

logger = logging.getLogger(__name__)

Result = TypeVar("Result")

# A replica that died is replaced within seconds; a node without one for longer is gone. So is one
# whose only replica is stopped before its successor starts: who waited for that would hold a place,
# and meet the deadline.
PATIENCE_SECONDS = 15.0
_LOOK_SECONDS = 1.0
# Serve sends requests to these. One is reconfigured, or its machine is drained and its successor
# starts elsewhere meanwhile.
_ANSWERING = ("RUNNING", "UPDATING", "PENDING_MIGRATION")


def running_replicas() -> Mapping[str, int]:
    """How many of each deployment of this application answer, as Serve's controller says."""
    name = serve.get_replica_context().app_name
    application = serve.status().applications[name]
    return {
        deployment: sum(
            count
            for state, count in found.replica_states.items()
            if str(getattr(state, "value", state)) in _ANSWERING
        )
        for deployment, found in application.deployments.items()
    }


class NodeWatch:
    """Looks once a second, in a thread of its own, while the process lives."""

    def __init__(
        self,
        nodes: Iterable[str],
        look: Callable[[], Mapping[str, int]] = running_replicas,
        *,
        patience: float = PATIENCE_SECONDS,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start nothing.

        Args:
            nodes: Names of the deployments that a fill needs.
            look: Says how many replicas of each run.
            patience: Seconds that a node may be without one.
            clock: Gives seconds.
        """
        self._look = look
        self._patience = patience
        self._clock = clock
        self._seen = dict.fromkeys(nodes, clock())
        # By this clock they are judged: should the looking end, nobody is gone by that.
        self._looked = clock()
        self._started, self._has_failed = False, False

    def check(self) -> None:
        """Raises: NodeGone, naming the nodes that are."""
        self._start()
        if gone := self.gone():
            raise NodeGone(gone)

    def gone(self) -> list[str]:
        """The nodes that are; none while Serve has not said so for long."""
        if self._clock() - self._looked > self._patience:
            return []
        return [name for name, seen in self._seen.items() if self._looked - seen > self._patience]

    async def while_all_are_there(self, work: Awaitable[Result]) -> Result:
        """Await work, for as long as no node is gone. Raises: NodeGone; what the work raises."""
        task = asyncio.ensure_future(work)
        try:
            while not (await asyncio.wait({task}, timeout=_LOOK_SECONDS))[0]:
                self.check()
            return task.result()
        finally:
            task.cancel()

    def look(self) -> None:
        """Ask Serve once; when it cannot say, all are there for all that is known."""
        try:
            found = self._look()
        except (RayError, RayServeException, KeyError):
            # The controller is being replaced, or the application is being deployed.
            found = dict.fromkeys(self._seen, 1)
        except Exception:
            # A bug, or what Serve raises nowhere else. The looking goes on: should it end here, a
            # node that was gone just now would be gone for ever.
            if not self._has_failed:
                logger.exception("Serve cannot be asked which nodes there are: all, for now")
            self._has_failed = True
            found = dict.fromkeys(self._seen, 1)
        else:
            self._has_failed = False
        self._looked = self._clock()
        for name in self._seen:
            if found.get(name):
                self._seen[name] = self._looked

    def _start(self) -> None:
        if not self._started:
            self._started = True
            self._looked = self._clock()
            self._seen = dict.fromkeys(self._seen, self._looked)
            threading.Thread(target=self._keep_looking, name="node-watch", daemon=True).start()

    def _keep_looking(self) -> None:
        while True:
            self.look()
            time.sleep(_LOOK_SECONDS)

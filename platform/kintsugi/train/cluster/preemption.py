"""SIGTERM to the driver -> a question that the first rank can answer: shall I leave?

An actor on the driver's node carries the request, as driver and ranks share no other memory.
Knows nothing of training.
"""

import threading
from asyncio import Event
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import ray
from ray.train.v2._internal.execution.context import get_train_context

from kintsugi.train.sigterm import on_first_sigterm


class _StopSignal:
    """The actor: it answers all who wait as soon as the run is asked to stop."""

    def __init__(self) -> None:
        self._made = Event()

    async def make(self) -> None:
        self._made.set()

    async def wait(self) -> None:
        await self._made.wait()


class StopRequest:
    """The driver's side.

    Attributes:
        signal: Handle of the actor, for `asked_to_stop`; travels to the ranks.
        made: Whether the run was asked to stop.
    """

    def __init__(self) -> None:
        here = {"ray.io/node-id": ray.get_runtime_context().get_node_id()}
        self.signal = ray.remote(_StopSignal).options(num_cpus=0, label_selector=here).remote()
        self.made = False
        self._wake = threading.Event()
        # A signal may come in the middle of any call of Ray's: its handler makes none itself.
        self._messenger = threading.Thread(target=self._deliver, daemon=True)
        self._messenger.start()

    def make(self) -> None:
        """Ask the run to write a checkpoint and to end; returns at once."""
        self.made = True
        self._wake.set()

    def close(self) -> None:
        """End what was started."""
        self._wake.set()
        self._messenger.join()
        ray.kill(self.signal)

    def _deliver(self) -> None:
        self._wake.wait()
        if self.made:
            print("asked to stop: writing a checkpoint", flush=True)
            ray.get(self.signal.make.remote())


@contextmanager
def stop_on_sigterm() -> Iterator[StopRequest]:
    """Turn the first SIGTERM into a request to stop; a second one ends the process at once.

    Outside the main thread, where no signal can be caught, only `StopRequest.make` asks.
    """
    request = StopRequest()
    try:
        with on_first_sigterm(request.make):
            yield request
    finally:
        request.close()


def a_node_is_reclaimed() -> bool:
    """Whether Ray knows that a node of this run's workers is about to be taken away.

    Every rank knows; `ray.train.get_preemption_info` would in addition hold all of them
    up until they agree, at every step. `kintsugi.collectives.SharedFlags` agrees for less.
    """
    return get_train_context().preemption_context.preemption_info is not None


def asked_to_stop(signal: Any) -> Callable[[], bool]:
    """A rank's side: a question that costs nothing, as a thread of its own waits for the signal."""
    asked = threading.Event()

    def wait() -> None:
        try:
            ray.get(signal.wait.remote())
        except ray.exceptions.RayActorError:
            # The driver is gone, and Ray is about to end this process.
            return
        asked.set()

    threading.Thread(target=wait, daemon=True).start()
    return asked.is_set

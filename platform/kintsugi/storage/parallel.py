"""The same function over many inputs: Ray tasks where Ray runs, else here; knows no photographs."""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from kintsugi.errors import KintsugiError

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")


def map_tasks(
    work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
) -> Iterator[Result]:
    """``work(shared, item)`` for every item, in the order of the items.

    Where Ray is initialised in this process each item is a Ray task of one CPU, and
    ``shared`` reaches every node once. Items are taken as tasks end, so that a long
    or lazy series of them is never in memory as a whole.

    Args:
        work: A function of an importable module.
        shared: What all items need, such as networks.
        items: One input each.

    Raises: what ``work`` raises; of errors in Ray's workers, KintsugiError as it was.
    """
    if ray_is_running():
        return _map_in_ray(work, shared, items)
    return (work(shared, item) for item in items)


def ray_is_running() -> bool:
    """Whether Ray is initialised in this process; imports nothing."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _map_in_ray(
    work: Callable[[Shared, Item], Result], shared: Shared, items: Iterable[Item]
) -> Iterator[Result]:
    import ray

    task = ray.remote(num_cpus=1)(work)
    everywhere = ray.put(shared)
    waiting = iter(items)
    running: deque[Any] = deque()
    while True:
        # Some tasks wait for a CPU, so that none waits for this process; and nodes that are
        # added meanwhile, on demand, have something to do.
        in_flight = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        new = islice(waiting, max(0, in_flight - len(running)))
        running.extend(task.remote(everywhere, item) for item in new)
        if not running:
            return
        try:
            yield ray.get(running.popleft())
        except ray.exceptions.RayTaskError as error:
            # What a user can mend is raised without the trace through Ray.
            if isinstance(error.cause, KintsugiError):
                raise error.cause from error
            raise

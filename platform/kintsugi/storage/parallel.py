"""The same function over many inputs: Ray tasks where Ray runs, else here or in processes of it.

Knows no photographs.
"""

import sys
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, TypeVar

from kintsugi.errors import KintsugiError
from kintsugi.storage.child_processes import ProcessDied, map_in_processes

Shared = TypeVar("Shared")
Item = TypeVar("Item")
Result = TypeVar("Result")
# What a lost item counts as, and why its process died.
OnLost = Callable[[Item, str], Result]


def map_tasks(
    work: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Iterable[Item],
    *,
    processes: int = 0,
    on_lost: OnLost[Item, Result] | None = None,
) -> Iterator[Result]:
    """``work(shared, item)`` for every item, in the order of the items.

    Where Ray is initialised in this process each item is a Ray task of one CPU, and
    ``shared`` reaches every node once. Items are taken as tasks end, so that a long
    or lazy series of them is never in memory as a whole.

    Args:
        work: A function of an importable module.
        shared: What all items need, such as networks.
        items: One input each.
        processes: How many of this machine work where Ray does not run; 0: this one.
        on_lost: Gives the result of an item whose process died with it; None: that is raised.

    Raises: what ``work`` raises; of errors in Ray's workers, KintsugiError as it was. Without
        ``on_lost`` ProcessDied, or Ray's own errors.
    """
    if ray_is_running():
        return _map_in_ray(work, shared, items, on_lost)
    if processes == 0:
        return (work(shared, item) for item in items)
    return _outlived(map_in_processes(work, shared, items, processes), on_lost)


def ray_is_running() -> bool:
    """Whether Ray is initialised in this process; imports nothing."""
    ray = sys.modules.get("ray")
    return ray is not None and bool(ray.is_initialized())


def _outlived(
    pairs: Iterator[tuple[Item, Result | ProcessDied]], on_lost: OnLost[Item, Result] | None
) -> Iterator[Result]:
    for item, result in pairs:
        if not isinstance(result, ProcessDied):
            yield result
        elif on_lost is None:
            raise result
        else:
            yield on_lost(item, str(result))


def _map_in_ray(
    work: Callable[[Shared, Item], Result],
    shared: Shared,
    items: Iterable[Item],
    on_lost: OnLost[Item, Result] | None,
) -> Iterator[Result]:
    import ray

    task = ray.remote(num_cpus=1)(work)
    everywhere = ray.put(shared)
    waiting = iter(items)
    running: deque[tuple[Item, Any]] = deque()
    while True:
        # Some tasks wait for a CPU, so that none waits for this process; and nodes that are
        # added meanwhile, on demand, have something to do.
        in_flight = 2 * max(1, int(ray.cluster_resources().get("CPU", 1)))
        new = islice(waiting, max(0, in_flight - len(running)))
        running.extend((item, task.remote(everywhere, item)) for item in new)
        if not running:
            return
        item, reference = running.popleft()
        try:
            yield ray.get(reference)
        except ray.exceptions.RayTaskError as error:
            # What a user can mend is raised without the trace through Ray.
            if isinstance(error.cause, KintsugiError):
                raise error.cause from error
            raise
        except ray.exceptions.RayError as error:
            # Its worker or node died, more often than Ray repeats a task.
            if on_lost is None:
                raise
            yield on_lost(item, f"{type(error).__name__}: {str(error).splitlines()[0]}")

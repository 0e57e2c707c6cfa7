"""What the workers of a run need of a cluster, and whether it has that; arithmetic, no Ray."""

import logging
from collections.abc import Mapping, Sequence

from kintsugi.config.sections import DataSection, WorkersSection
from kintsugi.errors import ConfigError

logger = logging.getLogger(__name__)

# Ray gives each node one of the kind of its GPUs; a worker that insists on it takes a crumb.
_ACCELERATOR_CRUMB = 0.001
# Sums of CPUs such as 0.1 are not exact; Ray itself counts in ten-thousandths.
_ROUNDING = 1e-6


def worker_resources(workers: WorkersSection, data: DataSection) -> dict[str, float]:
    """What Ray sets aside for one worker, by the names of Ray's resources.

    The CPUs for its reading are among it, so that workers never take those that their own
    data needs: two workers that held all CPUs would wait for data for ever.
    """
    reading = 0.0 if data.tasks_anywhere else data.tasks * data.task_cpus
    gpu = {"GPU": 1.0} if workers.use_gpu else {}
    return {"CPU": workers.cpus + reading, **gpu, **workers.resources}


def check_resources(
    workers: WorkersSection, data: DataSection, nodes: Sequence[Mapping[str, float]]
) -> None:
    """Refuse what would hang.

    Args:
        workers: The workers of the run.
        data: What each of them reads.
        nodes: The resources of each node of the cluster.

    Raises: ConfigError with the arithmetic. Where ``workers.autoscaling`` promises more
        nodes, it is logged as a warning instead.
    """
    if workers.min_count and data.tasks_anywhere:
        raise ConfigError(
            f"workers.min_count={workers.min_count} with data.tasks_anywhere: an elastic run"
            " would take the CPUs that reading needs; set data.tasks_anywhere=false or"
            " workers.min_count=0"
        )
    _refuse(
        _too_few_in_all(workers, data, nodes) or _too_few_together(workers, data, nodes),
        workers,
        f"waiting up to {workers.wait_s} s for more nodes",
    )


def trial_resources(workers: WorkersSection) -> dict[str, float]:
    """What Ray sets aside for one trial of a sweep, which reads in its own process."""
    return {"CPU": workers.cpus, "GPU": float(workers.use_gpu)}


def check_trial_resources(workers: WorkersSection, nodes: Sequence[Mapping[str, float]]) -> None:
    """Refuse trials of a sweep that no node has room for: Ray Tune would wait for ever.

    Args:
        workers: Of a trial.
        nodes: The resources of each living node of the cluster.

    Raises: ConfigError with what is asked, what the largest node has, and the remedy. Where
        ``workers.autoscaling`` promises more nodes, it is logged as a warning instead.
    """
    needs = trial_resources(workers)
    if any(_room(needs, node) for node in nodes):
        return
    # Among those with what is scarce the one that is nearest to enough.
    found = [(node.get("GPU", 0.0), node.get("CPU", 0.0)) for node in nodes]
    gpus, cpus = max(found, key=lambda one: (min(one[0], needs["GPU"]), one[1]), default=(0, 0))
    gpu = " and one GPU (workers.use_gpu=true)" if workers.use_gpu else ""
    without = ", set workers.use_gpu=false" if workers.use_gpu else ""
    _refuse(
        f"a trial takes workers.cpus={workers.cpus:g} logical CPUs{gpu}, but the largest of the"
        f" cluster's {len(nodes)} nodes has {cpus:g} CPUs and {gpus:g} GPUs: lower"
        f" workers.cpus{without}, or start a node with more (logical CPUs are free: a larger"
        " --num-cpus)",
        workers,
        "waiting for such a node",
    )


def _refuse(refusal: str, workers: WorkersSection, waiting: str) -> None:
    """Raises: ConfigError, if there is a refusal and the cluster does not grow."""
    if refusal and not workers.autoscaling:
        raise ConfigError(refusal)
    if refusal:
        logger.warning("%s; %s", refusal, waiting)


def _least(workers: WorkersSection) -> tuple[str, int]:
    """The number of workers without which a run does not start, and its key."""
    elastic = workers.min_count > 0
    return ("min_count", workers.min_count) if elastic else ("count", workers.count)


def _too_few_in_all(
    workers: WorkersSection, data: DataSection, nodes: Sequence[Mapping[str, float]]
) -> str:
    """What the cluster as a whole lacks; "" for nothing."""
    key, count = _least(workers)
    tasks, each = data.tasks, data.task_cpus
    cpus = sum(node.get("CPU", 0.0) for node in nodes)
    needed = count * (workers.cpus + tasks * each)
    if needed > cpus + _ROUNDING:
        return (
            f"workers.{key}={count} x (workers.cpus={workers.cpus:g} + data.tasks={tasks} x"
            f" data.task_cpus={each:g} for reading) = {needed:g} logical CPUs, but the cluster has"
            f" {cpus:g}: lower one of them, or start the nodes with a larger --num-cpus (logical"
            " CPUs are free)"
        )
    gpus = sum(node.get("GPU", 0.0) for node in nodes)
    if workers.use_gpu and gpus < count:
        return (
            f"workers.use_gpu with workers.{key}={count} needs as many GPUs, but the cluster has"
            f" {gpus:g}: lower workers.{key} or set workers.use_gpu=false"
        )
    return ""


def _too_few_together(
    workers: WorkersSection, data: DataSection, nodes: Sequence[Mapping[str, float]]
) -> str:
    """Why workers find no room on single nodes although all nodes together have enough."""
    key, count = _least(workers)
    needs = worker_resources(workers, data)
    crumb = f"accelerator_type:{workers.accelerator_type}"
    kind = {crumb: _ACCELERATOR_CRUMB} if workers.accelerator_type else {}
    rooms = [_room(needs | kind, node) for node in nodes]
    strict = {"STRICT_PACK": max(rooms, default=0), "STRICT_SPREAD": sum(r > 0 for r in rooms)}
    found = strict.get(workers.placement, sum(rooms))
    if found >= count:
        return ""
    wanted = ", ".join(f"{amount:g} {name}" for name, amount in needs.items())
    on = f" on an {workers.accelerator_type}" if workers.accelerator_type else ""
    return (
        f"workers.{key}={count} of {wanted} each{on}, placed {workers.placement}, but the cluster's"
        f" {len(nodes)} nodes have room for {found}: lower what a worker takes or their number, or"
        " add nodes"
    )


def _room(needs: Mapping[str, float], node: Mapping[str, float]) -> int:
    """How many workers find room on a node."""
    return int(
        min(node.get(name, 0.0) / amount + _ROUNDING for name, amount in needs.items() if amount)
    )

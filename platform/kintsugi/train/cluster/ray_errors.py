"""What Ray Train says of a run that failed -> one line for a person."""

import ray
import ray.train
from ray.train.v2.api.exceptions import ControllerError, WorkerGroupError

from kintsugi.config.sections import WorkersSection
from kintsugi.errors import ConfigError, KintsugiError
from kintsugi.runs.checkpoints import CheckpointStore


def describe_failure(
    error: BaseException, workers: WorkersSection, checkpoints: CheckpointStore
) -> BaseException:
    """The error to raise for one of Ray's.

    A cause outside this code (a worker that was killed, storage that failed, too few nodes)
    becomes one line with the number of failures and where the run stands. Anything else is
    a bug: the error stays as it is, with its trace, and those facts as a note.

    Args:
        error: What Ray Train raised.
        workers: What the run asked for; named where the cluster has too little.
        checkpoints: The run's, from which it goes on.
    """
    cause = _ours_behind(error)
    if isinstance(cause, ConfigError):
        return cause
    steps = checkpoints.steps()
    left = (
        f"its newest checkpoint is step {steps[-1]} in {checkpoints.storage.uri}: submit it again"
        " to go on from there"
        if steps
        else "it has no checkpoint yet: submit it again to start over"
    )
    why = str(cause) if cause else _outside_cause(error, workers)
    if why:
        return KintsugiError(f"the run ended {_how_often(error, workers)}: {why}; {left}")
    error.add_note(f"the run ended {_how_often(error, workers)}; {left}")
    return error


def _how_often(error: BaseException, workers: WorkersSection) -> str:
    most = workers.max_failures
    if isinstance(error, ControllerError):
        return "before its last step"
    failures = "1 failure" if most == 0 else f"{most + 1} failures"
    return f"after {failures} (workers.max_failures={most})"


def _ours_behind(error: BaseException) -> KintsugiError | None:
    """The error of our own behind Ray's."""
    failures = getattr(error, "worker_failures", {})
    found = [error, *failures.values(), getattr(error, "controller_failure", None)]
    seen: set[int] = set()
    while found:
        link = found.pop(0)
        if link is None or id(link) in seen:
            continue
        # From a task an error comes as one of its own class and of Ray's, with a whole trace
        # as its text; what was raised is behind it.
        if isinstance(link, KintsugiError) and not isinstance(link, ray.exceptions.RayTaskError):
            return link
        seen.add(id(link))
        found += [link.__cause__, getattr(link, "cause", None), link.__context__]
    return None


def _outside_cause(error: BaseException, workers: WorkersSection) -> str:
    """One line when processes or nodes are to blame; "" when code is."""
    if isinstance(error, ray.exceptions.RayActorError):
        return "the controller of the run died each time"
    if isinstance(error, WorkerGroupError):
        # Where one worker dies the others fail with it: theirs is not the cause. Ray keeps
        # these classes to itself.
        for rank, failure in error.worker_failures.items():
            if type(failure).__name__ == "WorkerHealthCheckTimeoutError":
                return f"worker {rank} no longer answered"
            if type(failure).__name__ == "WorkerHealthCheckFailedError":
                return f"worker {rank} died; its node was lost, or it was killed, as for memory"
    failure = getattr(error, "controller_failure", None)
    if isinstance(failure, OSError):
        return f"storage failed: {failure}"
    if type(failure).__name__ == "WorkerGroupStartupTimeoutError":
        return (
            f"the nodes it needs were missing for workers.wait_s={workers.wait_s} s:"
            " add nodes or lower workers.count"
        )
    return ""

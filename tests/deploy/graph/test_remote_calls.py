"""kintsugi.deploy.graph.remote_calls: which failures of another process are retried."""

import asyncio
from collections.abc import Awaitable

import pytest
from ray.exceptions import (
    ActorDiedError,
    ActorUnavailableError,
    ObjectLostError,
    OwnerDiedError,
    RayTaskError,
)
from ray.serve.exceptions import BackPressureError, RayServeException

from kintsugi.deploy.deadline import DeadlineExceeded
from kintsugi.deploy.engine import Busy, ReleaseUnreadable, WorkerDied
from kintsugi.deploy.graph.node_watch import PATIENCE_SECONDS
from kintsugi.deploy.graph.remote_calls import (
    ReplicaLost,
    ReplicaSilent,
    answer_of,
    retry_lost,
)
from kintsugi.errors import InvalidInput

LOST = ObjectLostError("0" * 56, "", "")
OWNER_DIED = OwnerDiedError("0" * 56, "", "")


async def failing(error: Exception) -> None:
    raise error


def raised_by(error: Exception) -> Exception:
    async def call() -> None:
        response: Awaitable[None] = failing(error)
        await answer_of(response)

    with pytest.raises(Exception) as caught:  # noqa: PT011
        asyncio.run(call())
    return caught.value


@pytest.mark.parametrize("error", [LOST, OWNER_DIED], ids=["lost", "owner died"])
def test_features_that_went_with_their_machine_are_a_reason_to_try_again(error: Exception) -> None:
    assert isinstance(raised_by(error), ReplicaLost)
    in_task = RayTaskError("fill", "the trace", error)
    assert isinstance(raised_by(in_task), ReplicaLost)
    assert isinstance(raised_by(in_task.as_instanceof_cause()), ReplicaLost)
    further_on = RayTaskError("swap", "the trace", in_task.as_instanceof_cause())
    assert isinstance(raised_by(further_on.as_instanceof_cause()), ReplicaLost)


def test_an_argument_whose_replica_died_is_lost() -> None:
    of_argument = RayServeException("an upstream actor died")
    of_argument.__cause__ = ActorUnavailableError("gone", None)
    assert isinstance(raised_by(of_argument), ReplicaLost)
    bug = RayServeException("something else")
    assert raised_by(bug) is bug


def test_a_full_queue_is_not_lost() -> None:
    error = raised_by(BackPressureError(num_queued_requests=2, max_queued_requests=1))
    assert type(error) is Busy


@pytest.mark.parametrize(
    "error",
    [
        DeadlineExceeded("late"),
        WorkerDied("twice"),
        InvalidInput("no", code="x", hint=""),
        ReleaseUnreadable("release a"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_the_other_side_says_comes_as_it_was_said(error: Exception) -> None:
    in_task = RayTaskError("fill", "the trace", error)
    in_chain = RayTaskError("swap", "the trace", in_task.as_instanceof_cause())
    assert raised_by(in_chain.as_instanceof_cause()) is error


class Attempts:
    """Fails so often, then answers."""

    def __init__(self, failures: int, error: Exception) -> None:
        self.left, self.error, self.made = failures, error, 0

    async def __call__(self) -> str:
        self.made += 1
        if self.made <= self.left:
            raise self.error
        return "answer"


def test_what_is_lost_is_asked_for_once_more() -> None:
    attempts = Attempts(1, ReplicaLost("gone"))
    assert asyncio.run(retry_lost(attempts)) == "answer"
    assert attempts.made == 2


@pytest.mark.parametrize("failures", [1, 9])
def test_who_does_not_answer_is_asked_until_it_is_known_why(failures: int) -> None:
    """A machine that went takes Ray a quarter of a minute to notice; each call is lost at once."""
    attempts, slept = Attempts(failures, ReplicaSilent("no answer")), list[float]()

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    assert asyncio.run(retry_lost(attempts, sleep=sleep)) == "answer"
    assert len(slept) == failures
    attempts = Attempts(99, ReplicaSilent("no answer"))
    with pytest.raises(ReplicaSilent):
        asyncio.run(retry_lost(attempts, sleep=sleep))
    # Longer than it takes to say which node is gone.
    assert sum(slept[failures:]) > PATIENCE_SECONDS + 15


def test_silence_is_not_counted_as_a_death() -> None:
    assert isinstance(raised_by(ActorUnavailableError("no answer", None)), ReplicaSilent)
    assert type(raised_by(ActorDiedError())) is ReplicaLost


def test_a_request_that_kills_whoever_takes_it_has_an_end() -> None:
    attempts = Attempts(99, ReplicaLost("gone"))
    with pytest.raises(WorkerDied):
        asyncio.run(retry_lost(attempts))
    assert attempts.made == 2


@pytest.mark.parametrize(
    "error", [Busy("full"), InvalidInput("no", code="x", hint=""), ValueError("bug")]
)
def test_nothing_else_is_tried_again(error: Exception) -> None:
    attempts = Attempts(1, error)
    with pytest.raises(type(error)):
        asyncio.run(retry_lost(attempts))
    assert attempts.made == 1


def test_a_bug_stays_what_it_is() -> None:
    bug = RayTaskError("fill", "the trace", ZeroDivisionError())
    assert raised_by(bug) is bug

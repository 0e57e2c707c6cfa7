"""A node that is gone is named soon; one that is just being replaced holds nobody up."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from ray.exceptions import RayError
from ray.serve._private.common import (
    DeploymentStatus,
    DeploymentStatusTrigger,
    ReplicaState,
)
from ray.serve.schema import (
    ApplicationStatus,
    ApplicationStatusOverview,
    DeploymentStatusOverview,
    ServeStatus,
)

from kintsugi.deploy.engine import NodeGone
from kintsugi.deploy.graph import node_watch
from kintsugi.deploy.graph.node_watch import NodeWatch
from kintsugi.deploy.http.problems import to_problem

NODES = ("Refiner", "PatchSwap")


class World:
    """What Serve would say, and a clock."""

    def __init__(self) -> None:
        self.now = 0.0
        self.running: dict[str, int] | None = dict.fromkeys(NODES, 1)

    def look(self) -> dict[str, int]:
        if self.running is None:
            raise RayError("no controller")
        return self.running

    def watch(self) -> NodeWatch:
        watch = NodeWatch(NODES, self.look, patience=15, clock=lambda: self.now)
        watch._started = True
        return watch


def test_who_is_gone_for_long_is_named() -> None:
    world = World()
    watch = world.watch()
    world.running = {"Refiner": 0, "PatchSwap": 2}
    for world.now in (1, 10, 15):
        watch.look()
        watch.check()
    world.now = 16
    watch.look()
    assert watch.gone() == ["Refiner"]
    with pytest.raises(NodeGone, match="Refiner cannot be reached") as caught:
        watch.check()
    problem = to_problem(caught.value)
    assert (problem.status, problem.code) == (503, "node_gone")
    assert "Refiner" in problem.detail
    assert int(problem.headers["retry-after"]) > 0
    world.running = dict.fromkeys(NODES, 1)
    watch.look()
    watch.check()


def test_without_a_controller_nobody_is_gone() -> None:
    world = World()
    watch = world.watch()
    world.running = None
    for world.now in (1, 100, 1000):
        watch.look()
        watch.check()


def test_should_the_looking_end_nobody_is_gone() -> None:
    world = World()
    watch = world.watch()
    watch.look()
    world.now = 1000
    watch.check()


def test_what_nobody_looks_at_any_more_is_not_gone_for_ever() -> None:
    """A call of Serve that does not come back."""
    world = World()
    watch = world.watch()
    world.running, world.now = {"Refiner": 0, "PatchSwap": 1}, 16
    watch.look()
    assert watch.gone() == ["Refiner"]
    world.now = 30
    assert watch.gone() == ["Refiner"]
    world.now = 32
    assert watch.gone() == []
    watch.look()
    assert watch.gone() == ["Refiner"]


def test_the_looking_goes_on_after_an_error(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(node_watch, "_LOOK_SECONDS", 0.001)
    looks = []
    looked_on = threading.Event()

    def look() -> dict[str, int]:
        looks.append(1)
        if len(looks) > 5:
            looked_on.set()
            return dict.fromkeys(NODES, 1)
        raise ValueError("a bug")

    watch = NodeWatch(NODES, look, patience=15)
    watch.check()
    assert looked_on.wait(60)
    watch.check()
    # Said once, and not every second.
    assert len([each for each in caplog.records if each.exc_info]) == 1


def test_who_waits_hears_of_it_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_watch, "_LOOK_SECONDS", 0.01)
    world = World()
    watch = world.watch()
    given_up: list[bool] = []

    async def hangs() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            given_up.append(True)
            raise

    async def go() -> None:
        world.running = {"Refiner": 0, "PatchSwap": 1}
        world.now = 20
        watch.look()
        with pytest.raises(NodeGone):
            await watch.while_all_are_there(hangs())
        await asyncio.sleep(0)

    asyncio.run(go())
    assert given_up == [True]


def test_what_is_done_is_given() -> None:
    async def work() -> int:
        return 7

    assert asyncio.run(World().watch().while_all_are_there(work())) == 7


@pytest.mark.parametrize(
    ("state", "there"),
    [
        (ReplicaState.RUNNING, 2),
        (ReplicaState.UPDATING, 2),
        # Its machine is drained: it answers until its successor does.
        (ReplicaState.PENDING_MIGRATION, 2),
        (ReplicaState.STARTING, 0),
        (ReplicaState.STOPPING, 0),
    ],
)
def test_replicas_that_requests_are_sent_to_are_there(
    monkeypatch: pytest.MonkeyPatch, state: ReplicaState, there: int
) -> None:
    of_node = DeploymentStatusOverview(
        status=DeploymentStatus.UPSCALING,
        status_trigger=DeploymentStatusTrigger.AUTOSCALING,
        replica_states={state: 2},
        message="",
    )
    application = ApplicationStatusOverview(
        status=ApplicationStatus.RUNNING,
        message="",
        last_deployed_time_s=0,
        deployments={"Refiner": of_node},
    )
    status = ServeStatus(applications={"kintsugi": application})
    monkeypatch.setattr(node_watch.serve, "status", lambda: status)
    context = SimpleNamespace(app_name="kintsugi")
    monkeypatch.setattr(node_watch.serve, "get_replica_context", lambda: context)
    assert node_watch.running_replicas() == {"Refiner": there}

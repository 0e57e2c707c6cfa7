"""kintsugi.deploy.graph.refiner without a cluster: with which release it answers, and how many."""

import asyncio
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from kintsugi.deploy.engine import Busy
from kintsugi.deploy.graph.refiner import RefinerNode
from kintsugi.deploy.graph.request_context import ReleaseChanged, RequestContext
from kintsugi.deploy.options import InpaintOptions
from tests.deploy.conftest import Pixels
from tests.deploy.graph.tiny_releases import args_of, handles_of, publish

UNUSED: Any = None


def refiner(folder: Path) -> RefinerNode:
    args = args_of(folder)
    return RefinerNode(args, *handles_of(args))


def test_a_request_begins_again_when_its_release_is_no_more(tmp_path: Path) -> None:
    publish(tmp_path, "first")
    node = refiner(tmp_path)
    digest = publish(tmp_path, "second", seed=2)
    asked: list[str] = []

    async def walk(context: RequestContext) -> Pixels:
        asked.append(context.release.model.name)
        if context.release.model.name == "first":
            raise ReleaseChanged("at its place is another one")
        return np.zeros((8, 8, 3), np.uint8)

    filled = asyncio.run(node._with_one_release(InpaintOptions(), 0.0, walk))

    assert asked == ["first", "second"]
    assert (filled.model.name, filled.model.digest) == ("second", digest)
    assert asyncio.run(node.ready()).model == filled.model


def test_it_does_not_begin_for_ever(tmp_path: Path) -> None:
    publish(tmp_path, "first")

    async def walk(context: RequestContext) -> Pixels:
        raise ReleaseChanged("again")

    with pytest.raises(ReleaseChanged):
        asyncio.run(refiner(tmp_path)._with_one_release(InpaintOptions(), 0.0, walk))


def test_more_than_may_be_in_progress_are_refused_at_once(tmp_path: Path) -> None:
    publish(tmp_path, "first")
    args = args_of(tmp_path).model_copy(update={"max_in_progress": 2})
    node = RefinerNode(args, UNUSED, UNUSED, UNUSED)

    async def load() -> None:
        going_on = asyncio.Event()

        async def walk(context: RequestContext) -> Pixels:
            await going_on.wait()
            return np.zeros((8, 8, 3), np.uint8)

        two = [
            asyncio.create_task(node._with_one_release(InpaintOptions(), 0.0, walk))
            for _ in range(2)
        ]
        await asyncio.sleep(0)
        with pytest.raises(Busy, match="2 requests are in progress"):
            await node._with_one_release(InpaintOptions(), 0.0, walk)
        # Who asks how it is does not count.
        assert (await node.ready()).model.name == "first"
        two[0].cancel()
        await asyncio.wait(two[:1])
        going_on.set()
        assert (await node._with_one_release(InpaintOptions(), 0.0, walk)).model.name == "first"
        await two[1]

    asyncio.run(load())


def test_its_release_changes_while_it_runs(tmp_path: Path) -> None:
    """What has begun ends with the release that it began with."""
    digests = {
        name: publish(tmp_path / name, name, seed=seed)
        for seed, name in enumerate(("first", "second"), 1)
    }
    node = refiner(tmp_path / "first")
    asyncio.run(node.check_health())

    async def go() -> None:
        going_on, begun = asyncio.Event(), asyncio.Event()

        async def walk(context: RequestContext) -> Pixels:
            begun.set()
            await going_on.wait()
            return np.zeros((8, 8, 3), np.uint8)

        before = asyncio.create_task(node._with_one_release(InpaintOptions(), 0.0, walk))
        await begun.wait()
        await node.reconfigure({"release": str(tmp_path / "second")})
        going_on.set()
        after = await node._with_one_release(InpaintOptions(), 0.0, walk)
        assert (await before).model.digest == digests["first"]
        assert after.model.digest == digests["second"]
        assert (await node.ready()).model == after.model
        # Without a name it is the one that it was started with.
        await node.reconfigure({})
        assert (await node.ready()).model.name == "first"

    asyncio.run(go())


def test_a_request_that_begins_again_does_not_undo_the_change(tmp_path: Path) -> None:
    publish(tmp_path / "first", "first")
    publish(tmp_path / "second", "second", seed=2)
    node = refiner(tmp_path / "first")
    asked: list[str] = []

    async def walk(context: RequestContext) -> Pixels:
        asked.append(context.release.model.name)
        if len(asked) == 1:
            await node.reconfigure({"release": str(tmp_path / "second")})
            raise ReleaseChanged("at its place is another one")
        return np.zeros((8, 8, 3), np.uint8)

    filled = asyncio.run(node._with_one_release(InpaintOptions(), 0.0, walk))
    assert (filled.model.name, asked) == ("first", ["first", "first"])
    assert asyncio.run(node.ready()).model.name == "second"


def test_serve_reaches_its_rollout(tmp_path: Path) -> None:
    """One that starts would fail; one that answers goes on with what it has."""
    publish(tmp_path, "first")
    node = refiner(tmp_path)
    missing = {"release": str(tmp_path / "missing")}
    with pytest.raises(ValueError, match=r"holds no config\.json"):
        asyncio.run(node.reconfigure(missing))
    asyncio.run(node.check_health())
    asyncio.run(node.reconfigure(missing))
    assert asyncio.run(node.ready()).model.name == "first"

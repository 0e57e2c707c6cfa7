"""kintsugi.deploy.graph.refiner without a cluster: which release answers."""

import asyncio
import shutil
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from kintsugi.deploy.engine import Busy
from kintsugi.deploy.graph.base_node import ComputingNode
from kintsugi.deploy.graph.nodes import Feature2ImageNode, Image2FeatureNode, PatchSwapNode
from kintsugi.deploy.graph.refiner import RefinerNode
from kintsugi.deploy.graph.request_context import ReleaseChanged, RequestContext
from kintsugi.deploy.observability.metrics import RELEASE_REFUSED
from kintsugi.deploy.options import InpaintOptions
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import StorageError
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import (
    CONFIG_NAME,
    WEIGHTS_NAME,
    ReleaseConfig,
    load_release,
    save_release,
)
from tests.deploy.conftest import Pixels

UNUSED: Any = None


@pytest.fixture(scope="module")
def inpainter() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=1)


def publish(folder: Path, inpainter: Inpainter, name: str) -> str:
    """Returns the digest."""
    config = ReleaseConfig(name, ModelConfig("tiny"), encoder="random (seed 0)")
    return save_release(folder, inpainter, config, card="").digest


class Handle:
    """As a handle of Serve: what `remote` gives is awaited. The node is a real one."""

    def __init__(self, node: ComputingNode[Any]) -> None:
        self.node = node
        self.prepare = SimpleNamespace(remote=node.prepare)


def refiner(folder: Path) -> RefinerNode:
    args = AppArgs(release=str(folder), threads=torch.get_num_threads())
    nodes = Image2FeatureNode(args), PatchSwapNode(args), Feature2ImageNode(args)
    handles: list[Any] = [Handle(node) for node in nodes]
    return RefinerNode(args, *handles)


def changed() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=2)


def test_a_request_begins_again_when_its_release_is_no_more(
    inpainter: Inpainter, tmp_path: Path
) -> None:
    publish(tmp_path, inpainter, "first")
    node = refiner(tmp_path)
    digest = publish(tmp_path, changed(), "second")
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


def test_it_does_not_begin_for_ever(inpainter: Inpainter, tmp_path: Path) -> None:
    publish(tmp_path, inpainter, "first")

    async def walk(context: RequestContext) -> Pixels:
        raise ReleaseChanged("again")

    with pytest.raises(ReleaseChanged):
        asyncio.run(refiner(tmp_path)._with_one_release(InpaintOptions(), 0.0, walk))


def test_it_does_not_start_with_a_release_that_others_could_not_load(
    inpainter: Inpainter, tmp_path: Path
) -> None:
    publish(tmp_path / "whole", inpainter, "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    weights = tmp_path / "cut" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1])
    refiner(tmp_path / "whole")
    with pytest.raises(ValueError, match="cut short"):
        refiner(tmp_path / "cut")


def test_more_than_may_be_in_progress_are_refused_at_once(
    inpainter: Inpainter, tmp_path: Path
) -> None:
    publish(tmp_path, inpainter, "first")
    args = AppArgs(release=str(tmp_path), threads=torch.get_num_threads(), max_in_progress=2)
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


def test_its_release_changes_while_it_runs(inpainter: Inpainter, tmp_path: Path) -> None:
    """What has begun ends with the release that it began with."""
    digests = {
        name: publish(tmp_path / name, inpainter if name == "first" else changed(), name)
        for name in ("first", "second")
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


def test_a_request_that_begins_again_does_not_undo_the_change(
    inpainter: Inpainter, tmp_path: Path
) -> None:
    publish(tmp_path / "first", inpainter, "first")
    publish(tmp_path / "second", changed(), "second")
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


@pytest.mark.parametrize("wrong", ["missing", "cut", "misspelt", "list"])
def test_a_release_that_is_none_stops_no_replica_that_answers(
    inpainter: Inpainter, tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    publish(tmp_path / "first", inpainter, "first")
    shutil.copytree(tmp_path / "first", tmp_path / "cut")
    weights = tmp_path / "cut" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1])
    shutil.copytree(tmp_path / "first", tmp_path / "list")
    (tmp_path / "list" / CONFIG_NAME).write_text("[]")
    config = {"relaese": "x"} if wrong == "misspelt" else {"release": str(tmp_path / wrong)}
    node = refiner(tmp_path / "first")
    # Serve calls it as soon as a replica has started. Until then there is one that answers.
    with pytest.raises((ValueError, OSError)):
        asyncio.run(node.reconfigure(config))
    asyncio.run(node.check_health())
    asyncio.run(node.reconfigure(config))
    assert asyncio.run(node.ready()).model.name == "first"
    assert "is refused" in caplog.text
    assert "first@sha256:" in caplog.text


@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of memory"), AttributeError("'list' has no 'get'"), KeyError("model")],
    ids=lambda error: type(error).__name__,
)
def test_a_replica_that_answers_survives_whatever_reading_raises(
    inpainter: Inpainter,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """Serve stops a replica whose `reconfigure` raises; its successor would not start, either."""
    publish(tmp_path, inpainter, "first")
    node = refiner(tmp_path)
    asyncio.run(node.check_health())

    def fail(folder: Path) -> None:
        raise error

    monkeypatch.setattr("kintsugi.deploy.graph.refiner.load_release", fail)
    asyncio.run(node.reconfigure({"release": "elsewhere"}))
    assert asyncio.run(node.ready()).model.name == "first"
    assert f"is refused ({type(error).__name__})" in caplog.text


class Reading:
    """Reads releases, but for so many times; and what the node says of it."""

    def __init__(
        self, node: RefinerNode, monkeypatch: pytest.MonkeyPatch, *errors: Exception
    ) -> None:
        self.node, self.errors, self.read = node, list(errors), list[str]()
        self.refused: list[float] = []
        node._record = lambda metric, value, labels: (
            self.refused.append(value) if metric is RELEASE_REFUSED else None
        )
        monkeypatch.setattr("kintsugi.deploy.graph.refiner.load_release", self._load)

    def _load(self, folder: Path) -> tuple[Inpainter, ReleaseConfig]:
        self.read.append(folder.name)
        if self.errors:
            raise self.errors.pop(0)
        return load_release(folder)

    async def health_check(self) -> str:
        """As Serve's; then the name of the release that answers."""
        await self.node.check_health()
        if self.node._trying is not None:
            await self.node._trying
        return (await self.node.ready()).model.name


SILENT = StorageError("the bucket does not answer", may_pass=True)


def test_what_passes_keeps_no_replica_with_the_old_release(
    inpainter: Inpainter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica may have read it: without this the two would differ for ever."""
    for name in ("first", "second"):
        publish(tmp_path / name, inpainter, name)
    node = refiner(tmp_path / "first")
    full = OSError(28, "No space left on device")
    reading = Reading(node, monkeypatch, SILENT, full, RuntimeError("out of memory"))

    async def go() -> None:
        assert await reading.health_check() == "first"
        await node.reconfigure({"release": str(tmp_path / "second")})
        assert reading.refused == [1]
        answering = [await reading.health_check() for _ in range(5)]
        assert answering == ["first", "first", "second", "second", "second"]

    asyncio.run(go())
    # Once it is there, no more.
    assert reading.read == ["second"] * 4
    assert reading.refused == [1, 1, 1, 0]


def test_a_release_that_is_none_is_read_once(
    inpainter: Inpainter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "first", inpainter, "first")
    node = refiner(tmp_path / "first")
    lasting = StorageError("no such bucket"), ValueError("cut short")
    reading = Reading(node, monkeypatch, *lasting)

    async def go() -> None:
        await reading.health_check()
        for name in ("second", "third"):
            await node.reconfigure({"release": name})
            assert [await reading.health_check() for _ in range(3)] == ["first"] * 3
        # Back to what answers, which needs no reading.
        await node.reconfigure({"release": ""})

    asyncio.run(go())
    assert reading.read == ["second", "third"]
    assert reading.refused == [1, 1, 0]


# Whether it can be read meanwhile, or not.
@pytest.mark.parametrize("failures", [1, 2])
def test_a_release_that_is_no_longer_wanted_is_not_tried_again(
    inpainter: Inpainter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    for name in ("first", "second"):
        publish(tmp_path / name, inpainter, name)
    node = refiner(tmp_path / "first")
    reading = Reading(node, monkeypatch, *[SILENT] * failures)

    async def go() -> None:
        await reading.health_check()
        await node.reconfigure({"release": str(tmp_path / "second")})
        # It is being read when another one is wanted.
        await node.check_health()
        await asyncio.sleep(0)
        await node.reconfigure({"release": ""})
        assert [await reading.health_check() for _ in range(3)] == ["first"] * 3

    asyncio.run(go())
    assert reading.read == ["second"] * 2
    assert reading.refused == [1, 0]


@pytest.mark.parametrize("reader", ["load_release", "read_release_config"])
def test_what_one_node_cannot_load_answers_no_request(
    inpainter: Inpainter,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
) -> None:
    """The Refiner can read it; a node has no memory for it, or no right to read."""
    for name in ("first", "second"):
        publish(tmp_path / name, inpainter, name)
    node = refiner(tmp_path / "first")
    reading = Reading(node, monkeypatch)

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of memory")

    async def go() -> None:
        await reading.health_check()
        with monkeypatch.context() as broken:
            broken.setattr(f"kintsugi.deploy.graph.nodes.{reader}", fail)
            await node.reconfigure({"release": str(tmp_path / "second")})
            assert await reading.health_check() == "first"
        assert reading.refused == [1, 1]
        assert "is refused (ReleaseUnreadable)" in caplog.text
        assert "out of memory" in caplog.text
        # A node that was restarted elsewhere has room.
        assert await reading.health_check() == "second"

    asyncio.run(go())
    assert reading.refused == [1, 1, 0]


def test_every_node_holds_a_release_before_the_first_request_for_it(
    inpainter: Inpainter, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("first", "second"):
        publish(tmp_path / name, inpainter, name)
    node = refiner(tmp_path / "first")

    def fail(uri: str) -> None:
        raise AssertionError(f"{uri} is loaded by a request")

    async def go() -> None:
        await node.check_health()
        await node.reconfigure({"release": str(tmp_path / "second")})
        handles: list[Any] = [node._image2feature, node._patch_swap, node._feature2image]
        for handle in handles:
            handle.node._cache._load = fail
            await handle.node._cache.get(node._releases[0])

    asyncio.run(go())


@pytest.mark.parametrize(("in_place", "said"), [("second", True), ("first", False), ("", False)])
def test_one_that_starts_says_that_the_release_of_its_args_is_not_served(
    inpainter: Inpainter,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    in_place: str,
    said: bool,
) -> None:
    for name in ("first", "second"):
        publish(tmp_path / name, inpainter, name)
    node = refiner(tmp_path / "first")
    asyncio.run(node.reconfigure({"release": in_place and str(tmp_path / in_place)}))
    assert asyncio.run(node.ready()).model.name == (in_place or "first")
    assert (f"release={tmp_path / 'first'} is not served" in caplog.text) == said

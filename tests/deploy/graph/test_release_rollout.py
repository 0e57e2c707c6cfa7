"""kintsugi.deploy.graph.release_rollout without a cluster, with real nodes that load releases."""

import asyncio
import shutil
from collections.abc import Mapping
from pathlib import Path

import pytest

from kintsugi.deploy.graph.release_rollout import ReleaseRollout
from kintsugi.deploy.observability.metrics import RELEASE_REFUSED, Metric, Record
from kintsugi.errors import StorageError
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.weights import CONFIG_NAME, WEIGHTS_NAME, ReleaseConfig, load_release
from tests.deploy.graph.tiny_releases import args_of, handles_of, publish


def nowhere(metric: Metric, value: float, labels: Mapping[str, str]) -> None: ...


def rollout_of(folder: Path, record: Record = nowhere) -> ReleaseRollout:
    args = args_of(folder)
    return ReleaseRollout(args, handles_of(args), record)


def test_it_does_not_start_with_a_release_that_others_could_not_load(tmp_path: Path) -> None:
    publish(tmp_path / "whole", "whole")
    shutil.copytree(tmp_path / "whole", tmp_path / "cut")
    weights = tmp_path / "cut" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1])
    rollout_of(tmp_path / "whole")
    with pytest.raises(ValueError, match="cut short"):
        rollout_of(tmp_path / "cut")


@pytest.mark.parametrize("wrong", ["missing", "cut", "misspelt", "list"])
def test_a_release_that_is_none_stops_no_replica_that_answers(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, wrong: str
) -> None:
    publish(tmp_path / "first", "first")
    shutil.copytree(tmp_path / "first", tmp_path / "cut")
    weights = tmp_path / "cut" / WEIGHTS_NAME
    weights.write_bytes(weights.read_bytes()[:-1])
    shutil.copytree(tmp_path / "first", tmp_path / "list")
    (tmp_path / "list" / CONFIG_NAME).write_text("[]")
    config = {"relaese": "x"} if wrong == "misspelt" else {"release": str(tmp_path / wrong)}
    rollout = rollout_of(tmp_path / "first")
    # Serve calls it as soon as a replica has started. Until then there is one that answers.
    with pytest.raises((ValueError, OSError)):
        asyncio.run(rollout.reconfigure(config))
    rollout.check_health()
    asyncio.run(rollout.reconfigure(config))
    assert rollout.models[0].name == "first"
    assert "is refused" in caplog.text
    assert "first@sha256:" in caplog.text


@pytest.mark.parametrize(
    "error",
    [RuntimeError("out of memory"), AttributeError("'list' has no 'get'"), KeyError("model")],
    ids=lambda error: type(error).__name__,
)
def test_a_replica_that_answers_survives_whatever_reading_raises(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
) -> None:
    """Serve stops a replica whose `reconfigure` raises; its successor would not start, either."""
    publish(tmp_path, "first")
    rollout = rollout_of(tmp_path)
    rollout.check_health()

    def fail(folder: Path) -> None:
        raise error

    monkeypatch.setattr("kintsugi.deploy.graph.release_rollout.load_release", fail)
    asyncio.run(rollout.reconfigure({"release": "elsewhere"}))
    assert rollout.models[0].name == "first"
    assert f"is refused ({type(error).__name__})" in caplog.text


class Reading:
    """A rollout whose reading fails so many times, and what it says of that."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *errors: Exception) -> None:
        self.rollout = rollout_of(folder, self._record)
        self.errors, self.read = list(errors), list[str]()
        self.refused: list[float] = []
        monkeypatch.setattr("kintsugi.deploy.graph.release_rollout.load_release", self._load)

    def _record(self, metric: Metric, value: float, labels: Mapping[str, str]) -> None:
        assert metric is RELEASE_REFUSED
        self.refused.append(value)

    def _load(self, folder: Path) -> tuple[Inpainter, ReleaseConfig]:
        self.read.append(folder.name)
        if self.errors:
            raise self.errors.pop(0)
        return load_release(folder)

    async def health_check(self) -> str:
        """As Serve's; then the name of the release that answers."""
        self.rollout.check_health()
        if self.rollout._trying is not None:
            await self.rollout._trying
        return self.rollout.models[0].name


SILENT = StorageError("the bucket does not answer", may_pass=True)


def test_what_passes_keeps_no_replica_with_the_old_release(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Another replica may have read it: without this the two would differ for ever."""
    for name in ("first", "second"):
        publish(tmp_path / name, name)
    full = OSError(28, "No space left on device")
    reading = Reading(tmp_path / "first", monkeypatch, SILENT, full, RuntimeError("out of memory"))

    async def go() -> None:
        assert await reading.health_check() == "first"
        await reading.rollout.reconfigure({"release": str(tmp_path / "second")})
        assert reading.refused == [1]
        answering = [await reading.health_check() for _ in range(5)]
        assert answering == ["first", "first", "second", "second", "second"]

    asyncio.run(go())
    # Once it is there, no more.
    assert reading.read == ["second"] * 4
    assert reading.refused == [1, 1, 1, 0]


def test_a_release_that_is_none_is_read_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(tmp_path / "first", "first")
    lasting = StorageError("no such bucket"), ValueError("cut short")
    reading = Reading(tmp_path / "first", monkeypatch, *lasting)

    async def go() -> None:
        await reading.health_check()
        for name in ("second", "third"):
            await reading.rollout.reconfigure({"release": name})
            assert [await reading.health_check() for _ in range(3)] == ["first"] * 3
        # Back to what answers, which needs no reading.
        await reading.rollout.reconfigure({"release": ""})

    asyncio.run(go())
    assert reading.read == ["second", "third"]
    assert reading.refused == [1, 1, 0]


# Whether it can be read meanwhile, or not.
@pytest.mark.parametrize("failures", [1, 2])
def test_a_release_that_is_no_longer_wanted_is_not_tried_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, failures: int
) -> None:
    for name in ("first", "second"):
        publish(tmp_path / name, name)
    reading = Reading(tmp_path / "first", monkeypatch, *[SILENT] * failures)

    async def go() -> None:
        await reading.health_check()
        await reading.rollout.reconfigure({"release": str(tmp_path / "second")})
        # It is being read when another one is wanted.
        reading.rollout.check_health()
        await asyncio.sleep(0)
        await reading.rollout.reconfigure({"release": ""})
        assert [await reading.health_check() for _ in range(3)] == ["first"] * 3

    asyncio.run(go())
    assert reading.read == ["second"] * 2
    assert reading.refused == [1, 0]


@pytest.mark.parametrize("reader", ["load_release", "read_release_config"])
def test_what_one_node_cannot_load_answers_no_request(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    reader: str,
) -> None:
    """The Refiner can read it; a node has no memory for it, or no right to read."""
    for name in ("first", "second"):
        publish(tmp_path / name, name)
    reading = Reading(tmp_path / "first", monkeypatch)

    def fail(*arguments: object, **options: object) -> None:
        raise RuntimeError("out of memory")

    async def go() -> None:
        await reading.health_check()
        with monkeypatch.context() as broken:
            broken.setattr(f"kintsugi.deploy.graph.nodes.{reader}", fail)
            await reading.rollout.reconfigure({"release": str(tmp_path / "second")})
            assert await reading.health_check() == "first"
        assert reading.refused == [1, 1]
        assert "is refused (ReleaseUnreadable)" in caplog.text
        assert "out of memory" in caplog.text
        # A node that was restarted elsewhere has room.
        assert await reading.health_check() == "second"

    asyncio.run(go())
    assert reading.refused == [1, 1, 0]


def test_every_node_holds_a_release_before_the_first_request_for_it(
    tmp_path: Path,
) -> None:
    for name in ("first", "second"):
        publish(tmp_path / name, name)
    args = args_of(tmp_path / "first")
    nodes = handles_of(args)
    rollout = ReleaseRollout(args, nodes, nowhere)

    def fail(uri: str) -> None:
        raise AssertionError(f"{uri} is loaded by a request")

    async def go() -> None:
        rollout.check_health()
        await rollout.reconfigure({"release": str(tmp_path / "second")})
        for handle in nodes:
            handle.node._cache._load = fail
            await handle.node._cache.get(rollout.find("second"))

    asyncio.run(go())


@pytest.mark.parametrize(("in_place", "said"), [("second", True), ("first", False), ("", False)])
def test_one_that_starts_says_that_the_release_of_its_args_is_not_served(
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    in_place: str,
    said: bool,
) -> None:
    for name in ("first", "second"):
        publish(tmp_path / name, name)
    rollout = rollout_of(tmp_path / "first")
    asyncio.run(rollout.reconfigure({"release": in_place and str(tmp_path / in_place)}))
    assert rollout.models[0].name == (in_place or "first")
    assert (f"release={tmp_path / 'first'} is not served" in caplog.text) == said

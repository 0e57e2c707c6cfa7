"""Checkpoints travel while a run trains on, and nothing is lost on the way."""

import dataclasses
import json
import shutil
import threading
import time
from pathlib import Path

import pytest
import torch

from kintsugi.collectives import fetch_once
from kintsugi.config.run_config import JobConfig
from kintsugi.data.corrupt_rows import CorruptRows
from kintsugi.errors import StorageError
from kintsugi.runs.checkpoints import STATE_NAME, checkpoint_name
from kintsugi.runs.lease import Lease
from kintsugi.runs.run import Run
from kintsugi.storage.storage import Storage
from kintsugi.train import loop
from kintsugi.train.hangs import Place
from kintsugi.train.local import fit
from kintsugi.train.run_reporter import RunReporter
from kintsugi.train.upload import Uploads
from kintsugi.train.worker import train_locally
from tests.kintsugi.ranks import run_ranks
from tests.kintsugi.training_runs import debug_config, pack_photos


def folder_of(tmp_path: Path, name: str) -> Path:
    (tmp_path / name).mkdir()
    return tmp_path / name


def test_a_run_goes_on_while_a_checkpoint_travels(tmp_path: Path) -> None:
    arrived, may = list[int](), threading.Event()

    def publish(folder: Path, step: int) -> None:
        assert folder.exists()
        may.wait(30)
        arrived.append(step)

    uploads = Uploads(publish)
    uploads.submit(folder_of(tmp_path, "a"), 1)
    assert not arrived, "submit returns at once"
    may.set()
    uploads.submit(folder_of(tmp_path, "b"), 2)
    uploads.wait()
    assert arrived == [1, 2], "one after the other"
    assert not list(tmp_path.iterdir()), "what has arrived is deleted here"


def test_what_storage_refuses_is_raised_at_the_next_checkpoint(tmp_path: Path) -> None:
    def publish(folder: Path, step: int) -> None:
        raise StorageError("it is full")

    uploads = Uploads(publish)
    uploads.submit(folder_of(tmp_path, "a"), 1)
    with pytest.raises(StorageError, match="it is full"):
        uploads.submit(folder_of(tmp_path, "b"), 2)
    uploads.wait()
    assert not list(tmp_path.iterdir()), "each would fill this disk a little more"


def slowed(config: JobConfig, monkeypatch: pytest.MonkeyPatch, seconds: float) -> list[float]:
    """Every upload takes so long; returns when each began."""
    begun: list[float] = []
    publish_folder = Storage.publish_folder

    def slow(self: Storage, local: Path, name: str, *, last: str) -> None:
        if name.startswith("step-"):
            begun.append(time.monotonic())
            time.sleep(seconds)
        publish_folder(self, local, name, last=last)

    monkeypatch.setattr(Storage, "publish_folder", slow)
    return begun


def test_steps_pass_during_an_upload_and_its_last_one_is_waited_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Counted, not timed: of the steps of a run all but its last checkpoint's hold nothing up."""
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=4, checkpoint_every=2, batch_size=1)
    begun = slowed(config, monkeypatch, 0.0)
    steps: list[tuple[int, int]] = []
    may = threading.Event()
    step = loop.TrainStep.__call__

    def counted(self: loop.TrainStep, batch: object) -> object:
        steps.append((self.state.step, len(begun)))
        if self.state.step == 3:
            # The last step before the next checkpoint: the first one may arrive now.
            may.set()
        return step(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.TrainStep, "__call__", counted)
    monkeypatch.setattr(time, "sleep", lambda seconds: may.wait(60))
    run = train_locally(config)
    assert [at for at, _ in steps] == [0, 1, 2, 3], "none waited for the upload"
    assert run.checkpoints.newest_whole() == 4
    assert run.checkpoints.steps() == [2, 4]


def test_a_run_that_fails_leaves_the_checkpoint_that_travels(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=9, checkpoint_every=2, batch_size=1)
    slowed(config, monkeypatch, 1.0)
    step = loop.TrainStep.__call__

    def failing(self: loop.TrainStep, batch: object) -> object:
        if self.state.step == 2:
            raise RuntimeError("a GPU fell off the bus")
        return step(self, batch)  # type: ignore[arg-type]

    monkeypatch.setattr(loop.TrainStep, "__call__", failing)
    with pytest.raises(RuntimeError, match="fell off"):
        train_locally(config)
    assert Run.of(config).checkpoints.newest_whole() == 2


def test_checkpoints_by_minutes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a clock that goes two minutes a step, in runs that write none by steps."""
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=5, checkpoint_every=100, batch_size=1)
    minutes = dataclasses.replace(config.loop, checkpoint_minutes=4.0, keep_checkpoints=9)
    now = iter(range(0, 10_000, 120))
    clock = loop._Clock
    monkeypatch.setattr(loop, "_Clock", lambda value: clock(value, lambda: next(now)))
    run = train_locally(dataclasses.replace(config, loop=minutes))
    assert run.checkpoints.steps() == [2, 4, 5]


def test_a_node_that_is_reclaimed_loses_no_step(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=50, checkpoint_every=50, batch_size=1)
    with pytest.MonkeyPatch.context() as patched:
        made = loop.WorkerContext

        def context(*args: object, **kwargs: object) -> loop.WorkerContext:
            count = iter(range(100))
            return made(*args, **kwargs, is_reclaimed=lambda: next(count) == 2)  # type: ignore[arg-type]

        patched.setattr("kintsugi.train.worker.WorkerContext", context)
        with pytest.raises(loop.NodeReclaimed, match="step 3"):
            train_locally(config)
    assert Run.of(config).checkpoints.newest_whole() == 3
    resumed = fit(dataclasses.replace(config, loop=dataclasses.replace(config.loop, max_steps=4)))
    assert (resumed.first_step, resumed.last_step) == (3, 4)


def test_a_damaged_newest_checkpoint_is_left_to_the_one_before(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=4, checkpoint_every=2, batch_size=1)
    run = train_locally(config)
    state = Path(run.checkpoints.storage.uri) / checkpoint_name(4) / STATE_NAME
    state.write_text(json.dumps(json.loads(state.read_text()) | {"stale": 9}))
    assert run.checkpoints.newest() == 2 == run.checkpoints.newest_whole()
    shutil.rmtree(state.parent)
    assert run.checkpoints.newest() == 2


TIMEOUT_S = 5.0


def upload_slowly(rank: int, folder: str) -> None:
    """Each upload takes longer than a rank waits for another."""
    arrived = list[int]()
    place = Place()

    def publish(folder: Path, step: int) -> None:
        time.sleep(1.4 * TIMEOUT_S)
        arrived.append(step)

    run, cpu = Run(Storage(folder)), torch.device("cpu")
    reporter = RunReporter(
        run,
        None,
        Lease(run, "", rank=rank, device=cpu),
        CorruptRows("shards", 10, 0.0),
        lambda row, folder, step: None,
        publish,
        device=cpu,
        timeout_s=TIMEOUT_S,
        place=place,
    )
    for step in (1, 2):
        mine = Path(folder) / str(step) if rank == 0 else None
        if mine is not None:
            mine.mkdir()
        reporter.checkpoint({}, mine, step)
    assert place.seconds() < TIMEOUT_S / 2, "this is no hang"
    reporter.finish()
    assert arrived == ([1, 2] if rank == 0 else [])


def test_an_upload_may_take_longer_than_ranks_wait_for_one_another(tmp_path: Path) -> None:
    run_ranks(2, upload_slowly, str(tmp_path), timeout_s=TIMEOUT_S)


def receive(rank: int, folder: str) -> None:
    mine = Path(folder) / str(rank)
    mine.mkdir()

    def fetch(here: Path) -> None:
        with (Path(folder) / "fetched").open("a") as log:
            log.write(f"{rank}\n")
        (here / "part").mkdir()
        (here / "part" / "a").write_bytes(bytes(range(256)) * 1000)
        (here / "empty").write_bytes(b"")

    import kintsugi.collectives

    kintsugi.collectives._BYTES_AT_ONCE = 100_000
    fetch_once(fetch, mine, torch.device("cpu"))

    def fail(here: Path) -> None:
        raise StorageError(f"rank {rank} was refused")

    with pytest.raises(StorageError, match="rank 0 was refused"):
        fetch_once(fail, mine, torch.device("cpu"))


@pytest.mark.slow
def test_one_rank_fetches_and_all_have_it(tmp_path: Path) -> None:
    """Or none, and then all of them say why."""
    run_ranks(3, receive, str(tmp_path))
    assert (tmp_path / "fetched").read_text() == "0\n"
    for rank in range(3):
        assert (tmp_path / str(rank) / "part" / "a").read_bytes() == bytes(range(256)) * 1000
        assert (tmp_path / str(rank) / "empty").read_bytes() == b""

"""A step that does not end leaves every rank's stacks, and says which rank is waited for."""

import contextlib
import io
import json
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import torch

from kintsugi.config.run_config import JobConfig
from kintsugi.data.batches import Batch
from kintsugi.data.sampler import SampleOrder
from kintsugi.errors import StorageError
from kintsugi.storage.storage import Storage
from kintsugi.train.hangs import FOLDER, Place, Stand, describe_hang, hang_watch
from kintsugi.train.loop import WorkerContext
from tests.kintsugi.ranks import run_ranks
from tests.kintsugi.train.test_loop import LinearStage, Rows, batches
from tests.kintsugi.training_runs import debug_config, run_loop

# Seconds after which gloo fails a step; most of it is room for a busy machine.
LIMIT_S = 20


def wait_for_a_door_that_stays_shut() -> None:
    threading.Event().wait()


class StuckStage(LinearStage):
    """Its second step does not come to an end."""

    def generate(self, *args: Any, **kwargs: Any) -> Any:
        if args[-1] == 1:
            wait_for_a_door_that_stays_shut()
        return super().generate(*args, **kwargs)


def stuck_batches(rank: int) -> Iterator[Batch]:
    source = batches(rank, 2)
    yield next(source)
    wait_for_a_door_that_stays_shut()
    yield from source


def train_until_stuck(rank: int, config: JobConfig, folder: str, where: str) -> None:
    stage = StuckStage() if (rank, where) == (1, "step") else LinearStage()
    source = stuck_batches(rank) if (rank, where) == (1, "data") else batches(rank, 2)
    order = SampleOrder((100,), seed=0, shuffle_parts=1, workers=2, batch_size=2)
    context = WorkerContext(torch.device("cpu"), rank, 2)
    with (
        Path(folder, f"log-{rank}").open("w") as log,
        contextlib.redirect_stdout(log),
        hang_watch(Storage(folder), context.place, rank=rank, workers=2, limit_s=LIMIT_S),
    ):
        run_loop(stage, source, order, config, Rows(), context=context)


@pytest.mark.slow
@pytest.mark.parametrize(("where", "doing"), [("step", "computing"), ("data", "waiting for data")])
def test_before_a_step_fails_all_ranks_leave_their_stacks(
    tmp_path: Path, where: str, doing: str
) -> None:
    config = debug_config(tmp_path, max_steps=3, checkpoint_every=3)
    with pytest.raises(Exception, match=r"[Tt]imed out"):
        run_ranks(2, train_until_stuck, config, str(tmp_path), where, timeout_s=LIMIT_S)
    stacks = tmp_path / FOLDER
    assert sorted(path.name for path in stacks.iterdir()) == ["rank-0000.txt", "rank-0001.txt"]
    stuck, waiting = (stacks / f"rank-000{rank}.txt" for rank in (1, 0))
    assert "in wait_for_a_door_that_stays_shut" in stuck.read_text()
    assert "in wait_for_a_door_that_stays_shut" not in waiting.read_text()
    assert "step.py" in waiting.read_text()
    assert json.loads(stuck.read_text().splitlines()[0])["doing"] == doing
    # A machine that is slow to start is said as well.
    said = (tmp_path / "log-0").read_text().splitlines()[-1]
    assert f"after step 1; it fails after {LIMIT_S} s (workers.timeout_s): rank 1 " in said
    assert f"rank 1 has not arrived ({doing} on " in said
    assert said.endswith(f": {stuck}")
    assert "step 1" not in (tmp_path / "log-1").read_text(), "one rank says it"


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_each_hang_writes_once_and_a_rank_that_is_stopped_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Not capsys: what a thread prints while it is read is lost.
    said = io.StringIO()
    monkeypatch.setattr("sys.stdout", said)
    now = [0.0]
    place = Place(lambda: now[0])
    file = tmp_path / FOLDER / "rank-0000.txt"
    # The only one of two: the other can write nothing.
    with hang_watch(Storage(tmp_path), place, rank=0, workers=2, limit_s=1.0):
        for step in range(1, 4):
            now[0] += 0.6
            place.enter("computing")
            place.arrive(step)
        assert not file.exists()
        now[0] += 0.75
        until(file.exists)
        now[0] += 0.1
        until(lambda: "rank 1 has not arrived and writes nothing" in said.getvalue())
        assert "after step 3" in said.getvalue()
        file.unlink()
        place.arrive(4)
        now[0] += 0.75
        until(file.exists)
        place.arrive(5)
    assert "test_each_hang_writes_once" in file.read_text(), "the stack of every thread"
    assert "after step 4" not in said.getvalue(), "it went on"


def test_the_lowest_rank_that_writes_says_it_for_all(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, now = Storage(tmp_path).join(FOLDER), [0.0]
    place = Place(lambda: now[0])
    at = datetime.now(UTC).isoformat()
    folder.write("rank-0001.txt", json.dumps(asdict(stand(1, 0, at=at))).encode() + b"\n")
    with hang_watch(Storage(tmp_path), place, rank=2, workers=3, limit_s=60.0):
        now[0] += 60.0
        until(lambda: "rank-0002.txt" in folder.list())
    assert not capsys.readouterr().out, "rank 1 does"


def test_storage_that_fails_ends_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(self: Storage, name: str, data: bytes) -> None:
        raise StorageError("it is full")

    monkeypatch.setattr(Storage, "write", refuse)
    said, now = io.StringIO(), [0.0]
    monkeypatch.setattr("sys.stdout", said)
    place = Place(lambda: now[0])
    with hang_watch(Storage(tmp_path), place, rank=0, workers=1, limit_s=1.0):
        now[0] += 1.0
        text = "rank 0 hangs, and its stacks are not kept: StorageError: it is full"
        until(lambda: text in said.getvalue())
    assert said.getvalue().count("hangs") == 1


def test_of_many_threads_none_is_left_out(tmp_path: Path) -> None:
    now, over = [0.0], threading.Event()
    place = Place(lambda: now[0])
    many = [threading.Thread(target=over.wait, name=f"idle {number}") for number in range(150)]
    for thread in many:
        thread.start()
    file = tmp_path / FOLDER / "rank-0000.txt"
    with hang_watch(Storage(tmp_path), place, rank=0, workers=1, limit_s=1.0):
        now[0] += 1.0
        until(file.exists)
    over.set()
    stacks = file.read_text().split("\nThread ")
    assert "(MainThread)" in stacks[1], "what the rank does comes first"
    assert "in test_of_many_threads_none_is_left_out" in stacks[1]
    assert sum("(idle " in stack for stack in stacks) == len(many)


def test_files_that_cannot_be_read_are_said_and_count_as_absent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, now = Storage(tmp_path).join(FOLDER), [0.0]
    strange = {
        "rank-0000.txt": b"\xff\xfe",
        "rank-0001.txt": b"[1]\n",
        "rank-0002.txt": b'{"rank": 2}\n',
        "rank-0003.txt": json.dumps(asdict(stand(3, 0, at="yesterday"))).encode(),
        "rank-0004.txt": json.dumps(asdict(stand(4, 0, at="2026-12-01T01:00:00"))).encode(),
        "rank-0005.txt": json.dumps(asdict(stand(5, 0)) | {"passed": "9"}).encode(),
    }
    for name, data in strange.items():
        folder.write(name, data)
    place, said = Place(lambda: now[0]), io.StringIO()
    monkeypatch.setattr("sys.stdout", said)
    with hang_watch(Storage(tmp_path), place, rank=6, workers=7, limit_s=1.0):
        for step in (1, 2):
            place.arrive(step)
            now[0] += 1.0
            until(lambda step=step: f"after step {step}" in said.getvalue())
    for rank, name in enumerate(strange):
        assert f"rank {rank} has not arrived and writes nothing" in said.getvalue()
        assert said.getvalue().count(f"{folder.uri}/{name} does not say where a rank stood") == 1


def test_storage_that_hangs_does_not_keep_a_rank(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, answer = threading.Event(), threading.Event()

    def hang(self: Storage, name: str, data: bytes) -> None:
        asked.set()
        answer.wait()

    monkeypatch.setattr(Storage, "write", hang)
    # A rank that is kept goes on then, and the test fails.
    rescue = threading.Timer(120, answer.set)
    rescue.start()
    said, now = io.StringIO(), [0.0]
    monkeypatch.setattr("sys.stdout", said)
    with hang_watch(Storage(tmp_path), Place(lambda: now[0]), rank=0, workers=1, limit_s=1.0):
        now[0] += 1.0
        asked.wait()
    assert not answer.is_set()
    rescue.cancel()
    answer.set()
    assert "rank 0 does not wait for its stacks" in said.getvalue()


def stand(rank: int, passed: int, joint: int = 0, at: str = "2026-12-01T01:00:00+00:00") -> Stand:
    return Stand(rank, f"host{rank}", 1, at, 7, "computing", passed, joint, 70.0)


def test_the_ranks_that_have_passed_less_than_others_are_named() -> None:
    folder = Storage("/runs/a/stacks")
    found = {0: stand(0, 9, 4), 1: stand(1, 9, 3), 2: stand(2, 8, 4), 3: stand(3, 9, 4)}
    text = describe_hang(found, 4, folder, 100.0)
    assert text == (
        "no step for 70 s after step 7; it fails after 100 s (workers.timeout_s):"
        " rank 1 has not arrived (computing on host1): /runs/a/stacks/rank-0001.txt;"
        " rank 2 has not arrived (computing on host2): /runs/a/stacks/rank-0002.txt"
    )
    same = describe_hang({0: stand(0, 9), 1: stand(1, 9)}, 2, folder, 100.0)
    assert "all ranks are at one place (computing): /runs/a/stacks" in same


def test_stacks_of_an_earlier_hang_are_not_of_this_one() -> None:
    now, before = stand(0, 9), stand(1, 1, at="2026-12-01T00:55:00+00:00")
    assert not now.is_of_the_time_of(before, 300.0)
    assert now.is_of_the_time_of(stand(1, 9, at="2026-12-01T01:00:20+00:00"), 300.0)

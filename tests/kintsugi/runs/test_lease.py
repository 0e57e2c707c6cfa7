"""One submission trains a run at a time; one that was lost does not keep it."""

import dataclasses
import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest
import torch

from kintsugi.errors import ConfigError, StorageError
from kintsugi.runs import lease
from kintsugi.runs.lease import OWNER_NAME, Lease, LeaseLost, Owner, hold_lease, owner_of
from kintsugi.runs.metrics_log import MetricsWriter, read_metrics
from kintsugi.runs.run import Run
from kintsugi.storage.storage import Storage
from kintsugi.train import local
from tests.kintsugi.training_runs import debug_config, pack_photos

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Storage(tmp_path / "run"))


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    # A busy machine may send none for seconds: that is no silence yet.
    monkeypatch.setattr(lease, "HEARTBEAT_SECONDS", 0.05)
    monkeypatch.setattr(lease, "SILENT_SECONDS", 120.0)


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses while signs of life are waited for; they take no time of the test's."""
    slept: list[float] = []
    monkeypatch.setattr("kintsugi.runs.lease.time.sleep", slept.append)
    monkeypatch.setattr("kintsugi.runs.lease.time.monotonic", lambda: sum(slept))
    return slept


def name(run: Run, **values: str | int) -> Owner:
    """Write the name of a submission that is not there."""
    owner = Owner(**({"token": "t", "host": "h", "pid": 1, "place": "", "since": "noon"} | values))
    run.storage.write(OWNER_NAME, lease._OWNER.dump_json(owner))
    return owner


def test_a_second_submission_is_refused_while_the_first_trains(quick: None, run: Run) -> None:
    with hold_lease(run) as token:
        words = rf"another submission \(process {os.getpid()} on"
        with pytest.raises(ConfigError, match=words), hold_lease(run):
            pytest.fail("both train it")
        Lease(run, token, rank=0, device=CPU).check()


def test_of_two_that_begin_at_the_same_moment_at_most_one_trains(
    quick: None, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    together, find = threading.Barrier(2, timeout=60), lease.owner_of
    left = [2]

    def found(run: Run) -> Owner | None:
        owner = find(run)
        if left[0]:
            # Neither has written its name when both have looked for another's.
            left[0] -= 1
            together.wait()
        return owner

    monkeypatch.setattr(lease, "owner_of", found)
    entered, refused, end = list[str](), list[ConfigError](), threading.Event()

    def submit() -> None:
        try:
            with hold_lease(run) as token:
                entered.append(token)
                end.wait(60)
        except ConfigError as error:
            refused.append(error)
            end.set()

    submissions = [threading.Thread(target=submit) for _ in range(2)]
    for each in submissions:
        each.start()
    for each in submissions:
        each.join()
    assert len(entered) <= 1
    assert "begins to train it at this moment" in str(refused[0])
    # Nothing of it is in the way of the next.
    with hold_lease(run):
        pass


def test_one_that_was_lost_while_it_began_is_not_in_the_way(run: Run, pauses: list[float]) -> None:
    run.storage.write("owner/lost.beat", b"0")
    with hold_lease(run):
        assert sum(pauses) >= lease.SILENT_SECONDS
    assert len(run.storage.list()) == 2


def test_the_next_begins_at_once_when_one_has_ended(
    run: Run, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(ValueError, match="failed"), hold_lease(run):
        raise ValueError("failed")
    with hold_lease(run) as token:
        Lease(run, token, rank=0, device=CPU).check()
    assert pauses == []
    assert not caplog.records
    # Only the last one's files stay.
    assert len(run.storage.list()) == 2


def test_one_that_gives_no_sign_of_life_is_taken_over(
    run: Run, pauses: list[float], caplog: pytest.LogCaptureFixture
) -> None:
    lost = name(run)
    run.storage.write(lost.heartbeat_name, b"7")
    with caplog.at_level(logging.WARNING), hold_lease(run):
        assert sum(pauses) >= lease.SILENT_SECONDS
    assert len(pauses) > 10, "it looked again and again"
    assert "(process 1 on h, since noon) was lost: this one takes over" in caplog.text


def test_a_process_of_this_machine_that_is_gone_is_not_waited_for(
    run: Run, pauses: list[float]
) -> None:
    ended = subprocess.run(
        [sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True
    )
    lost = name(run, pid=int(ended.stdout), place=lease._place())
    run.storage.write(lost.heartbeat_name, b"7")
    with hold_lease(run):
        assert pauses == []
    # Elsewhere the same number is another process's.
    assert lost.is_dead()
    assert not dataclasses.replace(lost, place="another boot").is_dead()
    assert not dataclasses.replace(lost, pid=os.getpid()).is_dead()


def test_one_that_wakes_up_again_writes_no_more(quick: None, run: Run) -> None:
    with hold_lease(run) as earlier:
        lost = Lease(run, earlier, rank=0, device=CPU)
        lost.check()
        name(run)
        assert lost.is_lost()
        with pytest.raises(LeaseLost, match="process 1 on h, since noon"):
            lost.check()
    # Its end is not the other's.
    assert str(owner_of(run)) == "process 1 on h, since noon"


def test_a_rank_without_a_submission_asks_nothing(run: Run) -> None:
    Lease(run, "", rank=0, device=CPU).check()


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"\xff"])
def test_a_name_that_cannot_be_read_is_reported(run: Run, text: bytes) -> None:
    run.storage.write(OWNER_NAME, text)
    with pytest.raises(StorageError, match=r"submission\.json cannot be read: delete it if"):
        owner_of(run)


@pytest.mark.slow
def test_a_run_that_is_taken_over_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=8, checkpoint_every=2)
    run, add = Run.of(config), MetricsWriter.add

    def take_over(writer: MetricsWriter, row: dict[str, float]) -> None:
        if row["step"] == 5:
            name(run)
        add(writer, row)

    monkeypatch.setattr(MetricsWriter, "add", take_over)
    with pytest.raises(LeaseLost, match="process 1 on h"):
        local.fit(config)
    assert run.checkpoints.newest_whole() == 4
    rows = read_metrics(run.storage.join("metrics"))
    assert [row["step"] for row in rows] == [1, 2, 3, 4]

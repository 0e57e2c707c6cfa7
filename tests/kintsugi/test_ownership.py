"""Of two submissions of one run the later one trains it, and the earlier one writes no more."""

import dataclasses
import json
import logging
from pathlib import Path

import pytest
import torch

from kintsugi import alone
from kintsugi.ownership import OWNER_NAME, Ownership, TakenOver, owner_of, owning
from kintsugi.runs import Run
from kintsugi.storage import Storage
from kintsugi.tracking import MetricsWriter, read_metrics
from tests.kintsugi.training_runs import debug_config, losses, pack_photos

CPU = torch.device("cpu")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return Run(Storage(tmp_path / "run"))


def test_a_submission_names_itself_as_long_as_it_trains(run: Run) -> None:
    with owning(run) as token:
        Ownership(run, token, rank=0, device=CPU).check()
        assert "since 20" in str(owner_of(run))
    assert owner_of(run) is None


def test_the_later_submission_takes_over_and_says_from_whom(
    run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    with owning(run) as earlier:
        first = owner_of(run)
        assert not caplog.records
        with caplog.at_level(logging.WARNING), owning(run) as later:
            assert str(first) in caplog.text
            Ownership(run, later, rank=0, device=CPU).check()
            lost = Ownership(run, earlier, rank=0, device=CPU)
            assert lost.is_lost()
            with pytest.raises(TakenOver) as refusal:
                lost.check()
            assert str(owner_of(run)) in str(refusal.value)
        with pytest.raises(TakenOver, match="one that has ended since"):
            lost.check()


def test_ending_does_not_take_the_run_from_who_took_it_over(run: Run) -> None:
    later = {"token": "other", "host": "there", "pid": 1, "since": "2026-01-01"}
    with owning(run):
        run.storage.write(OWNER_NAME, json.dumps(later).encode())
    assert str(owner_of(run)) == "process 1 on there, since 2026-01-01"


def test_one_that_fails_leaves_its_name(run: Run) -> None:
    with pytest.raises(ValueError, match="lost"), owning(run):
        raise ValueError("lost")
    assert owner_of(run) is not None


def test_a_rank_without_a_submission_asks_nothing(run: Run) -> None:
    Ownership(run, "", rank=0, device=CPU).check()


@pytest.mark.slow
def test_a_run_that_is_taken_over_writes_no_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=8, checkpoint_every=2)
    run, add = Run.of(config), MetricsWriter.add

    def take_over(writer: MetricsWriter, row: dict[str, float]) -> None:
        if row["step"] == 5:
            monkeypatch.setattr(MetricsWriter, "add", add)
            # Trains on from step 4 to the end while the other is at its step 5.
            alone.fit(config)
        add(writer, row)

    monkeypatch.setattr(MetricsWriter, "add", take_over)
    with pytest.raises(TakenOver, match="one that has ended since"):
        alone.fit(config)
    # What the later one wrote stands as it wrote it.
    assert run.checkpoints.newest_whole() == 8
    rows = read_metrics(run.storage.join("metrics"))
    assert [row["step"] for row in rows] == list(range(1, 9))
    undisturbed = dataclasses.replace(config, run="undisturbed")
    whole = alone.fit(undisturbed)
    assert losses(rows) == losses(whole.metrics)

"""A run in one process: to its end, on from where it was, and asked to stop."""

import dataclasses
import os
import signal
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError
from kintsugi.runs.metrics_log import MetricsWriter
from kintsugi.runs.run import Run
from kintsugi.train import local
from tests.kintsugi.training_runs import debug_config, pack_photos


@pytest.mark.slow
def test_a_run_ends_and_then_is_finished(tmp_path: Path) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path)

    trained, again = local.fit(config), local.fit(config)

    assert (trained.first_step, trained.last_step, trained.stopped) == (0, 3, False)
    assert [row["step"] for row in trained.metrics] == [1, 2, 3]
    assert (again.first_step, again.last_step) == (3, 3)
    assert again.metrics == trained.metrics


@pytest.mark.slow
def test_sigterm_leaves_a_checkpoint_to_go_on_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=8, checkpoint_every=8)
    add = MetricsWriter.add

    def interrupt(writer: MetricsWriter, row: dict[str, float]) -> None:
        add(writer, row)
        if row["step"] == 3:
            os.kill(os.getpid(), signal.SIGTERM)

    before = signal.getsignal(signal.SIGTERM)
    monkeypatch.setattr(MetricsWriter, "add", interrupt)
    stopped = local.fit(config)
    assert stopped.stopped
    assert 3 <= stopped.last_step < 8
    assert Run.of(config).checkpoints.steps() == [stopped.last_step]
    assert signal.getsignal(signal.SIGTERM) is before

    monkeypatch.setattr(MetricsWriter, "add", add)
    went_on = local.fit(config)
    assert (went_on.first_step, went_on.last_step) == (stopped.last_step, 8)
    assert [row["step"] for row in went_on.metrics] == list(range(1, 9))


def test_one_process_is_one_worker_and_needs_the_gpu_that_it_asks_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = debug_config(tmp_path)
    many = dataclasses.replace(config, workers=dataclasses.replace(config.workers, count=2))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    on_gpu = dataclasses.replace(config.workers, use_gpu=True)
    with pytest.raises(ConfigError, match="device 'cuda': PyTorch finds no GPU here"):
        local.fit(dataclasses.replace(config, workers=on_gpu))
    with pytest.raises(ConfigError, match=r"workers\.count=2: without Ray there is one"):
        local.fit(many)

"""Callbacks that a configuration names are Ray Train's, and none of them ends a run."""

import dataclasses
import json
import logging
from pathlib import Path
from typing import Any

import pytest
from ray.train import UserCallback

from kintsugi.errors import ConfigError
from kintsugi.train.cluster.ray_callbacks import load_callbacks
from tests.kintsugi.training_runs import debug_config, pack_photos

HERE = "tests.kintsugi.train.cluster.test_ray_callbacks"


class Journal(UserCallback):  # type: ignore[misc]
    """Writes down what it hears of, next to the run's folder."""

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        file = Path(run_context.run_config.storage_path).parent / "journal.jsonl"
        with Path("/", file).open("a") as lines:
            row = {"step": metrics[0]["step"], "checkpoint": Path(checkpoint.path).name}
            lines.write(json.dumps(row) + "\n")


class Broken(UserCallback):  # type: ignore[misc]
    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        raise ConnectionError("no route to the tracker")


class NoCallback:
    pass


def test_what_is_none_is_refused() -> None:
    for name, why in {
        "Journal": r'write it as "package.module:Class"',
        "kintsugi.nowhere:Journal": "No module named 'kintsugi.nowhere': it must be importable",
        f"{HERE}:Absent": "has no attribute 'Absent': it must be importable",
        f"{HERE}:NoCallback": "makes a NoCallback: it must be a ray.train.UserCallback",
    }.items():
        with pytest.raises(ConfigError, match=f"workers.callbacks: '{name}'.*{why}"):
            load_callbacks([name])


def test_one_that_fails_is_one_warning(caplog: pytest.LogCaptureFixture) -> None:
    (broken,) = load_callbacks([f"{HERE}:Broken"])
    with caplog.at_level(logging.WARNING):
        broken.after_report(None, [], None)
        broken.after_report(None, [], None)
        broken.after_exception(None, {})
    (record,) = caplog.records
    assert f"without the callback {HERE}:Broken: ConnectionError: no route" in record.getMessage()


@pytest.mark.ray
def test_ray_calls_them_and_one_that_fails_ends_nothing(local_ray: object, tmp_path: Path) -> None:
    from kintsugi.train.ray_trainer import fit

    pack_photos(tmp_path)
    config = debug_config(tmp_path, max_steps=4, checkpoint_every=2)
    workers = dataclasses.replace(
        config.workers, callbacks=(f"{HERE}:Broken", f"{HERE}:Journal"), max_failures=0
    )
    trained = fit(dataclasses.replace(config, workers=workers))
    assert trained.last_step == 4
    lines = (tmp_path / "runs" / "journal.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"step": step, "checkpoint": f"step-{step:08d}"} for step in (2, 4)
    ]

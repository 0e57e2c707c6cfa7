"""A run on Ray and callbacks of it, for all who look at what it reported."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray.train import UserCallback

from kintsugi.config.run_config import JobConfig
from kintsugi.runs.run import Trained

HERE = "tests.kintsugi.train.cluster.reported_run"


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


@dataclass(frozen=True)
class ReportedRun:
    """A run of three steps, each with a checkpoint, of which two were kept.

    Attributes: ``journal``: what its callback wrote down.
    """

    config: JobConfig
    trained: Trained
    journal: list[dict[str, Any]]

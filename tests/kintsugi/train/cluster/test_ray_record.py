"""Ray's own record of a run's checkpoints can be read by Ray, whatever was pruned or cut short."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest

from kintsugi.runs.run import Run
from kintsugi.train.cluster.ray_record import RAY_SNAPSHOT, mend
from tests.kintsugi.train.cluster.reported_run import ReportedRun


def record(*names: str, version: str = "2") -> dict[str, Any]:
    results = [{"version": 0, "checkpoint_dir_name": name, "metrics": {}} for name in names]
    return {
        "ray_version": version,
        "checkpoint_results": results,
        "checkpoint_report_indices": list(range(len(names))),
        "latest_checkpoint_result": results[-1],
        "current_report_index": len(names),
        "pending_training_results": results[:1],
    }


def test_it_names_what_is_whole_and_each_once() -> None:
    text = json.dumps(record("a", "b", "c", "d", "b")).encode()
    mended = json.loads(mend(text, {"b", "c"}, "2") or b"")
    assert [each["checkpoint_dir_name"] for each in mended["checkpoint_results"]] == ["b", "c"]
    assert mended["checkpoint_report_indices"] == [4, 2]
    assert mended["latest_checkpoint_result"]["checkpoint_dir_name"] == "c"
    assert mended["current_report_index"] == 5
    assert mended["pending_training_results"] == []
    assert json.loads(mend(text, set(), "2") or b"")["latest_checkpoint_result"] is None


@pytest.mark.parametrize("text", [b"", b'{"ray_version": ', b"[]", b'{"ray_version": "2"}'])
def test_what_cannot_be_read_is_none(text: bytes) -> None:
    assert mend(text, {"a"}, "2") is None


def test_the_record_of_another_ray_is_none() -> None:
    assert mend(json.dumps(record("a", version="1")).encode(), {"a"}, "2") is None


# Of Ray's own reader.
@pytest.mark.filterwarnings("ignore:The `parse_obj` method is deprecated")
@pytest.mark.ray
def test_ray_reads_the_checkpoints_of_a_run_and_of_a_resumed_one(
    reported_run: ReportedRun,
) -> None:
    from ray.train import Result

    from kintsugi.train.ray_trainer import fit

    config = reported_run.config
    checkpoints = Run.of(config).checkpoints
    # Ray writes all that were reported; the run has deleted the first.
    assert checkpoints.steps() == [2, 3]
    result = Result.from_path(checkpoints.storage.uri)
    assert Path(result.checkpoint.path).name == "step-00000003"
    assert result.metrics["step"] == 3
    assert [metrics["step"] for _, metrics in result.best_checkpoints] == [2, 3]
    # As it is left by a submission that was ended in the middle.
    text = json.loads(checkpoints.storage.read(RAY_SNAPSHOT))
    gone = dict(text["checkpoint_results"][0], checkpoint_dir_name="step-00000001")
    text["checkpoint_results"].insert(0, gone)
    text["checkpoint_report_indices"].insert(0, 0)
    checkpoints.storage.write(RAY_SNAPSHOT, json.dumps(text).encode())
    longer = dataclasses.replace(config, loop=dataclasses.replace(config.loop, max_steps=4))
    trained = fit(longer)
    assert (trained.first_step, trained.last_step) == (3, 4)
    result = Result.from_path(checkpoints.storage.uri)
    assert [metrics["step"] for _, metrics in result.best_checkpoints] == [3, 4]

"""Callbacks that a configuration names are Ray Train's, and none of them ends a run."""

import logging

import pytest

from kintsugi.errors import ConfigError
from kintsugi.train.cluster.ray_callbacks import load_callbacks
from tests.kintsugi.train.cluster.reported_run import HERE, ReportedRun


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
def test_ray_calls_them_and_one_that_fails_ends_nothing(reported_run: ReportedRun) -> None:
    assert reported_run.trained.last_step == 3
    assert reported_run.journal == [
        {"step": step, "checkpoint": f"step-{step:08d}"} for step in (1, 2, 3)
    ]

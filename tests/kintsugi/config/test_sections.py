"""What the sections of a configuration refuse by themselves."""

from typing import Any

import pytest

from kintsugi.config.sections import WorkersSection


@pytest.mark.parametrize(
    ("keys", "message"),
    [
        ({"count": 0}, "count=0: at least 1"),
        ({"min_count": -1}, "min_count=-1: at least 0"),
        ({"count": 2, "min_count": 3}, "min_count=3 is more than count=2"),
        ({"timeout_s": 0}, "timeout_s=0: at least 1"),
        ({"cpus": 0.0}, "cpus=0.0: more than 0"),
        ({"resources": {"CPU": 1.0}}, "resources: CPU=1: .*set by cpus"),
        ({"resources": {"memory": 0.0}}, "resources: memory=0: more than 0"),
        ({"accelerator_type": "A100"}, "needs use_gpu=true"),
    ],
)
def test_workers_that_cannot_be(keys: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        WorkersSection(**keys)


def test_workers_that_can_be() -> None:
    WorkersSection(count=2, min_count=2, use_gpu=True, accelerator_type="T4")

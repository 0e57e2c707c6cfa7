"""One Ray in this process for all tests that need no more: starting it is dear."""

import gc
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.object_store import Endpoint

ROOT = Path(__file__).parents[1]
# Logical: they bound how much runs at once.
NUM_CPUS = 8
TRIES = 4


@pytest.fixture(scope="session")
def local_ray(object_store: Endpoint) -> Iterator[Any]:
    """Ray with 8 logical CPUs whose workers find the code and the object store."""
    import ray

    with pytest.MonkeyPatch.context() as patch:
        # Workers inherit them, and the object store's. In a runtime environment they would make
        # the workers useless that Ray starts beforehand, which have none.
        patch.setenv("PYTHONPATH", str(ROOT / "platform"))
        patch.setenv("RAY_TRAIN_HEALTH_CHECK_INTERVAL_S", "0.2")
        start(ray)
    yield ray
    ray.shutdown()


def start(ray: Any) -> None:
    for left in reversed(range(TRIES)):
        # What is left of a start that failed still runs when it is forgotten, with the error or
        # by the collector, and says so as a warning.
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)
            try:
                ray.init(address="local", num_cpus=NUM_CPUS)
                return
            except Exception as error:
                # Ray gives its own processes 30 s, which a busy machine may need longer than.
                if not left or "timed out during startup" not in str(error):
                    raise
                ray.shutdown()
            gc.collect()


@pytest.fixture
def no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    """Compute in this process, even if another test has started Ray in it."""
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "is_initialized", lambda: False)

"""Fixtures and settings for all tests."""

import gc
import os
import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.object_store", "tests.local_ray"]

# Left unset, each cluster that a test starts would make up its own token.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Before anything imports PyTorch, and for the processes that tests start. The networks are so
# small that a second thread gains little; on a busy machine each would wait for the other.
NUM_THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Iterator[None]:
    """Spare garbage collections what is imported: it stays, and it is much."""
    gc.disable()
    try:
        yield
    finally:
        gc.freeze()
        gc.enable()


def pytest_unconfigure() -> None:
    """Let the interpreter end as it would: it collects what was imported, too."""
    gc.unfreeze()


@pytest.fixture(autouse=True)
def same_threads() -> Iterator[None]:
    """Give PyTorch its threads back after a test that computed with another number."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None and torch.get_num_threads() != NUM_THREADS:
        torch.set_num_threads(NUM_THREADS)

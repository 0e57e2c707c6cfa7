"""Fixtures and settings for all tests."""

import os
import sys
from collections.abc import Iterator

import pytest

pytest_plugins = ["tests.object_store", "tests.local_ray"]

# Left unset, each cluster that a test starts would make up its own token.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")


@pytest.fixture(autouse=True)
def all_threads() -> Iterator[None]:
    """Give PyTorch its threads back after a test that trained with fewer: later ones need them."""
    yield
    torch = sys.modules.get("torch")
    if torch is not None:
        torch.set_num_threads(os.cpu_count() or 1)

"""Fixtures and settings for all tests."""

import os

pytest_plugins = ["tests.object_store", "tests.local_ray"]

# Left unset, each cluster that a test starts would make up its own token.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")

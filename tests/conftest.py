"""Fixtures and settings for all tests."""

import gc
import os
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

pytest_plugins = ["tests.object_store", "tests.cloud_stores", "tests.local_ray"]

# Left unset, each cluster that a test starts would make up its own token.
os.environ.setdefault("RAY_AUTH_MODE", "disabled")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
# Before anything imports PyTorch, and for the processes that tests start. The networks are so
# small that a second thread gains little; on a busy machine each would wait for the other.
NUM_THREADS = int(os.environ.setdefault("OMP_NUM_THREADS", "1"))
# Marks of tests that run only when they are asked for.
ON_REQUEST = ("slow", "faults", "browser", "edge", "abuse")
# Each collects all tests for itself: more would cost more than they bring.
MOST_PROCESSES = 8


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Share the tests that start no cluster out among the cores: `pytest -m "not ray"`."""
    if hasattr(config, "workerinput"):
        # One of those processes itself, which must not share its part out again.
        return
    without_cluster = "not ray" in str(config.option.markexpr)
    if without_cluster and getattr(config.option, "numprocesses", 0) is None:
        # Two a core: a test often waits, for a server, a process, a limit of time.
        config.option.numprocesses = min(MOST_PROCESSES, 2 * len(os.sched_getaffinity(0)))
        # A file's tests stay together: they share what takes long to make.
        config.option.dist = "loadfile"
        # In the order in which they are collected, which is by how long they take.
        config.option.loadscopereorder = False


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """What would be left out whole need not be imported: it is half a second in each process."""
    on_request = collection_path.name in ("faults", "browser", "abuse") and collection_path.is_dir()
    if on_request and collection_path.name not in str(config.option.markexpr):
        return True
    only_ray = str(config.option.markexpr).strip() == "ray"
    if only_ray and collection_path.name.startswith("test_") and not _starts_ray(collection_path):
        return True
    return None


@cache
def _starts_ray(file: Path) -> bool:
    """Whether a file of tests has one that may start a cluster, found without importing it."""
    return "mark.ray" in file.read_text()


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless the selection names it: `pytest -m slow`."""
    # Those that are run on request are none of its own: tests/faults has its marks from one place.
    hidden = {
        item.path
        for item in items
        if item.get_closest_marker("ray")
        and not {mark.name for mark in item.iter_markers()} & set(ON_REQUEST)
    }
    if hidden := {path for path in hidden if not _starts_ray(path)}:
        raise pytest.UsageError(f"-m ray would not find them: write mark.ray in {hidden}")
    left_out = {name for name in ON_REQUEST if name not in str(config.option.markexpr)}
    others = [item for item in items if left_out & {mark.name for mark in item.iter_markers()}]
    if others:
        config.hook.pytest_deselected(items=others)
        items[:] = [item for item in items if item not in others]
    if hasattr(config, "workerinput"):
        # What takes long comes first: begun last, it would leave all other processes idle.
        slow = {item.path for item in items if item.get_closest_marker("slow")}
        items.sort(key=lambda item: item.path not in slow)


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

"""Processes that may die: each item's own doing, and the others are done, in order."""

import os
import time

import pytest

from kintsugi.errors import InvalidInput
from kintsugi.storage.child_processes import ProcessDied, map_in_processes
from kintsugi.storage.parallel import map_tasks


def worked(shared: int, item: int) -> int:
    """Slow for even items; item 3 ends its process as the kernel would."""
    if item == 3:
        os._exit(9)
    if item < 0:
        raise InvalidInput(f"{item} is negative", code="negative")
    time.sleep(0.05 * (item % 2))
    return shared * item


def test_a_process_that_dies_takes_one_item_with_it() -> None:
    found = dict(map_in_processes(worked, 10, range(6), 2))
    assert list(found) == [0, 1, 2, 3, 4, 5]
    died = found.pop(3)
    assert isinstance(died, ProcessDied)
    assert "exit code 9" in str(died)
    assert found == {item: 10 * item for item in (0, 1, 2, 4, 5)}


def test_what_is_raised_comes_as_it_was(monkeypatch: pytest.MonkeyPatch) -> None:
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.storage.parallel.ray_is_running", lambda: False)
    with pytest.raises(InvalidInput, match="-1 is negative") as caught:
        list(map_tasks(worked, 1, [1, -1], processes=1))
    assert caught.value.code == "negative"
    with pytest.raises(ProcessDied):
        list(map_tasks(worked, 1, [3], processes=1))
    lost = map_tasks(worked, 1, [1, 3], processes=1, on_lost=lambda item, why: -item)
    assert list(lost) == [1, -3]


def test_a_process_that_cannot_start_says_why(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(process: object) -> None:
        raise BlockingIOError("Resource temporarily unavailable")

    monkeypatch.setattr("multiprocessing.context.SpawnProcess.start", refused)
    with pytest.raises(BlockingIOError, match="temporarily unavailable"):
        list(map_in_processes(worked, 10, range(2), 1))

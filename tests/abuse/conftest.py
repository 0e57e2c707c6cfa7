"""A tiny release, and a list of what was measured; set KINTSUGI_ABUSE_JSON to a file for it."""

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.abuse.laptop import publish_tiny

ABUSE = [pytest.mark.abuse, pytest.mark.timeout(900)]
Note = Callable[[str, float], None]


@pytest.fixture(scope="session")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    return publish_tiny(tmp_path_factory.mktemp("release") / "tiny")


@pytest.fixture(scope="session")
def measured() -> Iterator[Note]:
    """Notes a figure; they are printed, and added to the file."""
    notes: list[tuple[str, float]] = []

    def note(what: str, value: float) -> None:
        notes.append((what, round(value, 3)))
        print(f"{what}: {value:.3f}")

    yield note
    if name := os.environ.get("KINTSUGI_ABUSE_JSON"):
        path = Path(name)
        before = json.loads(path.read_text()) if path.exists() else []
        path.write_text(json.dumps(before + notes, indent=1))

"""How the code is laid out: rooms that a person can take in, and names that are found."""

import re
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "platform" / "kintsugi", ROOT / "models", ROOT / "deploy"]
MOST_MODULES = 16
# Seconds that were measured, and a limit from above.
TIMED = re.compile(
    r"assert [^\n]*(?:monotonic|process_time|perf_counter|thread_time|time\.time)\(\) - \w+ <=? "
)
# They measure, each against what the machine gave them, and CI does not run them.
MEASURES = ROOT / "tests" / "abuse"


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_a_folder_holds_few_modules(package: Path) -> None:
    modules = Counter(path.parent for path in package.rglob("*.py"))
    full = {
        str(folder.relative_to(ROOT)): count
        for folder, count in modules.items()
        if count > MOST_MODULES
    }
    assert full == {}


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: path.name)
def test_no_module_has_anothers_name(package: Path) -> None:
    names = Counter(path.name for path in package.rglob("[!_]*.py"))
    assert [name for name, count in names.items() if count > 1] == []


def test_no_test_compares_seconds_with_a_limit() -> None:
    """A slow machine is no fault: count, order or a clock of the test's own prove the same."""
    found = [
        f"{path.relative_to(ROOT)}: {line.strip()}"
        for path in (ROOT / "tests").rglob("*.py")
        if MEASURES not in path.parents
        for line in path.read_text().splitlines()
        # What waits for something gives up some day.
        if TIMED.search(line) and "PATIENCE" not in line
    ]
    assert found == []

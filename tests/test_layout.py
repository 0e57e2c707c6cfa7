"""How the code is laid out: rooms that a person can take in, and names that are found."""

from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = [ROOT / "platform" / "kintsugi", ROOT / "models", ROOT / "deploy"]
MOST_MODULES = 16


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

"""What is mistyped is refused in one line before anything is loaded that is slow to load."""

import subprocess
import sys
from pathlib import Path

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
SCRIPT = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    heavy = {"ray", "torch", "pandas", "scipy", "sklearn", "skimage"} & sys.modules.keys()
    print(f"imports {sorted(heavy)}", flush=True)
"""


def refused(job: str, *flags: str) -> str:
    """The line by which a job ends. Fails where it loaded what is slow."""
    command = [sys.executable, "-c", SCRIPT, str(ROOT / "jobs" / job), *flags]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.stdout == "imports []\n", ended.stderr
    assert ended.returncode in (1, 2)
    return ended.stderr


@pytest.mark.parametrize("job", [("evaluate.py",), ("compare.py", "sheet")])
def test_methods_and_masks_that_stand_for_nothing(job: tuple[str, ...], tmp_path: Path) -> None:
    places = ["--output", str(tmp_path / "out")]
    places += ["--key", str(tmp_path / "key.json")] if len(job) > 1 else []
    line = refused(*job, "--methods", "telea,foo", *places)
    assert line.startswith("error: method 'foo' is not known: use one of ours,")
    line = refused(*job, "--methods", "telea,ns", "--masks", "foo-256", *places)
    assert line.startswith("error: ")
    assert "foo" in line


def test_a_mask_of_another_size_than_the_photograph(tmp_path: Path) -> None:
    Image.new("RGB", (40, 30)).save(tmp_path / "photo.png")
    Image.new("L", (30, 40), 255).save(tmp_path / "mask.png")
    files = [str(tmp_path / name) for name in ("photo.png", "mask.png")]
    line = refused("fill.py", *files, "-o", str(tmp_path / "filled.png"))
    assert line.startswith("error: the mask is 30x40 px but the image is 40x30: send both at")

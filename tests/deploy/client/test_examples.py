"""The examples of docs/how-to/clients.md, run as they are written: a fill in each language."""

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from kintsugi.deploy.api import build_api
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.inpainter import Inpainter
from tests.deploy.conftest import MASK, MODEL, PHOTO, decode, encode
from tests.http_server import serving

PAGE = Path(__file__).parents[3] / "docs" / "how-to" / "clients.md"
EXAMPLES = dict(re.findall(r"^```(\w+)\n(.*?)^```", PAGE.read_text(), re.DOTALL | re.MULTILINE))
RUNS = {
    "bash": ("curl", ["bash", "-ec"], "curl.png"),
    "python": (sys.executable, [sys.executable, "-c"], "python.png"),
    "javascript": ("node", ["node", "--input-type=module", "-e"], "javascript.png"),
}


@pytest.fixture(scope="module")
def url(inpainter: Inpainter) -> Iterator[str]:
    with serving(build_api(LocalEngine(inpainter, MODEL), AppArgs(release="unused"))) as found:
        yield found


@pytest.mark.parametrize("language", RUNS)
def test_an_example_fills_the_hole(language: str, url: str, tmp_path: Path) -> None:
    program, command, output = RUNS[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (tmp_path / "photo.jpg").write_bytes(encode(PHOTO))
    (tmp_path / "mask.png").write_bytes(encode(MASK))
    code = EXAMPLES[language].replace("http://127.0.0.1:8000", url)
    run = subprocess.run([*command, code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    filled = decode((tmp_path / output).read_bytes())
    assert filled.shape == PHOTO.shape
    assert (filled != PHOTO).any()
    if language != "bash":
        assert MODEL.name in run.stdout


@pytest.mark.parametrize("language", RUNS)
def test_an_example_says_why_it_failed(language: str, url: str, tmp_path: Path) -> None:
    program, command, _ = RUNS[language]
    if shutil.which(program) is None:
        pytest.skip(f"{program} is not installed")
    (tmp_path / "photo.jpg").write_bytes(encode(PHOTO))
    (tmp_path / "mask.png").write_bytes(encode(PHOTO))
    code = EXAMPLES[language].replace("http://127.0.0.1:8000", url)
    run = subprocess.run([*command, code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode != 0
    if language != "bash":
        assert "mask_not_gray" in run.stderr

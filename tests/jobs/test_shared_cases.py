"""Inputs on which people stopped, each with its right answer; the folder is not in the repository.

Small twins of each run everywhere, next to what they are of.
"""

import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.jobs.fill import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release

pytestmark = pytest.mark.usefixtures("no_ray")

CASES = Path(os.environ.get("KINTSUGI_SHARED", Path(__file__).parents[3] / "shared")) / "cases"


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> str:
    folder = tmp_path_factory.mktemp("release")
    config = ModelConfig("tiny")
    inpainter = build_inpainter(config, Vgg19Relu3.random(0), seed=0)
    save_release(folder, inpainter, ReleaseConfig("tiny", config, "random"), card="")
    return str(folder)


@pytest.fixture
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the case that is named by the test, as the current folder."""
    source = CASES / str(request.param)
    if not source.is_dir():
        pytest.skip(f"no {source}: set KINTSUGI_SHARED")
    copy = tmp_path / "case"
    shutil.copytree(source, copy)
    for path in (copy, *copy.rglob("*")):
        path.chmod(0o755 if path.is_dir() else 0o644)
    monkeypatch.chdir(copy)
    return copy


def fill(release: str, *arguments: str) -> int:
    return main([*arguments, f"--release={release}", "--processes=0"])


def rows(folder: Path) -> dict[str, dict[str, Any]]:
    lines = (folder / "report.jsonl").read_text().splitlines()
    return {row["id"]: row for row in map(json.loads, lines)}


@pytest.mark.parametrize("case", ["file-uri"], indirect=True)
def test_a_files_uri(case: Path, release: str) -> None:
    uri = f"file://{case}/my%20photo.png"
    assert fill(release, uri, "mask.png", "-o", "out.png") == DONE
    assert (case / "out.png").is_file()


@pytest.mark.parametrize("case", ["gray-stays-gray", "scan-1bit"], indirect=True)
def test_grey_stays_grey(case: Path, release: str) -> None:
    assert fill(release, "photo.png", "mask.png", "-o", "out.png") == DONE
    with Image.open("photo.png") as before, Image.open("out.png") as after:
        assert after.mode == before.mode
        red, green, blue = np.moveaxis(np.asarray(after.convert("RGB")), 2, 0)
    assert (red == green).all()
    assert (green == blue).all()


@pytest.mark.parametrize("case", ["hidden-files"], indirect=True)
def test_hidden_files_are_no_photographs(
    case: Path, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert fill(release, "images", "masks", "-o", "out") == DONE
    assert set(rows(case / "out")) == {"a.png"}
    said = capsys.readouterr().out
    assert "hidden files, left out" in said
    assert "._a.png" in said


@pytest.mark.parametrize("case", ["long-name"], indirect=True)
def test_long_names(case: Path, release: str) -> None:
    assert fill(release, "images", "masks", "-o", "out") == DONE
    found = rows(case / "out")
    assert len(found) == 4
    assert {row["status"] for row in found.values()} == {"done"}
    assert {"a.png", "c.png", "d.png"} <= {path.name for path in (case / "out").iterdir()}


@pytest.mark.parametrize("case", ["mask-on-transparent"], indirect=True)
def test_white_strokes_on_a_transparent_ground(case: Path, release: str) -> None:
    assert fill(release, "photo.png", "mask.png", "-o", "out.png") == DONE
    hole = np.asarray(Image.open("mask.png").convert("RGBA"))[..., 3] > 127
    before, after = (
        np.asarray(Image.open(name).convert("RGB")) for name in ("photo.png", "out.png")
    )
    changed = (before != after).any(axis=2)
    assert changed[hole].mean() > 0.9
    assert not changed[~hole].any()


@pytest.mark.parametrize("case", ["photo-called-mask"], indirect=True)
def test_a_photograph_called_mask(case: Path, release: str) -> None:
    (case / "EXPECTED.txt").unlink()
    assert fill(release, str(case), "-o", str(case.parent / "out")) == DONE
    found = rows(case.parent / "out")
    assert {name: row["status"] for name, row in found.items()} == {
        "carnival_mask.jpg": "done",
        "plain.png": "done",
    }


@pytest.mark.parametrize("case", ["png-with-a-tail"], indirect=True)
def test_bytes_after_a_png(case: Path, release: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert fill(release, "photo.png", "mask.png", "-o", "out.png") == DONE
    assert "bytes after the end of the picture dropped" in capsys.readouterr().out
    hole = np.asarray(Image.open("mask.png").convert("L")) > 127
    before, after = (
        np.asarray(Image.open(name).convert("RGB")) for name in ("photo.png", "out.png")
    )
    np.testing.assert_array_equal(after[~hole], before[~hole])


@pytest.mark.parametrize("case", ["skipped-unseen"], indirect=True)
def test_nothing_is_skipped_in_silence(
    case: Path, release: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code = fill(release, "images", "masks", "-o", "out")
    found = rows(case / "out")
    assert set(found) == {"IMG_1.HEIC", "IMG_2.jpg", "IMG_3.jfif", "IMG_4.bmp", "notes.txt"}
    assert found["notes.txt"]["status"] == "left_out"
    assert "notes.txt" in capsys.readouterr().out
    failed = [row for row in found.values() if row["status"] == "failed"]
    assert code == (SOME_REJECTED if failed else DONE)
    assert all(row["reason"] for row in failed)


@pytest.mark.parametrize("case", ["two-spellings"], indirect=True)
def test_two_spellings_of_one_name(case: Path, release: str) -> None:
    assert fill(release, "images", "masks", "-o", "out") == DONE
    assert [row["status"] for row in rows(case / "out").values()] == ["done"]

"""jobs/evaluate.py from the command line: figures, grid, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.jobs.evaluate import main


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    folder = tmp_path / "photos"
    folder.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save(folder / "a.png")
    return folder


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.evaluation.evaluate.ray_is_running", lambda: False)


def test_prints_a_table_and_writes_figures_and_grid(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--photos", str(photos), "--masks", "center-32-64", "--methods", "telea,ns"]
    files = ["--json", str(tmp_path / "new" / "f.json"), "--grid", str(tmp_path / "new" / "g.png")]
    assert main([*arguments, *files, "--encoder", "random", "--seed", "3"]) == DONE
    printed = capsys.readouterr().out
    assert "1 of 1: a.png" in printed
    assert f"wrote {tmp_path}/new/g.png" in printed
    assert "VGG distance (encoder: random (seed 3))" in printed
    figures = json.loads((tmp_path / "new" / "f.json").read_text())
    telea = figures["figures"][0]
    assert telea["method"] == "telea"
    assert f"{telea['metrics']['ssim']['mean']:.4f}" in printed
    with Image.open(tmp_path / "new" / "g.png") as grid:
        assert grid.width == 5 * 256


def test_an_interrupted_evaluation_goes_on_from_its_fills(photos: Path, tmp_path: Path) -> None:
    arguments = ["--photos", str(photos), "--masks", "center-32-64", "--methods", "telea,ns"]
    output = ["--output", str(tmp_path / "out")]

    def results() -> dict[str, object]:
        assert main([*arguments, *output]) == DONE
        found: dict[str, object] = json.loads((tmp_path / "out" / "results.json").read_text())
        return found

    first = results()
    assert {path.name for path in (tmp_path / "out").iterdir()} == {
        *("results.json", "results.md", "cases.jsonl", "grid.png", "fills")
    }
    assert [row["kept"] for row in first.pop("times")] == [0, 0]
    again = results()
    assert [row["kept"] for row in again.pop("times")] == [1, 1]
    assert again == first


def test_a_missing_result_is_exit_code_3(photos: Path, tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    Image.new("RGB", (64, 64)).save(tmp_path / "theirs" / "other.png")
    methods = f"telea,theirs=folder:{tmp_path / 'theirs'}"
    arguments = ["--photos", str(photos), "--masks", "center-32-64", "--methods", methods]
    assert main(arguments) == SOME_REJECTED


def test_a_reject_is_exit_code_3(photos: Path) -> None:
    (photos / "bad.png").write_bytes(b"no image")
    arguments = ["--photos", str(photos), "--masks", "center-32-64", "--methods", "telea"]
    assert main(arguments) == SOME_REJECTED


def test_no_encoder_no_vgg_distance(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    main(["--photos", str(photos), "--masks", "center-32-64", "--methods", "telea"])
    assert "feature distances not computed: name --encoder or --release" in capsys.readouterr().out


def test_unknown_names_are_usage(photos: Path) -> None:
    with pytest.raises(ConfigError):
        main(["--photos", str(photos), "--methods", "magic"])
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    with pytest.raises(SystemExit, match="2"):
        main(["--colour", "red"])

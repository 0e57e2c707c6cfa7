"""jobs/inpaint_folder.py from the command line with a real, tiny release."""

import io
import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs._bootstrap import DONE, SOME_REJECTED
from jobs.inpaint_folder import main
from kintsugi.errors import StorageError
from models.build import ModelConfig, build_inpainter
from models.vgg import Vgg19Relu3
from models.weights import ReleaseConfig, save_release

TINY = ModelConfig("tiny")


@pytest.fixture(autouse=True)
def _no_ray(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    # Another test may have started it in this process.
    monkeypatch.setattr("kintsugi.tasks.ray_is_running", lambda: False)


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    inpainter = build_inpainter(TINY, Vgg19Relu3.random(0), seed=0)
    config = ReleaseConfig(name="tiny", model=TINY, encoder="random (seed 0)")
    save_release(tmp_path / "release", inpainter, config, card="")
    for name in ("images", "masks"):
        (tmp_path / name).mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "images" / "a.png")
    mask = np.zeros((40, 70), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "masks" / "a_mask.png")
    places = [f"--{name}={tmp_path / name}" for name in ("images", "masks", "output", "release")]
    return [*places, f"--json={tmp_path / 'figures.json'}"]


def test_fills_a_folder(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == DONE
    assert "1 of 1: a.png: done" in capsys.readouterr().out
    before = np.array(Image.open(tmp_path / "images" / "a.png"))
    after = np.array(Image.open(io.BytesIO((tmp_path / "output" / "a.png").read_bytes())))
    changed = (before != after).any(axis=2)
    assert changed[10:30, 20:40].mean() > 0.9
    changed[10:30, 20:40] = False
    assert not changed.any()
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["photographs"], figures["tried"], figures["failed"]) == (1, 1, 0)
    assert main(arguments) == DONE
    assert json.loads((tmp_path / "figures.json").read_text())["tried"] == 0


def test_a_bad_file_is_exit_code_3_until_it_is_mended(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "images" / "bad.png").write_bytes(b"no image")
    (tmp_path / "masks" / "bad.png").write_bytes((tmp_path / "masks" / "a_mask.png").read_bytes())
    assert main(arguments) == SOME_REJECTED
    assert (tmp_path / "output" / "a.png").is_file()
    assert main(arguments) == SOME_REJECTED
    (tmp_path / "images" / "bad.png").write_bytes((tmp_path / "images" / "a.png").read_bytes())
    assert main([*arguments, "--retry-failed"]) == DONE


def test_without_a_release_nothing_is_started(arguments: list[str], tmp_path: Path) -> None:
    (tmp_path / "release" / "config.json").unlink()
    with pytest.raises(StorageError, match=r"release holds no config\.json"):
        main(arguments)
    assert not (tmp_path / "output").exists()

"""kintsugi fill of one photograph, from the command line with a real, tiny release."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.fill import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release

TINY = ModelConfig("tiny")


@pytest.fixture
def files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Photograph and mask in the current folder, and where the release is."""
    inpainter = build_inpainter(TINY, Vgg19Relu3.random(0), seed=0)
    config = ReleaseConfig(name="tiny", model=TINY, encoder="random (seed 0)")
    save_release(tmp_path / "release", inpainter, config, card="")
    pixels = np.random.default_rng(0).integers(0, 256, (40, 70, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    mask = np.zeros((40, 70), np.uint8)
    mask[10:30, 20:40] = 255
    Image.fromarray(mask).save(tmp_path / "mask.png")
    monkeypatch.chdir(tmp_path)
    return ["photo.png", "mask.png", f"--release={tmp_path / 'release'}"]


def test_fills_a_photograph_and_says_where_it_is(
    files: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*files, "-o", "./filled.png", "--json=figures.json"]) == DONE
    assert f"{tmp_path / 'filled.png'}: filled in" in capsys.readouterr().out
    before, after = (np.array(Image.open(tmp_path / n)) for n in ("photo.png", "filled.png"))
    changed = (before != after).any(axis=2)
    assert changed[10:30, 20:40].mean() > 0.9
    changed[10:30, 20:40] = False
    assert not changed.any()
    assert json.loads((tmp_path / "figures.json").read_text())["release"] == "tiny"


@pytest.mark.parametrize(("name", "format"), [("a.JPG", "JPEG"), ("a.webp", "WEBP")])
def test_the_ending_is_the_format(files: list[str], tmp_path: Path, name: str, format: str) -> None:
    assert main([*files, "-o", str(tmp_path / name)]) == DONE
    with Image.open(tmp_path / name) as image:
        assert image.format == format


def test_what_cannot_be_used_is_reported_and_nothing_written(
    files: list[str], tmp_path: Path
) -> None:
    photo, mask, release = files
    with pytest.raises(ConfigError, match=r"filled\.psd: let it end in one of \.png, \.jpg"):
        main([*files, "-o", "filled.psd"])
    with pytest.raises(StorageError, match=r"cannot read .*nothing\.png"):
        main([photo, "nothing.png", "-o", "filled.png", release])
    with pytest.raises(ConfigError, match=r"name the mask of photo\.png after it"):
        main([photo, "-o", "filled.png", release])
    with pytest.raises(ConfigError, match=r"nothing is at nowhere\.png"):
        main(["nowhere.png", mask, "-o", "filled.png", release])
    with pytest.raises(ConfigError, match=r"/out is no folder to write to"):
        main([*files, "-o", "out/filled.png"])
    Image.new("L", (70, 40)).save(mask)
    with pytest.raises(InvalidInput, match="the mask is empty"):
        main([*files, "-o", "filled.png"])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mask.png", "photo.png", "release"]


def test_what_is_there_is_replaced_where_it_is_and_stays_private(
    files: list[str], tmp_path: Path
) -> None:
    (tmp_path / "kept").mkdir()
    old = tmp_path / "kept" / "old.png"
    old.write_bytes(b"old")
    old.chmod(0o600)
    (tmp_path / "filled.png").symlink_to("kept/old.png")
    assert main([*files, "-o", "filled.png"]) == DONE
    assert (tmp_path / "filled.png").is_symlink()
    assert old.stat().st_mode & 0o777 == 0o600
    with Image.open(old) as image:
        assert image.size == (70, 40)


def test_inputs_and_what_is_no_file_are_never_replaced(files: list[str], tmp_path: Path) -> None:
    (tmp_path / "link.png").symlink_to("photo.png")
    os.link("mask.png", "second.png")
    os.mkfifo("pipe.png")
    (tmp_path / "folder.png").mkdir()
    before = {path: path.read_bytes() for path in tmp_path.glob("*.png") if path.is_file()}
    for name in ("photo.png", "./photo.png", "link.png", f"file://{tmp_path}/photo.png"):
        with pytest.raises(ConfigError, match=r"is photo\.png, which is read"):
            main([*files, "-o", name])
    for name in ("mask.png", "second.png"):
        with pytest.raises(ConfigError, match=r"is mask\.png, which is read"):
            main([*files, "-o", name, "--overwrite"])
    with pytest.raises(ConfigError, match=r"pipe\.png: it is a pipe, and no file: name a file"):
        main([*files, "-o", "pipe.png"])
    with pytest.raises(ConfigError, match=r"folder\.png is a folder: name a file in it"):
        main([*files, "-o", "folder.png"])
    assert {path: path.read_bytes() for path in before} == before
    assert (tmp_path / "pipe.png").is_fifo()


def test_options_that_would_do_nothing_are_refused(files: list[str]) -> None:
    with pytest.raises(ConfigError, match=r"--retry-failed is for folders, and photo\.png is one"):
        main([*files, "-o", "filled.png", "--retry-failed"])
    with pytest.raises(ConfigError, match=r"--processes 7 is for folders"):
        main([*files, "-o", "filled.png", "--processes=7"])
    with pytest.raises(ConfigError, match=r"ends as png does, and --format says jpeg.*\.jpg"):
        main([*files, "-o", "filled.png", "--format=jpeg"])
    assert main([*files, "-o", "filled.JPG", "--format=jpeg"]) == DONE
    assert main([*files, "-o", "filled.bin", "--format=webp", "--overwrite"]) == DONE
    for name, format in (("filled.JPG", "JPEG"), ("filled.bin", "WEBP")):
        with Image.open(name) as image:
            assert image.format == format


def test_a_picture_that_cannot_be_seen_is_the_users_error(files: list[str], tmp_path: Path) -> None:
    Image.new("RGBA", (70, 40), (9, 9, 9, 0)).save("photo.png")
    with pytest.raises(InvalidInput, match="all that is known is transparent"):
        main([*files, "-o", "filled.png"])
    Image.new("RGB", (70, 40)).save("photo.png")
    with pytest.raises(InvalidInput, match="after growing it by 64 px"):
        main([*files, "-o", "filled.png", "--grow-mask=64"])


def test_a_log_hears_how_far_long_work_is(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("kintsugi.jobs._one_photo._LINE_SECONDS", 0.0)
    assert main([*files, "-o", "filled.png"]) == DONE
    said = capsys.readouterr()
    assert said.err == "photo.png: 0%\n"
    assert "%" not in said.out


def test_a_terminal_shows_a_bar(
    files: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    assert main([*files, "-o", "filled.png"]) == DONE
    assert "photo.png" in capsys.readouterr().err

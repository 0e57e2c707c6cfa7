"""kintsugi fill of a folder, from the command line with a real, tiny release."""

import contextlib
import io
import json
import os
import socket
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError, StorageError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.jobs.fill import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from kintsugi.storage.storage import Storage

pytestmark = pytest.mark.usefixtures("no_ray")

TINY = ModelConfig("tiny")


def places(root: object) -> list[str]:
    return [f"{root}/images", f"{root}/masks", f"--output={root}/output"]


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
    return [
        *places(tmp_path),
        f"--release={tmp_path / 'release'}",
        f"--json={tmp_path / 'figures.json'}",
        "--processes=0",
    ]


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


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with a name")
def test_what_is_no_file_has_a_row_and_holds_nothing_up(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, masks = tmp_path / "images", tmp_path / "masks"
    os.mkfifo(images / "pipe.jpg")
    os.mkfifo(masks / "b.png")
    (images / "b.png").write_bytes((images / "a.png").read_bytes())
    (images / "zero.jpg").symlink_to("/dev/zero")
    # Its path may have 107 bytes, and this one has more.
    with socket.socket(socket.AF_UNIX) as bound, contextlib.chdir(images):
        bound.bind("socket.png")
    assert main(arguments) == SOME_REJECTED
    report = (tmp_path / "output" / "report.jsonl").read_text()
    rows = {row["id"]: row for row in map(json.loads, report.splitlines())}
    assert {name: (row["status"], row["code"], row["reason"]) for name, row in rows.items()} == {
        "a.png": ("done", "", ""),
        "b.png": ("failed", "mask_missing", "no mask named b or b_mask: add one"),
        "masks: b.png": ("left_out", "not_a_file", "it is a pipe, and no file"),
        "pipe.jpg": ("left_out", "not_a_file", "it is a pipe, and no file"),
        "socket.png": ("left_out", "not_a_file", "it is a socket, and no file"),
        "zero.jpg": ("left_out", "not_a_file", "it is a device, and no file"),
    }
    assert "left out, since none is a photograph: masks: b.png, pipe.jpg" in capsys.readouterr().out


def outcomes(output: Path) -> dict[str, str]:
    rows = map(json.loads, (output / "report.jsonl").read_text().splitlines())
    return {row["id"]: row["status"] for row in rows}


def test_masks_may_lie_among_the_photographs(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = arguments[3:]
    (tmp_path / "masks").rename(tmp_path / "images" / "masks")
    (tmp_path / "link").symlink_to("images/masks")
    (tmp_path / "one.png").write_bytes((tmp_path / "images/masks/a_mask.png").read_bytes())
    monkeypatch.chdir(tmp_path / "images")
    for number, masks in enumerate(("masks", "../link", "./masks/../masks")):
        assert main([".", masks, "-o", f"../out{number}", *rest]) == DONE
        assert outcomes(tmp_path / f"out{number}") == {"a.png": "done"}
    (tmp_path / "images" / "masks" / "a_mask.png").rename("a_mask.png")
    for number, masks in enumerate(("../images", "masks/..")):
        assert main([".", masks, "-o", f"../same{number}", *rest]) == DONE
        assert outcomes(tmp_path / f"same{number}") == {"a.png": "done"}
    assert main([".", "a_mask.png", "-o", "../one", *rest]) == DONE
    assert outcomes(tmp_path / "one") == {"a.png": "done"}


def test_an_output_among_the_inputs_is_found_by_where_it_is(
    arguments: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rest = arguments[3:]
    (tmp_path / "x").mkdir()
    (tmp_path / "plink").symlink_to("images")
    monkeypatch.chdir(tmp_path)
    for output in ("x/../images/out", "plink/out", "images/../masks"):
        with pytest.raises(ConfigError, match="lies among the"):
            main(["images", "masks", "-o", output, *rest])
    monkeypatch.chdir("images")
    assert main([".", "../masks", "-o", "../filled", *rest]) == DONE


@pytest.mark.slow
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


def write_mixed(root: Path) -> tuple[set[str], set[str]]:
    """200 photographs of several formats in folders; gives the names of good and of bad ones."""
    generator = np.random.default_rng(1)
    white = np.zeros((32, 40), np.uint8)
    white[8:20, 10:24] = 255
    suffixes = (".png", ".jpg", ".JPEG", ".webp", ".tif", ".tiff")
    names = [f"{'deep/' * (n % 3)}{n:03}{suffixes[n % 6]}" for n in range(200)]
    for n, name in enumerate(names):
        photo, mask = root / "images" / name, (root / "masks" / name)
        mask = mask.with_name(mask.stem + ("", "_mask", "_mask001")[n % 3] + ".png")
        for path in (photo, mask):
            path.parent.mkdir(parents=True, exist_ok=True)
        pixels = generator.integers(0, 256, (32, 40, 3), np.uint8)
        Image.fromarray(pixels).save(photo)
        Image.fromarray(white).save(mask)
    bad = set(names[::17])
    for n, name in enumerate(sorted(bad)):
        spoil(root, name, n)
    return set(names) - bad, bad


def spoil(root: Path, name: str, kind: int) -> None:
    """Make a photograph or its mask unusable, each kind in another way."""
    photo = root / "images" / name
    (mask,) = (root / "masks" / name).parent.glob(f"{photo.stem}*")
    match kind:
        case 0:
            photo.write_bytes(b"")
        case 1:
            photo.write_bytes(b"no image at all")
        case 2:
            photo.write_bytes(photo.read_bytes()[:90])
        case 3:
            mask.unlink()
        case 4:
            mask.with_name(f"{photo.stem}_mask9.png").write_bytes(mask.read_bytes())
        case 5:
            Image.new("L", (40, 32), 0).save(mask)
        case 6:
            Image.new("L", (40, 32), 255).save(mask)
        case 7:
            Image.new("L", (16, 32), 255).save(mask)
        case 8:
            Image.new("RGB", (40, 32), (255, 0, 0)).save(mask)
        case 9:
            mask.write_bytes(mask.read_bytes()[:60])
        case 10:
            Image.new("RGB", (1, 1)).save(photo)
        case 11:
            photo.write_bytes(b"GIF89a" + bytes(40))
        case _:
            raise AssertionError(kind)


@pytest.mark.slow
def test_200_mixed_files_with_12_bad_ones(arguments: list[str], tmp_path: Path) -> None:
    arguments = [*places(tmp_path / "mixed"), *arguments[3:]]
    good, bad = write_mixed(tmp_path / "mixed")
    output = tmp_path / "mixed" / "output"

    assert main(arguments) == SOME_REJECTED

    report = output / "report.jsonl"
    made = {str(path.relative_to(output)) for path in output.rglob("*.*")} - {report.name}
    assert (len(good), len(bad)) == (188, 12)
    # Each under its own name, in its own format.
    assert made == good
    rows = {row["id"]: row for row in map(json.loads, report.read_text().splitlines())}
    assert set(rows) == good | bad
    assert {name for name, row in rows.items() if row["status"] == "failed"} == bad
    assert all(row["reason"] and row["code"] for name, row in rows.items() if name in bad)
    assert len({rows[name]["code"] for name in bad}) >= 8

    figures = tmp_path / "figures.json"
    assert main(arguments) == SOME_REJECTED
    assert json.loads(figures.read_text())["tried"] == 0
    assert main([*arguments, "--retry-failed"]) == SOME_REJECTED
    # Two are refused by their names alone: no mask, or two.
    assert json.loads(figures.read_text())["tried"] == 10


@pytest.mark.slow
def test_buckets_in_and_out(arguments: list[str], tmp_path: Path, s3_uri: str) -> None:
    for name in ("images", "masks"):
        for file in (tmp_path / name).iterdir():
            Storage(f"{s3_uri}/{name}").write(f"deep/{file.name}", file.read_bytes())
    assert main([*places(s3_uri), *arguments[3:]]) == DONE
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["photographs"], figures["tried"], figures["failed"]) == (1, 1, 0)
    there = Storage(f"{s3_uri}/output")
    assert {"deep/a.png", "report.jsonl"} <= set(there.list())
    assert main(arguments) == DONE
    assert there.read("deep/a.png") == (tmp_path / "output" / "a.png").read_bytes()
    assert main([*places(s3_uri), *arguments[3:]]) == DONE
    assert json.loads((tmp_path / "figures.json").read_text())["tried"] == 0

"""kintsugi stylize, from the command line with a real, tiny release."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError, InvalidInput, StorageError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.jobs.stylize import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release

pytestmark = pytest.mark.usefixtures("no_ray")

TINY = ModelConfig("tiny")


@pytest.fixture
def arguments(tmp_path: Path) -> list[str]:
    inpainter = build_inpainter(TINY, Vgg19Relu3.random(0), seed=0)
    config = ReleaseConfig(name="tiny", model=TINY, encoder="random (seed 0)")
    save_release(tmp_path / "release", inpainter, config, card="")
    (tmp_path / "content").mkdir()
    pictures = np.random.default_rng(0).integers(0, 256, (2, 40, 70, 3), np.uint8)
    Image.fromarray(pictures[0]).save(tmp_path / "content" / "a.jpg")
    Image.fromarray(pictures[1]).save(tmp_path / "style.png")
    flags = [f"--{name}={tmp_path / name}" for name in ("output", "release")]
    files = [str(tmp_path / "content"), str(tmp_path / "style.png")]
    return [*files, *flags, f"--json={tmp_path / 'figures.json'}"]


@pytest.mark.slow
def test_restyles_a_folder(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == DONE
    assert "1 of 1: a.jpg: done" in capsys.readouterr().out
    with Image.open(tmp_path / "output" / "a.jpg") as answer:
        assert answer.size == (70, 40)
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert (figures["photographs"], figures["tried"], figures["failed"]) == (1, 1, 0)
    (tmp_path / "content" / "bad.png").write_bytes(b"no image")
    assert main(arguments) == SOME_REJECTED
    (tmp_path / "content" / "bad.png").write_bytes((tmp_path / "style.png").read_bytes())
    assert main([*arguments, "--retry-failed"]) == DONE
    assert json.loads((tmp_path / "figures.json").read_text())["tried"] == 1


def test_strength_decides(arguments: list[str], tmp_path: Path) -> None:
    made = []
    for strength in ("0", "1"):
        output = tmp_path / f"output-{strength}"
        assert main([*arguments, f"--strength={strength}", f"--output={output}"]) == DONE
        made.append((output / "a.jpg").read_bytes())
    assert made[0] != made[1]


def test_restyles_one_photograph(
    arguments: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder, style, _, *others = arguments
    out = tmp_path / "styled.png"
    assert main([f"{folder}/a.jpg", style, "-o", str(out), *others]) == DONE
    assert f"{out}: styled in" in capsys.readouterr().out
    with Image.open(out) as answer:
        assert (answer.size, answer.format) == ((70, 40), "PNG")
    assert json.loads((tmp_path / "figures.json").read_text())["release"] == "tiny"
    # By the folder's way the same pixels.
    assert main([folder, style, f"--output={tmp_path / 'all'}", "--format=png", *others]) == DONE
    assert (tmp_path / "all" / "a.png").read_bytes() == out.read_bytes()


def test_of_one_photograph_what_cannot_be_is_said_at_once(
    arguments: list[str], tmp_path: Path
) -> None:
    photo, rest = f"{arguments[0]}/a.jpg", [arguments[1], *arguments[3:]]
    with pytest.raises(ConfigError, match=r"styled: let it end in one of \.png"):
        main([photo, *rest, "-o", "styled"])
    with pytest.raises(ConfigError, match=r"nothing is at .*b\.jpg"):
        main([photo.replace("a.jpg", "b.jpg"), *rest, "-o", "styled.png"])
    for each in (photo, arguments[1]):
        with pytest.raises(ConfigError, match="which is read: inputs are never replaced"):
            main([photo, *rest, "-o", each])
    with pytest.raises(ConfigError, match="--retry-failed is for folders"):
        main([photo, *rest, "-o", "styled.png", "--retry-failed"])
    with pytest.raises(ConfigError, match="seed='one' is not one of its values"):
        main([photo, *rest, "-o", "styled.png", "--seed=one"])


def test_wrong_arguments_start_nothing(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="strength: 0 to 1"):
        main([*arguments, "--strength=2"])
    with pytest.raises(StorageError, match="nowhere"):
        main([arguments[0], str(tmp_path / "nowhere.png"), *arguments[2:]])
    assert not (tmp_path / "output").exists()


def test_a_style_that_is_too_small_is_refused_before_any_photograph(
    arguments: list[str], tmp_path: Path
) -> None:
    Image.new("RGB", (40, 15)).save(tmp_path / "style.png")
    with pytest.raises(InvalidInput) as caught:
        main(arguments)
    assert caught.value.code == "style_too_small"

"""jobs/benchmark_serve.py against the service in this process: figures, table, exit codes."""

import json
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.benchmark_serve import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.http_server import serving


@pytest.fixture
def release(tmp_path: Path) -> Path:
    config = ReleaseConfig(name="tiny", model=ModelConfig("tiny"), encoder="random (seed 0)")
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=0)
    save_release(tmp_path / "release", inpainter, config, card="")
    return tmp_path / "release"


@pytest.fixture
def url() -> Iterator[str]:
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=0)
    model = ModelInfo("tiny", "sha256:" + "0" * 64, "tiny")
    api = build_api(LocalEngine(inpainter, model), AppArgs(release="unused"))
    with serving(api) as url:
        yield url


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.mark.slow
def test_measures_a_running_service(
    url: str, release: Path, photo: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    where = ["--url", url, "--pid", str(os.getppid()), "--release", str(release)]
    what = ["--photo", str(photo), "--sizes", "64", "--holes", "0.1,0.3", "--rounds", "1"]
    short = ["--seconds", "0.5", "--overload", "2", "--threads", "1"]
    assert main([*where, *what, *short, "--json", str(tmp_path / "new" / "f.json")]) == DONE
    printed = capsys.readouterr().out
    assert "| 64 px, 10% hole, 1 rounds in turns |" in printed
    assert "0 of " in printed
    figures = json.loads((tmp_path / "new" / "f.json").read_text())
    comparison = figures["comparison"]
    assert comparison["same_image"]
    assert comparison["times_as_long"] == pytest.approx(
        comparison["service_seconds"][0] / comparison["process_seconds"][0]
    )
    assert [load["hole_share"] for load in figures["loads"]] == [0.1, 0.3]
    for load in figures["loads"]:
        assert load["statuses"] == {"200": load["requests"]}
        assert load["megapixels_per_second"] == pytest.approx(
            load["answered_per_second"] * 64 * 64 / 1e6
        )
    loaded = figures["overload"]["loaded"]
    assert loaded["statuses"] == {"200": loaded["requests"]}
    assert figures["overload"]["memory_bytes"]["before"] > 0


def test_what_cannot_be_measured_is_usage(release: Path, photo: Path) -> None:
    with pytest.raises(ConfigError, match="bursts"):
        main(["--arrivals", "bursts"])
    with pytest.raises(SystemExit, match="2"):
        main(["--sizes", "small"])

"""jobs/benchmark_match.py from the command line: table, figures, plot, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.benchmarks.match.trial_worker import measure
from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.benchmark_match import main
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "photo.png")
    return tmp_path / "photo.png"


@pytest.fixture
def release(tmp_path: Path) -> Path:
    model = ModelConfig("tiny")
    config = ReleaseConfig(name="tiny", model=model, encoder="random (seed 0)")
    inpainter = build_inpainter(model, Vgg19Relu3.random(0), seed=0)
    save_release(tmp_path / "release", inpainter, config, card="")
    return tmp_path / "release"


@pytest.mark.slow
def test_prints_a_table_and_writes_figures_and_plot(
    photo: Path,
    release: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Every figure comes from a process of its own, which would take long to start.
    monkeypatch.setattr(
        "kintsugi.benchmarks.match.match_benchmark.run_trial",
        lambda task, *, time_limit: measure(task),
    )
    what = ["--sizes", "64", "--methods", "exact", "--photo", str(photo), "--pairs", "1"]
    files = ["--json", str(tmp_path / "new" / "f.json"), "--plot", str(tmp_path / "new" / "p.png")]
    assert main([*what, *files, "--release", str(release), "--fill", "--threads", "1"]) == DONE
    printed = capsys.readouterr().out
    assert "64/32: exact: " in printed
    assert "| 64 / 32 | " in printed
    assert f"encoder of {release}; 1 threads" in printed
    figures = json.loads((tmp_path / "new" / "f.json").read_text())
    assert figures["matches"][0]["methods"]["exact"]["same_winners"] == 1
    fills = figures["fills"][0]["methods"]
    assert list(fills) == ["fill float32", "fill bfloat16", "patchmatch"]
    assert all(len(fill["seconds"]) == 1 for fill in fills.values())
    with Image.open(tmp_path / "new" / "p.png") as plot:
        assert plot.format == "PNG"


def test_unknown_names_are_usage() -> None:
    with pytest.raises(ConfigError, match="magic"):
        main(["--methods", "magic"])
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    with pytest.raises(SystemExit, match="2"):
        main(["--sizes", "small"])

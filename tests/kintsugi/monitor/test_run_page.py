"""A run's page: every curve, the newest pictures, nothing from elsewhere."""

import io
import json
import math
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
from PIL import Image

from kintsugi.errors import ConfigError, StorageError
from kintsugi.monitor.run_page import PAGE_NAME, run_page, write_run_page
from kintsugi.runs.run import CONFIG_NAME, Run
from kintsugi.storage.storage import Storage
from tests.kintsugi.training_runs import debug_config


@pytest.fixture
def run(tmp_path: Path) -> Run:
    config = debug_config(tmp_path)
    run = Run(Storage(tmp_path / "runs" / "a<b"))
    run.storage.write(CONFIG_NAME, json.dumps(config.to_dict()).encode())
    return run


def log(run: Run, steps: int) -> None:
    rows = [
        {
            "step": step,
            "loss/perceptual": 2.0 - step / steps,
            "loss/adversarial": math.nan if step == 3 else 0.5,
            "images_per_second": 11.5,
        }
        for step in range(1, steps + 1)
    ]
    rows[0]["fixed/perceptual"] = 2.5
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    run.storage.write("metrics/part-00000001.jsonl", lines.encode())


def sample(run: Run, step: int) -> None:
    data = io.BytesIO()
    Image.new("RGB", (4, 4)).save(data, "PNG")
    run.storage.write(f"samples/step-{step:08d}.png", data.getvalue())


def test_every_figure_has_a_curve(run: Run) -> None:
    log(run, 2000)
    page = run_page(run)
    charts = re.findall(r"<svg.*?</svg>", page)
    assert len(charts) == 3
    for chart in charts:
        ET.fromstring(chart)
    [losses] = [chart for chart in charts if 'aria-label="Losses in training"' in chart]
    assert losses.count("<polyline") == 2
    assert "nan" not in losses
    assert max(len(points.split()) for points in re.findall(r'points="(.*?)"', losses)) <= 501
    assert "perceptual: 2 to 1</" in page
    assert "<td>11.5</td>" in page
    assert "step 2000 of" in page


def test_pictures_from_the_first_to_the_newest(run: Run) -> None:
    log(run, 5)
    for step in range(0, 101, 5):
        sample(run, step)
    page = run_page(run)
    steps = [int(step) for step in re.findall(r"<figcaption>Step (\d+)<", page)]
    assert steps[0] == 100
    assert steps[-1] == 0
    assert 3 <= len(steps) <= 9
    assert len(re.findall(r'src="data:image/png;base64,', page)) == len(steps)


def test_it_loads_nothing_and_its_text_is_text(run: Run) -> None:
    log(run, 5)
    page = run_page(run)
    assert re.findall(r"(?:src|href)=\"(?!data:)", page) == []
    assert "a<b" not in page
    assert "max_steps = " in page


def test_it_is_written_into_the_run_again(run: Run) -> None:
    with pytest.raises(ConfigError, match="has logged no step yet"):
        write_run_page(run)
    log(run, 2)
    assert write_run_page(run).endswith(PAGE_NAME)
    log(run, 4)
    write_run_page(run)
    assert b"step 4 of" in run.storage.read(PAGE_NAME)


def test_what_is_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="nowhere"):
        run_page(Run(Storage(tmp_path / "nowhere")))

"""jobs/train_stage1.py from the command line: dry run, lines of a run, exit codes."""

import json
import re
import sys
import tomllib
from pathlib import Path

import pytest

from kintsugi.config.run_config import load_config
from kintsugi.errors import ConfigError
from kintsugi.jobs import _bootstrap
from kintsugi.jobs._bootstrap import DONE, USAGE
from kintsugi.jobs._train import train
from kintsugi.runs.metrics_log import read_metrics
from kintsugi.storage.storage import Storage
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import CONFIGS, losses, pack_photos

LINE = r"^step +\d+/3  perceptual .* images/s  data wait +\d+ %  \d+ s left$"


def settings(folder: Path | str) -> list[str]:
    return [
        f"storage={folder}/runs",
        f"data.shards={folder}/shards",
        "data.photos=''",
        "data.resize_px=128",
        "loop.max_steps=3",
        "loop.batch_size=2",
        "loop.log_every=1",
        "loop.checkpoint_every=2",
        "loop.sample_every=3",
        "workers.threads=1",
    ]


def arguments(folder: Path | str) -> list[str]:
    return [word for setting in settings(folder) for word in ("--set", setting)]


@pytest.mark.slow
def test_a_dry_run_prints_the_configuration_and_leaves_nothing(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_photos(tmp_path)
    figures = tmp_path / "figures.json"
    assert train("stage1", [*arguments(tmp_path), "--dry-run", "--json", str(figures)]) == DONE
    printed = capsys.readouterr().out.replace(f"wrote {figures}\n", "")
    assert tomllib.loads(printed)["loop"]["max_steps"] == 3
    assert not (tmp_path / "runs").exists()
    assert json.loads(figures.read_text())["row"]["step"] == 1


def exit_code(monkeypatch: pytest.MonkeyPatch, *words: str) -> int:
    monkeypatch.setattr(sys, "argv", ["jobs/train_stage1.py", *words])
    with pytest.raises(SystemExit) as end:
        _bootstrap.run(lambda argv: train("stage1", argv))
    assert isinstance(end.value.code, int)
    return end.value.code


@pytest.mark.slow
def test_a_mistake_in_the_configuration_is_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert exit_code(monkeypatch, "--dry-run", "--set", "loop.batch=3") == USAGE
    assert "loop.batch: unknown key" in capsys.readouterr().err
    assert exit_code(monkeypatch, "--metrics-port", "many") == USAGE
    words = [*arguments(tmp_path), "--set", "init_from=/nowhere/run"]
    pack_photos(tmp_path)
    assert exit_code(monkeypatch, "--dry-run", *words) != DONE
    assert "/nowhere/run is no run" in capsys.readouterr().err


def test_the_configuration_of_another_stage_names_its_job(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"is for stage2: kintsugi train stage2"):
        train("stage1", ["--config", str(CONFIGS / "debug-stage2.toml")])


@pytest.mark.ray
def test_a_run_on_ray_over_s3_shows_plain_lines_and_computes_what_the_loop_does_without_ray(
    local_ray: object,
    s3_uri: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # It is running; and the settings that the job makes are taken back afterwards.
    monkeypatch.setattr("ray.init", lambda **_: None)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setenv("RAY_COLOR_PREFIX", "")
    monkeypatch.delenv("RAY_COLOR_PREFIX")
    pack_photos(tmp_path)
    for name in Storage(tmp_path / "shards").list():
        Storage(f"{s3_uri}/shards").write(name, Storage(tmp_path / "shards").read(name))
    assert train("stage1", [*arguments(s3_uri), "--tensorboard"]) == DONE
    printed = capsys.readouterr().out
    assert "\x1b" not in printed
    assert len(re.findall(LINE, printed, re.MULTILINE)) == 3
    assert len(re.findall(r"^step [03]/3  fixed photographs: ", printed, re.MULTILINE)) == 2
    assert "perceptual loss on the fixed photographs: " in printed
    here = train_locally(load_config(CONFIGS / "debug-stage1.toml", settings(tmp_path)))
    run = Storage(f"{s3_uri}/runs/debug-stage1")
    expected = losses(read_metrics(here.storage.join("metrics")))
    assert len(expected) == 3
    assert losses(read_metrics(run.join("metrics"))) == expected
    assert "step-00000003/manifest.json" in run.join("checkpoints").list()
    assert run.join("tensorboard").list()

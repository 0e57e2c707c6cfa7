"""jobs/train_stage1.py from the command line: dry run, exit codes."""

import json
import sys
import tomllib
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError
from kintsugi.jobs import _bootstrap
from kintsugi.jobs._bootstrap import DONE, USAGE
from kintsugi.jobs._train import train
from tests.kintsugi.training_runs import CONFIGS, pack_photos


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

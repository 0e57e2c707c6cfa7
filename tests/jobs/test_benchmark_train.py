"""jobs/benchmark_train.py from the command line: tables, figures, exit codes."""

import json
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.benchmark_train import main


@pytest.mark.slow
def test_prints_tables_and_writes_figures_without_ray(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sets = [f"storage={tmp_path / 'runs'}", "loop.batch_size=1", "workers.threads=1"]
    arguments = [word for value in sets for word in ("--set", value)]
    arguments += ["--without-ray", "--workers", "1", "--steps", "1", "--rounds", "1"]
    arguments += ["--precisions", "bfloat16", "--peak-tflops", "1", "--json"]
    assert main([*arguments, str(tmp_path / "figures.json")]) == DONE
    printed = capsys.readouterr().out
    assert "plain, workers 1, memory: " in printed
    assert "| bfloat16 | channels last | " in printed
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["config"]["run"] == "debug-stage1"
    assert len(figures["step_times"][0]["plain"]) == 1
    assert figures["variants"][0]["flops"] > 10**9
    assert figures["checkpoint"]["costs"][0]["bytes"] > 10**6


def test_what_cannot_be_measured_is_usage() -> None:
    # Before Ray is started.
    with pytest.raises(ConfigError, match="--precisions int8"):
        main(["--precisions", "int8"])
    with pytest.raises(ConfigError, match=r"debug-stage1\.toml"):
        main(["--config", "nowhere.toml"])
    with pytest.raises(SystemExit, match="2"):
        main(["--workers", "many"])

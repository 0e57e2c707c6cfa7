"""jobs/publish.py from the command line: which checkpoint, with what, and how it matches."""

import json
from pathlib import Path

import pytest

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.publish import main
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos


@pytest.mark.slow
def test_flags_choose_checkpoint_and_discriminators(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pack_photos(tmp_path)
    for stage in ("stage1", "stage2"):
        train_locally(debug_config(tmp_path, stage, max_steps=2, checkpoint_every=1, batch_size=1))
    runs = [f"--{stage}={tmp_path}/runs/debug-{stage}" for stage in ("stage1", "stage2")]
    output = ["--output", str(tmp_path / "first"), "--json", str(tmp_path / "f.json")]
    assert main([*runs, *output, "--checkpoint", "1", "--with-discriminators"]) == DONE
    printed = capsys.readouterr().out
    assert "published first: " in printed
    assert "stage2: step 1, last weights" in printed
    training = json.loads((tmp_path / "f.json").read_text())["config"]["training"]
    assert training["stage1"]["steps"] == 1
    assert (tmp_path / "first" / training["discriminators"]["file"]).is_file()
    with pytest.raises(ConfigError, match="has no best checkpoint"):
        main([*runs, *output, "--checkpoint", "best"])
    # That release again, with another preference.
    mine = [f"--{stage}={tmp_path / 'first'}" for stage in ("stage1", "stage2")]
    again = [
        "--guard",
        "3",
        "--output",
        str(tmp_path / "second"),
        "--json",
        str(tmp_path / "f.json"),
    ]
    assert main([*mine, *again]) == DONE
    config = json.loads((tmp_path / "f.json").read_text())["config"]
    assert config["matching"]["guard"] == 3
    assert config["training"]["stage2"]["steps"] == 1
    # What is not named is as in the release.
    mine = [f"--{stage}={tmp_path / 'second'}" for stage in ("stage1", "stage2")]
    for flags, searches in ((["--pixels"], True), ([], True), (["--no-pixels"], False)):
        assert main([*mine, *again[2:], *flags]) == DONE
        config = json.loads((tmp_path / "f.json").read_text())["config"]
        assert (config["matching"]["pixels"], config["matching"]["guard"]) == (searches, 3)

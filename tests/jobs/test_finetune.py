"""kintsugi finetune: a release and photographs in, a release out; goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.finetune import main
from kintsugi.release.catalog import differences, list_releases, read_config
from kintsugi.release.publish import publish
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_release_is_trained_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    pack_photos(tmp_path)
    for stage in ("stage1", "stage2"):
        train_locally(debug_config(tmp_path, stage, max_steps=1, checkpoint_every=1, batch_size=1))
    runs, first = tmp_path / "runs", tmp_path / "releases" / "first"
    publish(f"{runs}/debug-stage1", f"{runs}/debug-stage2", str(first), name="first")
    (tmp_path / "mine").mkdir()
    for number in range(3):
        pixels = np.random.default_rng(number).integers(0, 256, (140, 150, 3), np.uint8)
        Image.fromarray(pixels).save(tmp_path / "mine" / f"{number}.png")
    output = tmp_path / "releases" / "second"
    words = [str(first), str(tmp_path / "mine"), "--output", str(output), "--steps", "2"]
    words += ["--runs", str(tmp_path / "tuning"), "--held-out", "0"]

    assert main(words) == DONE

    printed = capsys.readouterr().out
    assert "packed 3 photographs" in printed
    assert f"kintsugi serve --release {output}" in printed
    changed = differences(read_config(str(first)), read_config(str(output)))
    assert {"name", "digest", "training.stage1.steps", "training.stage2.steps"} <= changed.keys()
    assert (tmp_path / "tuning" / "second-stage1" / "run.html").is_file()
    assert [each.uri for each in list_releases(str(tmp_path / "releases"))] == [
        str(first),
        str(output),
    ]
    digest = read_config(str(output)).digest
    assert main(words) == DONE
    assert "already finished at step 2" in capsys.readouterr().out
    assert read_config(str(output)).digest == digest

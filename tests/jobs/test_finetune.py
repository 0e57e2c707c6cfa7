"""kintsugi finetune: a release and photographs in, a release out; goes on where it stopped."""

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE
from kintsugi.jobs.finetune import _packed, main
from kintsugi.release.catalog import differences, list_releases, read_config
from kintsugi.release.publish import publish
from kintsugi.train.worker import train_locally
from tests.kintsugi.training_runs import debug_config, pack_photos


def test_shards_of_other_photographs_are_not_taken_for_these(tmp_path: Path) -> None:
    for name, count in (("street", 3), ("rain", 4)):
        (tmp_path / name).mkdir()
        for number in range(count):
            pixels = np.full((80, 80, 3), 20 * number, np.uint8)
            Image.fromarray(pixels).save(tmp_path / name / f"{number}.png")
    street, shards = str(tmp_path / "street"), str(tmp_path / "shards")
    first = _packed(street, shards, 0.0)
    assert _packed(street, shards, 0.0) == first
    with pytest.raises(ConfigError, match="other photographs than"):
        _packed(str(tmp_path / "rain"), shards, 0.0)
    with pytest.raises(ConfigError, match=r"a share of 0 out, not 0\.05"):
        _packed(street, shards, 0.05)


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

"""jobs/write_masks.py from the command line: sets, pairs, exit codes."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from kintsugi.errors import ConfigError
from kintsugi.jobs._bootstrap import DONE, SOME_REJECTED
from kintsugi.jobs.write_masks import main

pytestmark = pytest.mark.usefixtures("no_ray")


def test_writes_and_verifies_sets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--masks", "thick-64,border-64", "--count", "3", "--output", str(tmp_path / "m")]
    assert main([*arguments, "--json", str(tmp_path / "f.json")]) == DONE
    figures = json.loads((tmp_path / "f.json").read_text())["sets"]
    assert list(figures) == ["thick-64", "border-64"]
    assert figures["thick-64"]["rows"] == 3
    digest = figures["thick-64"]["masks_sha256"]
    said = capsys.readouterr().out
    assert f"{tmp_path}/m/thick-64: 3 masks written, SHA-256 {digest}\n" in said
    assert main([*arguments, "--verify"]) == DONE
    with pytest.raises(ConfigError, match="holds a mask set already"):
        main(arguments)
    assert main([*arguments, "--overwrite", "--seed", "1"]) == DONE


def test_pairs_of_photographs(tmp_path: Path) -> None:
    photos = tmp_path / "photos"
    photos.mkdir()
    pixels = np.random.default_rng(0).integers(0, 256, (70, 90, 3), np.uint8)
    Image.fromarray(pixels).save(photos / "a.jpg")
    given = ["--photos", str(photos), "--masks", "thick-64", "--output", str(tmp_path / "m")]
    assert main([*given, "--pairs"]) == DONE
    for kind in ("images", "masks"):
        with Image.open(tmp_path / "m" / "thick-64" / kind / "a.png") as image:
            assert image.size == (64, 64)
    (photos / "bad.jpg").write_bytes(b"no image")
    assert main([*given, "--pairs", "--overwrite"]) == SOME_REJECTED
    with pytest.raises(ConfigError, match="needs --photos"):
        main(["--pairs"])

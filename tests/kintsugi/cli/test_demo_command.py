"""kintsugi demo: the user's own cloud account has no part in the demo."""

import os
from pathlib import Path
from typing import Any

import pytest

from kintsugi.cli import demo
from kintsugi.errors import ConfigError


def test_no_variable_of_another_cloud_account_reaches_the_demo(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: dict[str, str] = {}

    class Recorder:
        def __init__(self, *about: Any) -> None:
            pass

        def run(self) -> None:
            seen.update(os.environ)

    theirs = {"AWS_PROFILE": "mine", "AWS_SESSION_TOKEN": "t", "AWS_ENDPOINT_URL_S3": "http://x"}
    monkeypatch.setattr(os, "environ", {"PATH": os.environ["PATH"], **theirs})
    monkeypatch.setattr("kintsugi.demo.walkthrough.Demo", Recorder)
    monkeypatch.setattr(demo, "interrupt_once", lambda: None)
    assert demo.main(["--folder", str(tmp_path / "demo")]) == 0
    assert seen.keys() == {"PATH"}


def test_a_folder_with_other_files_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("years of work")
    with pytest.raises(ConfigError, match="holds other files than a demo's"):
        demo.main(["--folder", str(tmp_path)])
    assert (tmp_path / "thesis.tex").exists()

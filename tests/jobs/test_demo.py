"""jobs/demo.py: the user's own cloud account has no part in the demo."""

import os
from pathlib import Path
from typing import Any

import pytest

from kintsugi.jobs import demo


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

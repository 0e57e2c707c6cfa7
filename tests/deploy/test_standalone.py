"""`kintsugi serve` as a process: page, fill, jobs and metrics in one, until it is interrupted."""

import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest

from kintsugi.deploy.client import Client
from kintsugi.models.build import ModelConfig
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.deploy.conftest import MASK, PHOTO, decode, encode


def get(url: str) -> str:
    with urllib.request.urlopen(url, timeout=30) as answer:  # noqa: S310
        text: str = answer.read().decode()
        return text


@pytest.mark.slow
def test_it_serves_until_it_is_interrupted(inpainter: Inpainter, tmp_path: Path) -> None:
    config = ReleaseConfig("mine", ModelConfig("tiny"), "random (seed 0)")
    save_release(tmp_path / "mine", inpainter, config, card="")
    command = [sys.executable, "-m", "kintsugi", "serve", "--port", "0", "--threads", "1"]
    command += ["--release", str(tmp_path / "mine"), "--jobs", str(tmp_path / "jobs")]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=tmp_path,
        env={**os.environ, "HOME": str(tmp_path)},
    )  # fmt: skip
    try:
        assert process.stdout is not None
        found = re.search(r"Open (http://127\.0\.0\.1:\d+) in", process.stdout.readline())
        assert found is not None
        url = found[1]
        assert '"ready":true' in get(f"{url}/readyz")
        assert "<title>" in get(url)
        client = Client(url)
        answer = client.inpaint(encode(PHOTO), encode(MASK))
        assert decode(answer.data).shape == PHOTO.shape
        assert answer.model_version.startswith("mine@")
        job = client.jobs.inpaint(encode(PHOTO), encode(MASK))
        assert client.jobs.wait(job.id).data == answer.data
        counted = get(f"{url}/metrics")
        labels = r'release="mine@sha256:\w+",route="/v1/inpaint",status="2xx"'
        # The first fill; the job's is none that somebody waited for.
        assert re.search(
            rf'kintsugi_request_seconds_count{{megapixels="0-1",{labels}}} 1.0', counted
        )
        assert re.search(rf'_requests_total{{megapixels="0-1",outcome="ok",{labels}}} 1.0', counted)
        assert 'kintsugi_jobs_total{outcome="done"} 1.0' in counted
        assert "kintsugi_jobs_waiting 0.0" in counted
        assert "kintsugi_requests_waiting 0.0" in counted
        assert 'kintsugi_stage_seconds_count{stage="inpaint"} 2.0' in counted
        assert list((tmp_path / "jobs" / "jobs").iterdir())
    finally:
        process.send_signal(signal.SIGINT)
        code = process.wait(60)
        process.stdout.close()
    assert code == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["jobs", "mine"]

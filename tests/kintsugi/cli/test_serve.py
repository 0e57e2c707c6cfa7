"""`kintsugi serve` is stopped while it answers, in one process and on Ray: nothing is dropped."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2
import numpy as np
import pytest

from kintsugi.servers.processes import free_ports
from tests.abuse.laptop import MASK, PHOTO, family, publish_tiny
from tests.deploy.conftest import draw_photo, encode

SIDE = 640
SMALL = 4


def long_fill() -> dict[str, tuple[str, bytes]]:
    """One that takes seconds."""
    mask = np.zeros((SIDE, SIDE), np.bool_)
    mask[120:520, 120:520] = True
    photo = draw_photo(SIDE, SIDE)
    return {"image": ("image.png", encode(photo)), "mask": ("mask.png", encode(mask))}


@contextmanager
def served(folder: Path, *options: str) -> Iterator[tuple["subprocess.Popen[str]", str, Path]]:
    """`kintsugi serve` as a process, where it answers, and what it says."""
    release = publish_tiny(folder / "tiny")
    (port,) = free_ports(1)
    command = [sys.executable, "-m", "kintsugi", "serve", "--port", str(port), *options]
    command += ["--release", release, "--jobs", str(folder / "jobs")]
    said = folder / "said"
    with said.open("w") as output:
        process = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            text=True,
            cwd=folder,
            env={**os.environ, "HOME": str(folder)},
        )
    try:
        wait_until(lambda: "Open http" in said.read_text() or process.poll() is not None, said)
        assert process.poll() is None, said.read_text()
        yield process, f"http://127.0.0.1:{port}", said
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(150)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def wait_until(condition: Any, said: Path) -> None:
    give_up = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < give_up, said.read_text()
        time.sleep(0.05)


@pytest.mark.parametrize(
    "options",
    [
        pytest.param(("--threads", "1"), id="in one process", marks=pytest.mark.slow),
        pytest.param(("--ray",), id="on Ray", marks=[pytest.mark.ray, pytest.mark.slow]),
    ],
)
@pytest.mark.timeout(900)
def test_what_has_begun_is_answered(tmp_path: Path, options: tuple[str, ...]) -> None:
    on_ray = "--ray" in options
    with served(tmp_path, *options) as (process, url, said):
        small = {"image": ("image.png", PHOTO), "mask": ("mask.png", MASK)}

        def send(files: dict[str, tuple[str, bytes]]) -> httpx2.Response:
            return httpx2.post(f"{url}/v1/inpaint", files=files, timeout=300)

        def inside() -> int:
            return int(httpx2.get(f"{url}/readyz", timeout=60).json()["requests"])

        assert send(small).status_code == 200
        job = httpx2.post(f"{url}/v1/jobs", files=long_fill(), timeout=60).json()["id"]
        with ThreadPoolExecutor(1 + SMALL) as pool:
            begun = [pool.submit(send, files) for files in (long_fill(), *[small] * SMALL)]
            # More than are computed at one time: some wait for their turn.
            wait_until(lambda: inside() == 1 + SMALL, said)
            process.send_signal(signal.SIGTERM)
            wait_until(lambda: "requests are answered first" in said.read_text(), said)
            late = refused(url, small)
            answers = [task.result() for task in begun]
            code = process.wait(300)
        words = said.read_text()
    assert [answer.status_code for answer in answers] == [200] * (1 + SMALL), words
    for answer in answers:
        assert answer.content.startswith(b"\x89PNG")
    # In one process nobody listens any more; Serve's proxy does until it is ended.
    assert late == ("stopping" if on_ray else "nobody")
    (count,) = set(re.findall(r"stopping: (\d+) requests", words)[:1])
    assert 1 <= int(count) <= 1 + SMALL
    assert code in (0, -signal.SIGTERM), words
    assert "Traceback" not in words
    # The job that was cut short was given back, and never counts as a crash.
    kept = tmp_path / "jobs" / "jobs" / job
    done = (kept / "outcome.json").exists()
    claim = kept / "claim.json"
    assert done or not claim.exists() or json.loads(claim.read_text())["starts"] == 0
    assert family(process.pid) == [process.pid]


def refused(url: str, files: dict[str, tuple[str, bytes]]) -> str:
    """How a request is refused that comes too late."""
    try:
        answer = httpx2.post(f"{url}/v1/inpaint", files=files, timeout=60)
    except httpx2.ConnectError:
        return "nobody"
    assert answer.status_code == 503, answer.text
    assert int(answer.headers["retry-after"]) > 0
    return str(answer.json()["code"])

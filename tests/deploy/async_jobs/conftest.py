"""Applications that run jobs in a folder, and an engine that waits until it is let go."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import Busy, Engine, Filled, ModelInfo
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.progress import Progress, Step, no_progress
from tests.deploy.conftest import MASK, MODEL, PHOTO, encode

LEASE_SECONDS = 0.3
FILES = {"image": encode(PHOTO), "mask": encode(MASK)}


class HeldEngine:
    """An engine in this process that first waits until `go` is set, and counts.

    Attributes:
        go: Let the work begin.
        begun: How many calls have come.
        given_up: How many of them were cancelled.
        busy: So many calls are refused first.
    """

    def __init__(self, inpainter: Inpainter) -> None:
        self._engine = LocalEngine(inpainter, MODEL)
        self.go = False
        self.begun = 0
        self.given_up = 0
        self.busy = 0

    async def inpaint(
        self, pixels: Any, mask: Any, options: Any, *, progress: Progress = no_progress
    ) -> Filled:
        """See Engine."""
        self.begun += 1
        if self.begun <= self.busy:
            raise Busy
        progress(Step(0, 1, 1, 4))
        try:
            while not self.go:
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.given_up += 1
            raise
        return await self._engine.inpaint(pixels, mask, options, progress=progress)

    async def stylize(
        self, content: Any, style: Any, options: Any, *, progress: Progress = no_progress
    ) -> Filled:
        """See Engine."""
        return await self._engine.stylize(content, style, options, progress=progress)

    async def models(self) -> list[ModelInfo]:
        """See Engine."""
        return [MODEL]

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        return {"Held": True}


@pytest.fixture
def held(inpainter: Inpainter) -> HeldEngine:
    return HeldEngine(inpainter)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "jobs"


@pytest.fixture
def start(inpainter: Inpainter, folder: Path) -> Iterator[Callable[..., TestClient]]:
    """Start an application, one over the same folder each time; stopped after the test."""
    with ExitStack() as running:

        def start_(engine: Engine | None = None, **settings: Any) -> TestClient:
            settings = {"jobs": str(folder), "jobs_lease_seconds": LEASE_SECONDS, **settings}
            api = build_api(
                engine or LocalEngine(inpainter, MODEL), AppArgs(release="unused", **settings)
            )
            return running.enter_context(TestClient(api, raise_server_exceptions=False))

        yield start_


def submit(
    client: TestClient,
    fields: dict[str, str] | None = None,
    *,
    files: dict[str, bytes] = FILES,
    **headers: str,
) -> Any:
    """Send a job; header names with _ for -."""
    sent = {name: (f"{name}.bin", data) for name, data in files.items()}
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return client.post("/v1/jobs", files=sent, data=fields or {}, headers=named)


def wait_for(client: TestClient, job_id: str, *states: str, **headers: str) -> dict[str, Any]:
    """Ask until the job is in one of these states, of those that it ends in if none is given."""
    states = states or ("done", "failed", "cancelled", "expired")
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    give_up = time.monotonic() + 120
    while time.monotonic() < give_up:
        answer = client.get(f"/v1/jobs/{job_id}", headers=named)
        assert answer.status_code == 200, answer.text
        document: dict[str, Any] = answer.json()
        if document["state"] in states:
            return document
        time.sleep(0.02)
    raise AssertionError(f"{document} is none of {states}")


def wait_until(condition: Callable[[], bool]) -> None:
    give_up = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < give_up
        time.sleep(0.01)

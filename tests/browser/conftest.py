"""The service in this process, and Chromium in front of it; skipped where there is none."""

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from shutil import which
from typing import Any

import pytest
from starlette.types import ASGIApp, Receive, Scope, Send

from kintsugi.deploy.api import build_api
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from tests.browser.screen import Screen
from tests.deploy.conftest import MODEL, draw_photo, encode
from tests.http_server import serving

# Where a proxy shows the service, too.
SUB_PATH = "/tools/photos"


@pytest.fixture(scope="session")
def inpainter() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=1)


@pytest.fixture(scope="session")
def service(inpainter: Inpainter) -> Iterator[str]:
    """URL of the service with a tiny Inpainter of seeded weights."""
    api = build_api(LocalEngine(inpainter, MODEL), AppArgs(release="unused"))
    with serving(behind_proxy(api)) as url:
        yield url


def behind_proxy(app: ASGIApp) -> ASGIApp:
    """The app at `/` and, like behind a proxy that cuts it off, below SUB_PATH."""

    async def proxy(scope: Scope, receive: Receive, send: Send) -> None:
        path = scope["path"]
        if path.startswith(SUB_PATH + "/"):
            scope = {**scope, "path": path[len(SUB_PATH) :], "raw_path": None}
        await app(scope, receive, send)

    return proxy


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    sync_api = pytest.importorskip("playwright.sync_api", reason="the extra dev is not installed")
    executable = which("chromium") or which("google-chrome")
    if executable is None:
        pytest.skip("there is no chromium: apt-get install chromium")
    with sync_api.sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=executable,
            # Tests run as root in containers; no other host can even be looked up.
            args=["--no-sandbox", "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"],
        )
        yield browser
        browser.close()


@pytest.fixture
def open_page(chromium: Any, service: str) -> Iterator[Callable[..., Screen]]:
    """Open the page; afterwards no request left its origin and path, and no script failed."""
    contexts, trouble = [], []

    def open_(path: str = "/", **options: Any) -> Screen:
        ours = (service + path[: path.rindex("/") + 1], f"blob:{service}/")
        context = chromium.new_context(**{"viewport": {"width": 1280, "height": 800}, **options})
        contexts.append(context)
        context.set_default_timeout(60_000)
        context.on(
            "request",
            lambda request: None if request.url.startswith(ours) else trouble.append(request.url),
        )
        page = context.new_page()
        page.on("pageerror", lambda error: trouble.append(str(error)))
        page.on(
            "console",
            lambda message: trouble.append(message.text) if _is_bad(message) else None,
        )
        page.goto(service + path)
        page.wait_for_selector("html[data-ready]")
        return Screen(page)

    yield open_
    for context in contexts:
        context.close()
    assert trouble == []


def _is_bad(message: Any) -> bool:
    # An answer with an error's status is reported here, too, and is some tests' aim.
    return message.type == "error" and "Failed to load resource" not in message.text


@pytest.fixture(scope="session")
def axe() -> str:
    """The checker's script; `make test-browser` fetches it and says where it is."""
    path = Path(os.environ.get("AXE_FOLDER", "")) / "axe.min.js"
    if not path.is_file():
        pytest.skip("axe-core is not there: run make test-browser where npm is installed")
    return path.read_text()


@pytest.fixture
def screen(open_page: Callable[..., Screen]) -> Screen:
    return open_page()


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    """A photograph, 320 wide and 240 high."""
    path = tmp_path / "beach.png"
    path.write_bytes(encode(draw_photo(240, 320)))
    return path

"""Tiny networks with seeded random weights, photographs and forms for the tests of deploy."""

import asyncio
import io
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from fastapi.testclient import TestClient
from PIL import Image

from kintsugi.deploy.api import build_api
from kintsugi.deploy.engine import Engine, ModelInfo
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3

Pixels = npt.NDArray[np.uint8]
Mask = npt.NDArray[np.bool_]

MODEL = ModelInfo("tiny-random", "sha256:" + "0123456789abcdef" * 4, "tiny")


def draw_photo(height: int, width: int, *, seed: int = 0) -> Pixels:
    """Smooth colours with some texture."""
    generator = np.random.default_rng(seed)
    rows, columns = np.mgrid[0:height, 0:width]
    waves = [np.sin(rows / (9 + k + seed) + k) + np.cos(columns / (7 + 2 * k)) for k in range(3)]
    noise = generator.normal(0, 8, (height, width, 3))
    return (np.stack(waves, axis=2) * 50 + 128 + noise).clip(0, 255).astype(np.uint8)


def draw_mask(height: int, width: int, *, seed: int = 0) -> Mask:
    """A free-form hole: a wandering brush and a rectangle on the border."""
    generator = np.random.default_rng(seed)
    mask = np.zeros((height, width), np.bool_)
    rows, columns = np.mgrid[0:height, 0:width]
    row, column = height / 2, width / 3
    for _ in range(12):
        row += generator.uniform(-height / 12, height / 12)
        column += generator.uniform(0, width / 20)
        mask |= (rows - row) ** 2 + (columns - column) ** 2 < (height / 16) ** 2
    mask[: height // 8, : width // 6] = True
    return mask


def encode(pixels: Pixels | Mask, format: str = "PNG", **options: Any) -> bytes:
    """Pixels or a mask to a file."""
    array = pixels if pixels.dtype == np.uint8 else pixels.astype(np.uint8) * 255
    buffer = io.BytesIO()
    Image.fromarray(array).save(buffer, format, **options)
    return buffer.getvalue()


def decode(data: bytes) -> Pixels:
    """A file to its channels as they are."""
    return np.array(Image.open(io.BytesIO(data)))


PHOTO = draw_photo(80, 112)
MASK = draw_mask(80, 112)
PROBLEM_KEYS = {"type", "title", "status", "detail", "code", "request_id", "hint"}


def post(client: TestClient, fields: dict[str, str] | None = None, **files: bytes) -> Any:
    parts = {"image": encode(PHOTO), "mask": encode(MASK), **files}
    sent = {name: (f"{name}.bin", data) for name, data in parts.items() if data is not None}
    return client.post("/v1/inpaint", files=sent, data=fields or {})


STYLE = draw_photo(64, 72, seed=5)


def post_style(client: TestClient, fields: dict[str, str] | None = None, **files: bytes) -> Any:
    parts = {"content": encode(PHOTO), "style": encode(STYLE), **files}
    sent = {name: (f"{name}.bin", data) for name, data in parts.items()}
    return client.post("/v1/stylize", files=sent, data=fields or {})


def problem(response: Any, status: int, code: str) -> dict[str, Any]:
    """Check that this is a whole problem document, and give it."""
    assert (response.status_code, response.json().get("code")) == (status, code), response.text
    assert response.headers["content-type"] == "application/problem+json"
    document: dict[str, Any] = response.json()
    assert set(document) == PROBLEM_KEYS
    assert document["status"] == status
    assert document["request_id"] == response.headers["x-request-id"]
    for word in ("Traceback", "torch", "PIL", "pydantic", "starlette", ".py"):
        assert word not in response.text
    return document


@pytest.fixture(scope="session")
def inpainter() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=1)


@pytest.fixture
def make_client(inpainter: Inpainter) -> Callable[..., TestClient]:
    """Build a client of the API over an engine, a local one if none is given."""

    def make(engine: Engine | None = None, **settings: Any) -> TestClient:
        args = AppArgs(release="unused", **settings)
        api = build_api(engine or LocalEngine(inpainter, MODEL), args)
        return TestClient(api, raise_server_exceptions=False)

    return make


@pytest.fixture
def client(make_client: Callable[..., TestClient]) -> TestClient:
    return make_client()


def let_time_pass(seconds: float) -> None:
    """Have the running loop's clock show so much more from now on, without waiting."""
    loop = asyncio.get_running_loop()
    clock = loop.time
    loop.time = lambda: clock() + seconds  # type: ignore[method-assign]

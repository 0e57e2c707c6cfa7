"""Several releases of one service: `model` picks one; an unknown name gets the list of names."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy import standalone
from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.options import InpaintOptions
from kintsugi.deploy.settings import AppArgs
from kintsugi.errors import ConfigError
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.deploy.conftest import MASK, MODEL, PHOTO, decode, encode, post, post_style, problem

OTHER = ModelInfo("street", "sha256:" + "fedcba9876543210" * 4, "tiny")


@pytest.fixture(scope="module")
def other() -> Inpainter:
    return build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=7)


@pytest.fixture
def both(
    make_client: Callable[..., TestClient], inpainter: Inpainter, other: Inpainter, tmp_path: Path
) -> TestClient:
    engine = LocalEngine(inpainter, MODEL, [(other, OTHER)])
    return make_client(engine, jobs=str(tmp_path / "jobs"))


def alone(inpainter: Inpainter, model: ModelInfo) -> Any:
    """What a service of this release alone answers."""
    engine = LocalEngine(inpainter, model)
    return asyncio.run(engine.inpaint(PHOTO, MASK, InpaintOptions())).pixels


def test_the_name_decides(both: TestClient, inpainter: Inpainter, other: Inpainter) -> None:
    listed = both.get("/v1/models").json()["models"]
    assert [model["name"] for model in listed] == [MODEL.name, OTHER.name]
    ours, theirs = alone(inpainter, MODEL), alone(other, OTHER)
    assert not np.array_equal(ours, theirs)
    for name, expected, model in (
        ("", ours, MODEL),
        (MODEL.name, ours, MODEL),
        (OTHER.name, theirs, OTHER),
        (OTHER.version, theirs, OTHER),
    ):
        answer = post(both, {"model": name})
        np.testing.assert_array_equal(decode(answer.content), expected)
        assert answer.headers["x-model-version"] == model.version
    styled = post_style(both, {"model": OTHER.name})
    assert styled.headers["x-model-version"] == OTHER.version


def test_a_name_that_is_not_there_is_told_those_that_are(both: TestClient) -> None:
    for answer in (post(both, {"model": "wide"}), post_style(both, {"model": "wide"})):
        document = problem(answer, 422, "model_unknown")
        assert document["detail"] == "model='wide' is not served here"
        assert f"one of {MODEL.name}, {OTHER.name}" in document["hint"]
    with both:
        files = {"image": ("a", encode(PHOTO)), "mask": ("b", encode(MASK))}
        problem(both.post("/v1/jobs", files=files, data={"model": "wide"}), 422, "model_unknown")


def test_one_that_was_served_before_is_not_asked_about(
    make_client: Callable[..., TestClient], inpainter: Inpainter, other: Inpainter
) -> None:
    """The graph may answer that behind its fills; it says itself when there is none any more."""

    class Asked(LocalEngine):
        count = 0

        async def models(self) -> list[ModelInfo]:
            self.count += 1
            return await super().models()

    engine = Asked(inpainter, MODEL, [(other, OTHER)])
    client = make_client(engine)
    for name in (OTHER.name, OTHER.version, MODEL.name):
        assert post(client, {"model": name}).status_code == 200
    assert engine.count == 1
    for expected in (2, 3):
        problem(post(client, {"model": "wide"}), 422, "model_unknown")
        assert engine.count == expected


def test_kserve_names_it_in_the_path(both: TestClient) -> None:
    assert both.get(f"/v2/models/{OTHER.name}").json()["name"] == OTHER.name
    document = both.get("/v2/models/wide").json()
    assert MODEL.name in document["error"]
    assert OTHER.name in document["error"]


def test_two_of_one_name_are_refused(inpainter: Inpainter, tmp_path: Path) -> None:
    config = ReleaseConfig("mine", ModelConfig("tiny"), "random (seed 0)")
    for folder in ("one", "two"):
        save_release(tmp_path / folder, inpainter, config, card="")
    args = AppArgs(release=str(tmp_path / "one"), more_releases=[str(tmp_path / "two")])
    with pytest.raises(ConfigError, match="two of the releases to serve have the name mine"):
        standalone.serve_in_process(args, host="127.0.0.1", port=0, on_ready=lambda url: None)

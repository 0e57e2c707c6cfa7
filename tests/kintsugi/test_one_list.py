"""One list of options: what commands, requests, client, page and facade take, and its defaults."""

import inspect
from typing import Any, get_type_hints

import pytest
from fastapi.testclient import TestClient

from kintsugi.deploy.api import build_api
from kintsugi.deploy.client.request_options import InpaintOptions, StylizeOptions
from kintsugi.deploy.in_process import LocalEngine
from kintsugi.deploy.settings import AppArgs
from kintsugi.facade import Inpainter
from kintsugi.imaging.photo_options import (
    Choice,
    FillChoices,
    MaskOptions,
    OutputOptions,
    StyleChoices,
    choices,
)
from kintsugi.jobs import fill, stylize
from kintsugi.jobs._command import Command
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from tests.deploy.conftest import MODEL


def declared(*kinds: type[Any]) -> dict[str, Choice]:
    return {each.name: each for kind in kinds for each in choices(kind)}


# What commands, requests and the client have; the facade has no files.
FILL = declared(MaskOptions, FillChoices, OutputOptions)
STYLE = declared(StyleChoices, OutputOptions)


@pytest.fixture(scope="module")
def client() -> TestClient:
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=0)
    return TestClient(build_api(LocalEngine(inpainter, MODEL), AppArgs(release="unused")))


@pytest.mark.parametrize(
    ("command", "options"), [(fill.main, FILL), (stylize.main, STYLE)], ids=["fill", "stylize"]
)
def test_commands(
    command: Command, options: dict[str, Choice], capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        command(["--help"])
    shown = " ".join(capsys.readouterr().out.split())
    values = inspect.signature(command.function).parameters
    for name, each in options.items():
        assert f" {each.flag} " in shown
        assert " ".join(each.effect.split()) in shown.replace("- ", "-")
        text = values[name].default
        assert (text if each.is_switch else each.parse(text)) == each.default


@pytest.mark.parametrize(
    ("path", "options"), [("/v1/inpaint", FILL), ("/v1/stylize", STYLE)], ids=["fill", "stylize"]
)
def test_requests_and_their_documentation(
    client: TestClient, path: str, options: dict[str, Choice]
) -> None:
    operation = client.get("/openapi.json").json()["paths"][path]["post"]
    for body in operation["requestBody"]["content"].values():
        fields = {
            name: field
            for name, field in body["schema"]["properties"].items()
            if field.get("format") != "binary" and "contentEncoding" not in field
        }
        # A service may serve several releases.
        assert set(fields) == {*options, "model"}
        for name, each in options.items():
            assert fields[name]["description"] == each.description
            assert fields[name]["default"] == each.default


def test_the_python_client() -> None:
    assert set(get_type_hints(InpaintOptions)) == {*FILL, "model"}
    assert set(get_type_hints(StylizeOptions)) == {*STYLE, "model"}


def test_the_facade() -> None:
    """Files are the caller's there."""
    for method, options in (
        (Inpainter.fill, declared(MaskOptions, FillChoices)),
        (Inpainter.stylize, declared(StyleChoices)),
    ):
        values = inspect.signature(method).parameters
        assert {name: values[name].default for name in options} == {
            name: each.default for name, each in options.items()
        }

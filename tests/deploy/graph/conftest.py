"""Graphs on a Ray cluster of this machine, for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray
import torch
from ray import serve

from kintsugi.deploy.app import build_app
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.build import build_inpainter
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from tests.deploy.graph.running_graph import (
    MATCHING,
    MODEL,
    ROOT,
    THREADS,
    Service,
    save,
    serve_graph,
)


@pytest.fixture(scope="package")
def inpainter() -> Inpainter:
    """It matches again, and by pixels too: every node must do its part."""
    return build_inpainter(MODEL, Vgg19Relu3.random(0), seed=1, matching=MATCHING)


@pytest.fixture(scope="package")
def searching(inpainter: Inpainter) -> Inpainter:
    """The same, but that it fills holes with copied pixels."""
    parts = inpainter.image2feature, inpainter.feature2image
    return Inpainter(*parts, replace(MATCHING, pixels=True))


@pytest.fixture(scope="package")
def service(inpainter: Inpainter, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("release")
    digest = save(folder, inpainter)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        # The replicas' processes inherit it.
        environment.setenv("PYTHONPATH", str(ROOT / "platform"))
        # One for each node of two graphs, and to spare.
        ray.init(address="local", num_cpus=16, include_dashboard=False)
        try:
            yield serve_graph(AppArgs(release=str(folder), threads=THREADS), digest)
        finally:
            serve.shutdown()
            ray.shutdown()


@pytest.fixture(scope="package")
def searching_service(
    service: Service, searching: Inpainter, tmp_path_factory: pytest.TempPathFactory
) -> Service:
    """A second graph on the same cluster, with which it ends."""
    folder = tmp_path_factory.mktemp("searching")
    digest = save(folder, searching)
    args = AppArgs(release=str(folder), threads=THREADS)
    serve.run(build_app(args), name="searching", route_prefix="/searching")
    return replace(service, version=f"tiny@{digest[:19]}", release=str(folder), app="searching")


@pytest.fixture
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)

"""Graphs on a Ray cluster of this machine, for all tests of this folder."""

from collections.abc import Iterator
from dataclasses import replace

import pytest
import ray
import torch
from ray import serve

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
def service(
    inpainter: Inpainter, searching: Inpainter, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Service]:
    """One graph for both, since starting its nodes is dear; who searches is named `other`."""
    folder, more = (tmp_path_factory.mktemp(name) for name in ("release", "other"))
    digest = save(folder, inpainter)
    save(more, searching, "other")
    args = AppArgs(release=str(folder), more_releases=[str(more)], threads=THREADS)
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("RAY_AUTH_MODE", "disabled")
        # The replicas' processes inherit it.
        environment.setenv("PYTHONPATH", str(ROOT / "platform"))
        # One for each node, and to spare.
        ray.init(address="local", num_cpus=8, include_dashboard=False)
        try:
            yield serve_graph(args, digest)
        finally:
            serve.shutdown()
            ray.shutdown()


@pytest.fixture
def same_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(THREADS)
    yield
    torch.set_num_threads(before)

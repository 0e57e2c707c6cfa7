"""A graph that runs, and what the Inpainter answers in its place."""

import socket
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray import serve

from kintsugi.deploy.app import build_app
from kintsugi.deploy.graph.ingress import GraphEngine
from kintsugi.deploy.observability.metrics import MetricsObserver
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.build import ModelConfig
from kintsugi.models.inpainter import Inpainter
from kintsugi.models.matching import MatchingConfig
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor, tensor_to_image
from kintsugi.models.weights import ReleaseConfig, save_release
from tests.deploy.conftest import Mask, Pixels

ROOT = Path(__file__).parents[3]
NODES = ("Image2Feature", "PatchSwap", "Feature2Image", "Refiner")
# The same in the nodes and here: how a sum is split among threads changes its last bits.
THREADS = 1


@dataclass(frozen=True)
class Service:
    """A running graph."""

    url: str
    version: str
    release: str
    app: str = "kintsugi"

    def handle(self, node: str) -> Any:
        return serve.get_deployment_handle(node, self.app)

    def engine(self) -> GraphEngine:
        handles = {node: self.handle(node) for node in NODES}
        return GraphEngine(handles, MetricsObserver(lambda metric, value, labels: None))

    def calls(self) -> dict[str, int]:
        """Requests that each node has computed (one replica of each runs here)."""
        return {node: self.handle(node).ready.remote().result().calls for node in NODES}


MODEL = ModelConfig("tiny", translator_input="features+pixels")
MATCHING = MatchingConfig(keys="matched-standardised", guard=1, repeats=1, colour=0.25)


# Behind a prefix, as several services of one cluster are; the traced graph is at the root.
PREFIX = "/fills"


def save(folder: Path, inpainter: Inpainter, name: str = "tiny") -> str:
    """Returns: the digest."""
    config = ReleaseConfig(name, MODEL, "random (seed 0)", matching=inpainter.matching)
    return save_release(folder, inpainter, config, card="For tests.").digest


def serve_graph(args: AppArgs, digest: str) -> Service:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    serve.start(http_options={"host": "127.0.0.1", "port": port, "request_timeout_s": 90})
    serve.run(build_app(args), name="kintsugi", route_prefix=PREFIX)
    return Service(f"http://127.0.0.1:{port}{PREFIX}", f"tiny@{digest[:19]}", args.release)


def expected(inpainter: Inpainter, photo: Pixels, mask: Mask) -> Pixels:
    answer: Pixels = tensor_to_image(
        inpainter.inpaint(image_to_tensor(photo), mask_to_tensor(mask))
    )
    return answer

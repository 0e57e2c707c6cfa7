"""The service's import path, `kintsugi.deploy.app:build_app`: nodes and edges of the graph.

How far each node scales, and on what, is said in `deploy/serve.yaml` by its name.
"""

from ray import serve
from ray.serve import Application

from kintsugi.deploy.graph.ingress import Ingress
from kintsugi.deploy.graph.nodes import Feature2ImageNode, Image2FeatureNode, PatchSwapNode
from kintsugi.deploy.graph.refiner import RefinerNode
from kintsugi.deploy.settings import AppArgs


def build_app(args: AppArgs) -> Application:
    """Build the graph behind its HTTP ingress.

    Args:
        args: The settings; Serve builds them from `args` of its configuration and
            refuses unknown names.
    """
    nodes = {
        "Image2Feature": serve.deployment(Image2FeatureNode, name="Image2Feature").bind(args),
        "PatchSwap": serve.deployment(PatchSwapNode, name="PatchSwap").bind(args),
        "Feature2Image": serve.deployment(Feature2ImageNode, name="Feature2Image").bind(args),
    }
    refiner = serve.deployment(
        RefinerNode,
        name="Refiner",
        # Serve passes none on: without this one, a configuration that names no release any more
        # would leave the last one that it named.
        user_config={"release": ""},
    ).bind(args, *nodes.values())
    # The app is built in the replica, after its constructor.
    ingress = serve.deployment(serve.ingress()(Ingress), name="Ingress")
    return ingress.bind(args, {**nodes, "Refiner": refiner})

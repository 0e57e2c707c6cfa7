"""Releases of tiny networks, and the nodes that load them, without a cluster."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch

from kintsugi.deploy.graph.base_node import ComputingNode
from kintsugi.deploy.graph.nodes import Feature2ImageNode, Image2FeatureNode, PatchSwapNode
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.build import ModelConfig, build_inpainter
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.weights import ReleaseConfig, save_release


def publish(folder: Path, name: str, *, seed: int = 1) -> str:
    """Returns the digest."""
    inpainter = build_inpainter(ModelConfig("tiny"), Vgg19Relu3.random(0), seed=seed)
    config = ReleaseConfig(name, ModelConfig("tiny"), encoder="random (seed 0)")
    return save_release(folder, inpainter, config, card="").digest


def args_of(folder: Path) -> AppArgs:
    return AppArgs(release=str(folder), threads=torch.get_num_threads())


class Handle:
    """As a handle of Serve: what `remote` gives is awaited. The node is a real one."""

    def __init__(self, node: ComputingNode[Any]) -> None:
        self.node = node
        self.prepare = SimpleNamespace(remote=node.prepare)


def handles_of(args: AppArgs) -> list[Any]:
    """Of the nodes that compute, in the order in which the Refiner takes them."""
    nodes = Image2FeatureNode(args), PatchSwapNode(args), Feature2ImageNode(args)
    return [Handle(node) for node in nodes]

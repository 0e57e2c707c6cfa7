"""The nodes of the serving graph; `deploy.app` makes deployments of them.

Image2Feature -> PatchSwap -> Feature2Image -> Refiner. Every node scales by itself.
Arrays go from node to node as numpy by reference; only the image of each scale comes
back to the Refiner, and no feature map ever does. Layouts are those of `models`:
float32, B C H W, RGB 0-1; a mask is bool, B 1 H W, True = hole.

A node computes one request at a time, with `threads` threads. Serve gives it more than
one so that the next one's arrays travel meanwhile.
"""

import asyncio
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ray.serve.handle import DeploymentHandle
from ray.serve.metrics import Histogram
from torch import Tensor

from deploy.engine import STAGE_BOUNDARIES, Filled, ModelInfo
from deploy.filling import model_info, plan_fill
from deploy.handles import answer_of
from deploy.options import InpaintOptions
from deploy.release import local_release
from deploy.settings import AppArgs
from models.inpainter import Inpainter
from models.patch_swap import patch_swap
from models.pixels import tensor_to_image
from models.scales import ScalePlan
from models.weights import load_release, read_release_config

FloatArray = npt.NDArray[np.float32]
BoolArray = npt.NDArray[np.bool_]


class Encoded(NamedTuple):
    """Features (1 256 h w) and what is compared in their place: None for themselves."""

    features: FloatArray
    keys: FloatArray | None


@dataclass(frozen=True)
class NodeStatus:
    """What a replica says of itself: its release, and how many requests it has computed."""

    model: ModelInfo
    calls: int


class Node:
    """What all nodes share: the release's name, one computation at a time, its duration."""

    stage: str

    def __init__(self, args: AppArgs, model: ModelInfo) -> None:
        torch.set_num_threads(args.threads)
        self._device = torch.device(args.device)
        self._model = model
        self._calls = 0
        self._computing = threading.Lock()
        self._seconds = Histogram(
            "kintsugi_stage_seconds",
            description="Time of one stage of one request",
            boundaries=STAGE_BOUNDARIES,
            tag_keys=("stage",),
        )

    async def ready(self) -> NodeStatus:
        """Answer beside a running computation."""
        return NodeStatus(self._model, self._calls)

    def check_health(self) -> None:
        """Fail when the device does: Serve then replaces this replica."""
        torch.ones(1, device=self._device).add_(1).item()

    @contextmanager
    def _timed(self) -> Iterator[None]:
        started = time.perf_counter()
        yield
        self._calls += 1
        self._seconds.observe(time.perf_counter() - started, tags={"stage": self.stage})

    @contextmanager
    def _compute(self) -> Iterator[None]:
        with self._computing, torch.inference_mode(), self._timed():
            yield

    def _tensor(self, array: FloatArray | BoolArray) -> Tensor:
        # A copy: an array that came by reference is read-only, which tensors cannot be.
        return torch.tensor(array, device=self._device, dtype=torch.float32)


class Image2FeatureNode(Node):
    """Infer: the features of an image whose hole is filled coarsely first, or is filled."""

    stage = "infer"

    def __init__(self, args: AppArgs) -> None:
        inpainter, model = _load(args)
        super().__init__(args, model)
        self._network = inpainter.image2feature

    def infer(self, image: FloatArray, mask: BoolArray) -> Encoded:
        """The first scale: fill the hole of ``image`` coarsely, then encode."""
        with self._compute():
            inferred = self._network(self._tensor(image), self._tensor(mask))
            return Encoded(_array(inferred.features), None)

    def encode(self, image: FloatArray, mask: BoolArray) -> Encoded:
        """A later scale: encode ``image`` as it is, with the last scale's fill in it."""
        with self._compute():
            return Encoded(_array(self._network.encode(self._tensor(image))), None)


class PatchSwapNode(Node):
    """Match: has no weights, only the release's way of matching."""

    stage = "match"

    def __init__(self, args: AppArgs) -> None:
        with local_release(args.release) as folder:
            config = read_release_config(folder)
        super().__init__(args, model_info(config))
        self._matching = config.matching

    def swap(self, encoded: Encoded, mask: BoolArray) -> FloatArray:
        """Features with the hole's patches replaced by known ones."""
        keys = encoded.keys
        with self._compute():
            swapped = patch_swap(
                self._tensor(encoded.features),
                self._tensor(mask),
                keys=None if keys is None else self._tensor(keys),
                guard=self._matching.guard,
            )
            return _array(swapped)


class Feature2ImageNode(Node):
    """Translate: the image of a feature map."""

    stage = "translate"

    def __init__(self, args: AppArgs) -> None:
        inpainter, model = _load(args)
        super().__init__(args, model)
        self._network = inpainter.feature2image

    def translate(self, features: FloatArray) -> FloatArray:
        """Features (1 256 h w) to an image of four times the side."""
        with self._compute():
            return _array(self._network(self._tensor(features)))


class RefinerNode(Node):
    """Refine: walks the scales of one photograph through the other nodes; has no weights.

    The same walk as `Inpainter.inpaint`, over the same plan.
    """

    stage = "refine"

    def __init__(
        self,
        args: AppArgs,
        image2feature: DeploymentHandle,
        patch_swap: DeploymentHandle,
        feature2image: DeploymentHandle,
    ) -> None:
        with local_release(args.release) as folder:
            config = read_release_config(folder)
        # It only plans and composes: a GPU, if any, is for the other nodes.
        super().__init__(args.model_copy(update={"device": "cpu"}), model_info(config))
        self._image2feature = image2feature
        self._patch_swap = patch_swap
        self._feature2image = feature2image

    async def inpaint(
        self, pixels: npt.NDArray[np.uint8], mask: BoolArray, options: InpaintOptions
    ) -> Filled:
        """Fill the hole of one photograph; as `deploy.engine.Engine.inpaint`."""
        with self._timed():
            plan = await asyncio.to_thread(plan_fill, pixels, mask, options)
            filled: FloatArray | None = None
            for level in range(len(plan.sizes)):
                image, hole = await asyncio.to_thread(self._scale, plan, level, filled)
                infer_or_encode = (
                    self._image2feature.infer if level == 0 else (self._image2feature.encode)
                )
                # Not awaited: the next node gets a reference and fetches the map itself.
                encoded = infer_or_encode.remote(image, hole)
                swapped = self._patch_swap.swap.remote(encoded, hole)
                filled = await answer_of(self._feature2image.translate.remote(swapped))
            assert filled is not None
            return Filled(await asyncio.to_thread(self._compose, plan, filled), self._model)

    def _scale(
        self, plan: ScalePlan, level: int, previous: FloatArray | None
    ) -> tuple[FloatArray, BoolArray]:
        with torch.inference_mode():
            image, mask = plan.inputs(level, None if previous is None else self._tensor(previous))
            return _array(image), mask.numpy() > 0

    def _compose(self, plan: ScalePlan, filled: FloatArray) -> npt.NDArray[np.uint8]:
        with torch.inference_mode():
            pixels: npt.NDArray[np.uint8] = tensor_to_image(plan.compose(self._tensor(filled)))
            return pixels


def _load(args: AppArgs) -> tuple[Inpainter, ModelInfo]:
    with local_release(args.release) as folder:
        inpainter, config = load_release(folder, device=args.device)
    return inpainter, model_info(config)


def _array(tensor: Tensor) -> FloatArray:
    """A plain array of its own, in C order: what travels without a copy."""
    array: FloatArray = tensor.contiguous().cpu().numpy()
    return array

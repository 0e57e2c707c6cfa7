"""Refine: the node that walks one request through the nodes that compute; has no weights.

Only the image of each scale comes back to it, with the indices of its match; feature maps
go from node to node by reference and never through it.
"""

import asyncio

import numpy as np
import numpy.typing as npt
import torch
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from deploy.engine import Filled
from deploy.filling import model_info, plan_inpainting, plan_transfer
from deploy.handles import answer_of
from deploy.node import BoolArray, FloatArray, IndexArray, Node, float_array
from deploy.options import InpaintOptions, StylizeOptions
from deploy.release import local_release
from deploy.settings import AppArgs
from models.crops import Box
from models.pixels import tensor_to_image
from models.scales import ScalePlan
from models.style_plan import StylePlan
from models.weights import read_release_config


class RefinerNode(Node):
    """The same walks as those of an `Inpainter`, over the same plans."""

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
        """Fill the holes of one photograph; as `deploy.engine.Engine.inpaint`."""
        with self._timed():
            plan = await asyncio.to_thread(plan_inpainting, pixels, mask, options)
            answer = plan.image.clone()
            # Asked for one at a time, and in a thread: a crop is planned when its turn comes.
            crops = iter(plan.crops)
            while (crop := await asyncio.to_thread(next, crops, None)) is not None:
                filled = await self._fill(crop, options.seed)
                await asyncio.to_thread(self._paste_crop, answer, crop, filled)
            return Filled(await asyncio.to_thread(tensor_to_image, answer), self._model)

    async def _fill(self, crop: ScalePlan, seed: int) -> FloatArray:
        """The last scale's image of one crop."""
        filled: FloatArray | None = None
        indices: IndexArray | None = None
        for level in range(len(crop.sizes)):
            image, hole, needed = await asyncio.to_thread(self._scale, crop, level, filled)
            first = level == 0
            infer_or_encode = self._image2feature.infer if first else self._image2feature.encode
            # Not awaited: the next node gets a reference and fetches the map itself.
            encoded = infer_or_encode.remote(image, hole)
            swapped = self._patch_swap.swap.remote(encoded, hole, indices, seed)
            filled, indices = await answer_of(self._feature2image.translate.remote(swapped, needed))
        assert filled is not None
        return filled

    async def stylize(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
    ) -> Filled:
        """Transfer a style; the same walk as `Inpainter.stylize`, over the same plan."""
        with self._timed():
            plan = await asyncio.to_thread(plan_transfer, content, style, options)
            # Not awaited, here and below: feature maps go from node to node by reference.
            of_style = self._image2feature.encode_whole.remote(float_array(plan.style))
            canvas = plan.canvas()
            for box in plan.boxes:
                tile = await asyncio.to_thread(self._tile, plan, box)
                of_tile = self._image2feature.encode_whole.remote(tile)
                swapped = self._patch_swap.swap_style.remote(of_tile, of_style, options)
                image, _ = await answer_of(self._feature2image.translate.remote(swapped, None))
                await asyncio.to_thread(self._paste_tile, plan, canvas, box, image)
            return Filled(await asyncio.to_thread(tensor_to_image, canvas), self._model)

    def _scale(
        self, plan: ScalePlan, level: int, previous: FloatArray | None
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        with torch.inference_mode():
            image, mask = plan.inputs(level, None if previous is None else self._tensor(previous))
            return float_array(image), mask.numpy() > 0, plan.needed(level).numpy() > 0

    def _paste_crop(self, answer: Tensor, crop: ScalePlan, filled: FloatArray) -> None:
        with torch.inference_mode():
            crop.paste(answer, self._tensor(filled))

    def _tile(self, plan: StylePlan, box: Box) -> FloatArray:
        with torch.inference_mode():
            return float_array(plan.tile(box))

    def _paste_tile(self, plan: StylePlan, canvas: Tensor, box: Box, image: FloatArray) -> None:
        with torch.inference_mode():
            plan.paste(canvas, box, self._tensor(image))

"""Refine: the node that walks one request through the nodes that compute; has no weights.

Only the image of each scale comes back to it, with the indices of its match; feature maps
go from node to node by reference and never through it. A scale or tile whose computation is
lost, since a replica died, is computed again from what it began with.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from deploy.deadline import check_deadline
from deploy.engine import Busy, Filled
from deploy.graph.base_node import (
    BoolArray,
    FloatArray,
    IndexArray,
    Node,
    NodeStatus,
    as_tensor,
    float_array,
)
from deploy.graph.remote_calls import Lost, answer_of, persevere
from deploy.graph.request_context import Call, Release, ReleaseChanged
from deploy.options import InpaintOptions, StylizeOptions
from deploy.planning import finite_image, model_info, plan_inpainting, plan_transfer
from deploy.progress_stream import followed, tell
from deploy.release_files import local_release
from deploy.settings import AppArgs
from deploy.tracing import describe_span, span
from models.plan.crops import Box
from models.plan.fill_plan import ScalePlan
from models.plan.style_plan import StylePlan
from models.progress import Step
from models.weights import load_release

logger = logging.getLogger(__name__)


class Scale(NamedTuple):
    """What one scale of one crop begins with."""

    level: int
    image: FloatArray
    hole: BoolArray
    needed: BoolArray
    indices: IndexArray | None


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
        super().__init__(args)
        self._release = _sound_release(args.release)
        self._most, self._in_progress = args.max_in_progress, 0
        self._share_threads = args.share_threads
        self._image2feature = image2feature
        self._patch_swap = patch_swap
        self._feature2image = feature2image

    async def ready(self) -> NodeStatus:
        """Which release answers new requests, and how many have been answered."""
        return NodeStatus(self._release.model, self._calls)

    async def inpaint(
        self,
        pixels: npt.NDArray[np.uint8],
        mask: BoolArray,
        options: InpaintOptions,
        deadline: float,
    ) -> Filled:
        """Fill the holes of one photograph; as `deploy.engine.Engine.inpaint`.

        Args:
            pixels: As there, like mask and options.
            mask: See above.
            options: See above.
            deadline: See `deploy.deadline`.
        """
        return await self._with_one_release(
            deadline, lambda call: self._inpaint(call, pixels, mask, options)
        )

    async def stylize(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        deadline: float,
    ) -> Filled:
        """Transfer a style; the same walk as `Inpainter.stylize`, over the same plan."""
        return await self._with_one_release(
            deadline, lambda call: self._stylize(call, content, style, options)
        )

    async def inpaint_followed(
        self,
        pixels: npt.NDArray[np.uint8],
        mask: BoolArray,
        options: InpaintOptions,
        deadline: float,
    ) -> AsyncIterator[Step | Filled]:
        """`inpaint` as a stream: each scale as it begins, the answer last."""
        async for told in followed(self.inpaint(pixels, mask, options, deadline)):
            yield told

    async def stylize_followed(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        deadline: float,
    ) -> AsyncIterator[Step | Filled]:
        """`stylize` as a stream: each tile as it begins, the answer last."""
        async for told in followed(self.stylize(content, style, options, deadline)):
            yield told

    async def _with_one_release(
        self, deadline: float, walk: Callable[[Call], Awaitable[Tensor]]
    ) -> Filled:
        """Answer with the release of now, all of it, and otherwise all of it with the next.

        Raises: Busy: as many as there may be are in progress.
        """
        if self._most and self._in_progress >= self._most:
            raise Busy(f"{self._in_progress} requests are in progress")
        self._in_progress += 1
        try:
            return await self._answer(deadline, walk)
        finally:
            self._in_progress -= 1

    async def _answer(self, deadline: float, walk: Callable[[Call], Awaitable[Tensor]]) -> Filled:
        started = time.perf_counter()
        call = Call(self._release, deadline)
        describe_span(release=call.release.model.version)
        try:
            answer = await walk(call)
        except ReleaseChanged as error:
            logger.warning("beginning again: %s", error)
            self._release = await asyncio.to_thread(_sound_release, call.release.uri)
            call = Call(self._release, deadline)
            describe_span(release=call.release.model.version)
            answer = await walk(call)
        pixels = await asyncio.to_thread(finite_image, answer)
        self._computed(started)
        return Filled(pixels, call.release.model)

    async def _inpaint(
        self,
        call: Call,
        pixels: npt.NDArray[np.uint8],
        mask: BoolArray,
        options: InpaintOptions,
    ) -> Tensor:
        plan = await asyncio.to_thread(plan_inpainting, pixels, mask, options)
        answer = plan.image.clone()
        # Asked for one at a time, and in a thread: a crop is planned when its turn comes.
        crops, done = iter(plan.crops), 0
        while (crop := await asyncio.to_thread(next, crops, None)) is not None:
            filled = await self._fill(
                call, crop, options.seed, partial(Step, done, len(plan.crops))
            )
            done += 1
            await asyncio.to_thread(self._paste_crop, answer, crop, filled)
        return answer

    async def _fill(
        self, call: Call, crop: ScalePlan, seed: int, step: Callable[[int, int], Step]
    ) -> FloatArray:
        """The last scale's image of one crop."""
        filled: FloatArray | None = None
        indices: IndexArray | None = None
        for level in range(len(crop.sizes)):
            check_deadline(call.deadline)
            tell(now := step(level, len(crop.sizes)))
            with span("scale", **now._asdict(), pixels=math.prod(crop.sizes[level])):
                pixels = await asyncio.to_thread(self._inputs, crop, level, filled)
                scale = Scale(level, *pixels, indices)
                filled, indices = await persevere(partial(self._fill_scale, call, scale, seed))
        assert filled is not None
        return filled

    async def _fill_scale(
        self, call: Call, scale: Scale, seed: int
    ) -> tuple[FloatArray, IndexArray | None]:
        call = self._shared(call)
        # Not awaited: the next node gets a reference and fetches the map itself.
        if scale.level == 0:
            encoded = self._image2feature.infer.remote(call, scale.image, scale.hole)
        else:
            encoded = self._image2feature.encode.remote(call, scale.image)
        swapped = self._patch_swap.swap.remote(call, encoded, scale.hole, scale.indices, seed)
        translated = self._feature2image.translate.remote(call, swapped, scale.needed)
        image, indices = await answer_of(translated, encoded, swapped)
        return image, indices

    async def _stylize(
        self,
        call: Call,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
    ) -> Tensor:
        plan = await asyncio.to_thread(plan_transfer, content, style, options)
        of_style = _StyleFeatures(self._image2feature, call, float_array(plan.style))
        canvas = plan.canvas()
        for number, box in enumerate(plan.boxes):
            check_deadline(call.deadline)
            tell(now := Step(number, len(plan.boxes), 0, 1))
            with span("tile", **now._asdict()):
                tile = await asyncio.to_thread(self._tile, plan, box)
                image = await persevere(partial(self._style_tile, call, tile, of_style, options))
            await asyncio.to_thread(self._paste_tile, plan, canvas, box, image)
        return canvas

    async def _style_tile(
        self, call: Call, tile: FloatArray, of_style: "_StyleFeatures", options: StylizeOptions
    ) -> FloatArray:
        call = self._shared(call)
        of_tile = self._image2feature.encode_whole.remote(call, tile)
        swapped = self._patch_swap.swap_style.remote(call, of_tile, of_style.get(), options)
        translated = self._feature2image.translate.remote(call, swapped, None)
        try:
            image, _ = await answer_of(translated, of_tile, swapped, of_style.get())
        except Lost:
            of_style.ask_again()
            raise
        filled: FloatArray = image
        return filled

    def _shared(self, call: Call) -> Call:
        """The call as it is now: how many are in progress changes from scale to scale."""
        return replace(call, in_progress=self._in_progress) if self._share_threads else call

    def _inputs(
        self, plan: ScalePlan, level: int, previous: FloatArray | None
    ) -> tuple[FloatArray, BoolArray, BoolArray]:
        with torch.inference_mode():
            image, mask = plan.inputs(level, None if previous is None else as_tensor(previous))
            return float_array(image), mask.numpy() > 0, plan.needed(level).numpy() > 0

    def _paste_crop(self, answer: Tensor, crop: ScalePlan, filled: FloatArray) -> None:
        with torch.inference_mode():
            crop.paste(answer, as_tensor(filled))

    def _tile(self, plan: StylePlan, box: Box) -> FloatArray:
        with torch.inference_mode():
            return float_array(plan.tile(box))

    def _paste_tile(self, plan: StylePlan, canvas: Tensor, box: Box, image: FloatArray) -> None:
        with torch.inference_mode():
            plan.paste(canvas, box, as_tensor(image))


class _StyleFeatures:
    """The style's features by reference, of which every tile is made."""

    def __init__(self, image2feature: DeploymentHandle, call: Call, style: FloatArray) -> None:
        self._ask = partial(image2feature.encode_whole.remote, call, style)
        self._asked: Any = None

    def get(self) -> Any:
        if self._asked is None:
            self._asked = self._ask()
        return self._asked

    def ask_again(self) -> None:
        """They may have been lost."""
        self._asked = None


def _sound_release(uri: str) -> Release:
    """What is at a place, after all of it was read: no request shall meet a broken release.

    Raises: StorageError, ValueError: There is no release, or not a whole one.
    """
    with local_release(uri) as folder:
        _, config = load_release(folder)
    return Release(uri, model_info(config))

"""Refine: the node that walks one request through the nodes that compute; has no weights.

Only the image of each scale comes back to it, with the indices of its match; feature maps
go from node to node by reference and never through it. A scale or tile whose computation is
lost, since a replica died, is computed again from what it began with. Which releases answer,
`release_rollout` knows.
"""

import asyncio
import logging
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Generator
from dataclasses import replace
from functools import partial
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from ray.serve.handle import DeploymentHandle
from torch import Tensor

from kintsugi.deploy.deadline import check_deadline
from kintsugi.deploy.engine import Busy, Filled, Pixels
from kintsugi.deploy.graph.base_node import (
    BoolArray,
    FloatArray,
    IndexArray,
    Node,
    NodeStatus,
    as_tensor,
    float_array,
)
from kintsugi.deploy.graph.release_rollout import ReleaseRollout
from kintsugi.deploy.graph.remote_calls import ReplicaLost, answer_of, retry_lost
from kintsugi.deploy.graph.request_context import Release, ReleaseChanged, RequestContext
from kintsugi.deploy.options import AnswerOptions, InpaintOptions, StylizeOptions
from kintsugi.deploy.planning import (
    PhotoPlan,
    finite_image,
    plan_photo,
    plan_transfer,
)
from kintsugi.deploy.progress_stream import report_progress, stream_progress
from kintsugi.deploy.settings import AppArgs
from kintsugi.deploy.tracing import describe_span, span
from kintsugi.deploy.urgency import Urgency
from kintsugi.models.plan.crops import Box
from kintsugi.models.plan.fill_plan import ScalePlan
from kintsugi.models.plan.style_plan import StylePlan
from kintsugi.models.plan.walk import ScaleFill, ScaleInput, walk_scales
from kintsugi.models.progress import Step

logger = logging.getLogger(__name__)


class Scale(NamedTuple):
    """What one scale of one crop begins with; as `kintsugi.models.plan.walk.ScaleInput`."""

    level: int
    image: FloatArray
    mask: BoolArray
    needed: BoolArray
    previous: IndexArray | None


class ScaleResult(NamedTuple):
    """What it ends with; as `kintsugi.models.plan.walk.ScaleFill`."""

    image: FloatArray
    matches: IndexArray


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
        nodes = (image2feature, patch_swap, feature2image)
        self._rollout = ReleaseRollout(args, nodes, self._record)
        # The jobs of a replica of the Ingress come in addition to its requests.
        jobs = args.jobs_running if args.jobs else 0
        self._most = args.max_in_progress and args.max_in_progress + jobs
        self._in_progress = 0
        self._share_threads = args.share_threads
        self._image2feature = image2feature
        self._patch_swap = patch_swap
        self._feature2image = feature2image

    async def reconfigure(self, user_config: dict[str, Any]) -> None:
        """Called by Serve with the deployment's `user_config`, also while the replica runs.

        Raises: as `ReleaseRollout.reconfigure`.
        """
        await self._rollout.reconfigure(user_config)

    async def check_health(self) -> None:
        """Called by Serve when the replica has started, and then every ten seconds.

        A release that could not be read is read again meanwhile; nobody waits for it.
        """
        self._rollout.check_health()

    async def ready(self) -> NodeStatus:
        """Which releases answer new requests, and how many have been answered."""
        return NodeStatus(self._rollout.models, self._calls)

    async def inpaint(
        self,
        pixels: Pixels,
        mask: BoolArray,
        options: InpaintOptions,
        deadline: float,
        urgency: Urgency = Urgency.SMALL,
    ) -> Filled:
        """Fill the holes of one photograph; as `kintsugi.deploy.engine.Engine.inpaint`.

        Args:
            pixels: As there, like mask and options.
            mask: See above.
            options: See above.
            deadline: See `kintsugi.deploy.deadline`.
            urgency: See `kintsugi.deploy.urgency`.
        """
        return await self._with_one_release(
            options,
            deadline,
            lambda context: self._inpaint(context, pixels, mask, options),
            urgency,
        )

    async def stylize(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        deadline: float,
        urgency: Urgency = Urgency.SMALL,
    ) -> Filled:
        """Transfer a style; the same walk as `Inpainter.stylize`, over the same plan."""
        return await self._with_one_release(
            options,
            deadline,
            lambda context: self._stylize(context, content, style, options),
            urgency,
        )

    async def inpaint_with_progress(
        self,
        pixels: Pixels,
        mask: BoolArray,
        options: InpaintOptions,
        deadline: float,
        urgency: Urgency = Urgency.SMALL,
    ) -> AsyncIterator[Step | Filled]:
        """`inpaint` as a stream: each scale as it begins, the answer last."""
        async for item in stream_progress(self.inpaint(pixels, mask, options, deadline, urgency)):
            yield item

    async def stylize_with_progress(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        deadline: float,
        urgency: Urgency = Urgency.SMALL,
    ) -> AsyncIterator[Step | Filled]:
        """`stylize` as a stream: each tile as it begins, the answer last."""
        async for item in stream_progress(self.stylize(content, style, options, deadline, urgency)):
            yield item

    async def _with_one_release(
        self,
        options: AnswerOptions,
        deadline: float,
        walk: Callable[[RequestContext], Awaitable[Pixels]],
        urgency: Urgency = Urgency.SMALL,
    ) -> Filled:
        """Answer with the release of now, all of it, and otherwise all of it with the next.

        Raises:
            Busy: As many as there may be are in progress.
            InvalidInput: There is no such model.
        """
        release = self._rollout.find(options.model)
        if self._most and self._in_progress >= self._most:
            raise Busy(f"{self._in_progress} requests are in progress")
        self._in_progress += 1
        try:
            return await self._answer(release, deadline, walk, urgency)
        finally:
            self._in_progress -= 1
            self._memory.soon()

    async def _answer(
        self,
        release: Release,
        deadline: float,
        walk: Callable[[RequestContext], Awaitable[Pixels]],
        urgency: Urgency = Urgency.SMALL,
    ) -> Filled:
        started = time.perf_counter()
        context = RequestContext(release, deadline, urgency)
        describe_span(release=release.model.version)
        try:
            pixels = await walk(context)
        except ReleaseChanged as error:
            logger.warning("beginning again: %s", error)
            release = await self._rollout.read_again(release)
            context = RequestContext(release, deadline, urgency)
            describe_span(release=release.model.version)
            pixels = await walk(context)
        self._computed(started)
        return Filled(pixels, release.model)

    async def _inpaint(
        self,
        context: RequestContext,
        pixels: Pixels,
        mask: BoolArray,
        options: InpaintOptions,
    ) -> Pixels:
        plan = await asyncio.to_thread(
            plan_photo, pixels, mask, options, context.release.first_side
        )
        # Asked for one at a time, and in a thread: a crop is planned when its turn comes.
        crops, done = plan.crops(), 0
        while (crop := await asyncio.to_thread(next, crops, None)) is not None:
            filled = await self._fill(context, crop, options.seed, partial(Step, done, len(plan)))
            done += 1
            await asyncio.to_thread(self._paste_crop, plan, crop, filled)
            del filled
        return await asyncio.to_thread(plan.answer)

    async def _fill(
        self, context: RequestContext, crop: ScalePlan, seed: int, step: Callable[[int, int], Step]
    ) -> Tensor:
        """The last scale's image of one crop."""
        walk = walk_scales(crop)
        scale = await asyncio.to_thread(_next_scale, walk, None)
        while isinstance(scale, Scale):
            check_deadline(context.deadline)
            report_progress(now := step(scale.level, len(crop.sizes)))
            with span("scale", **now._asdict(), pixels=math.prod(crop.sizes[scale.level])):
                fill = await retry_lost(partial(self._fill_scale, context, scale, seed))
                scale = await asyncio.to_thread(_next_scale, walk, fill)
        return scale

    async def _fill_scale(self, context: RequestContext, scale: Scale, seed: int) -> ScaleResult:
        """The steps of `Inpainter`, by calls to the other nodes.

        What one node gives is not awaited: the next one gets a reference and fetches it itself.
        """
        searches = context.release.searches
        context = self._shared(context)
        if scale.level and searches:
            searched = self._patch_swap.search.remote(
                context, scale.image, scale.mask, None, None, scale.previous, seed
            )
            return ScaleResult(*await answer_of(searched))
        if scale.level:
            encoded = self._image2feature.encode.remote(context, scale.image)
        else:
            encoded = self._image2feature.infer.remote(context, scale.image, scale.mask)
        swapped = self._patch_swap.swap.remote(context, encoded, scale.mask, scale.previous, seed)
        translated = self._feature2image.translate.remote(context, swapped, scale.needed)
        if not searches:
            return ScaleResult(*await answer_of(translated, encoded, swapped))
        searched = self._patch_swap.search.remote(
            context, scale.image, scale.mask, translated, encoded, None, seed
        )
        return ScaleResult(*await answer_of(searched, encoded, swapped, translated))

    async def _stylize(
        self,
        context: RequestContext,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
    ) -> Pixels:
        plan = await asyncio.to_thread(plan_transfer, content, style, options)
        of_style = _StyleFeatures(self._image2feature, context, float_array(plan.style))
        canvas = plan.canvas()
        for number, box in enumerate(plan.boxes):
            check_deadline(context.deadline)
            report_progress(now := Step(number, len(plan.boxes), 0, 1))
            with span("tile", **now._asdict()):
                tile = await asyncio.to_thread(self._tile, plan, box)
                image = await retry_lost(
                    partial(self._style_tile, context, tile, of_style, options)
                )
            await asyncio.to_thread(self._paste_tile, plan, canvas, box, image)
        return await asyncio.to_thread(finite_image, canvas, content.dtype)

    async def _style_tile(
        self,
        context: RequestContext,
        tile: FloatArray,
        of_style: "_StyleFeatures",
        options: StylizeOptions,
    ) -> FloatArray:
        context = self._shared(context)
        of_tile = self._image2feature.encode_whole.remote(context, tile)
        swapped = self._patch_swap.swap_style.remote(context, of_tile, of_style.get(), options)
        translated = self._feature2image.translate.remote(context, swapped, None)
        try:
            image, _ = await answer_of(translated, of_tile, swapped, of_style.get())
        except ReplicaLost:
            of_style.ask_again()
            raise
        filled: FloatArray = image
        return filled

    def _shared(self, context: RequestContext) -> RequestContext:
        """The call as it is now: how many are in progress changes from scale to scale."""
        return replace(context, in_progress=self._in_progress) if self._share_threads else context

    def _paste_crop(self, plan: PhotoPlan, crop: ScalePlan, filled: Tensor) -> None:
        with torch.inference_mode():
            plan.paste(crop, filled)

    def _tile(self, plan: StylePlan, box: Box) -> FloatArray:
        with torch.inference_mode():
            return float_array(plan.tile(box))

    def _paste_tile(self, plan: StylePlan, canvas: Tensor, box: Box, image: FloatArray) -> None:
        with torch.inference_mode():
            plan.paste(canvas, box, as_tensor(image))


def _next_scale(
    walk: Generator[ScaleInput, ScaleFill, Tensor], fill: ScaleResult | None
) -> Scale | Tensor:
    """The next scale of a walk that is sent the fill of the last one, or its end."""
    with torch.inference_mode():
        try:
            if fill is None:
                scale = next(walk)
            else:
                matches = torch.from_numpy(np.array(fill.matches))
                scale = walk.send(ScaleFill(as_tensor(fill.image), matches))
        except StopIteration as end:
            image: Tensor = end.value
            return image
    return Scale(
        scale.level,
        float_array(scale.image),
        scale.mask.numpy() > 0,
        scale.needed.numpy() > 0,
        None if scale.previous is None else scale.previous.numpy(),
    )


class _StyleFeatures:
    """The style's features by reference; every tile is made from them."""

    def __init__(
        self, image2feature: DeploymentHandle, context: RequestContext, style: FloatArray
    ) -> None:
        self._ask = partial(image2feature.encode_whole.remote, context, style)
        self._asked: Any = None

    def get(self) -> Any:
        if self._asked is None:
            self._asked = self._ask()
        return self._asked

    def ask_again(self) -> None:
        """They may have been lost."""
        self._asked = None

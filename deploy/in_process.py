"""An engine in this process: tests and small installations without Ray."""

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial

import numpy as np
import numpy.typing as npt

from kintsugi.deploy.engine import Filled, ModelInfo, Pixels, find_model
from kintsugi.deploy.memory import trim_heap
from kintsugi.deploy.options import AnswerOptions, InpaintOptions, StylizeOptions
from kintsugi.deploy.planning import finite_image, plan_inpainting, plan_transfer
from kintsugi.models.inpainter import CancelCheck, Inpainter
from kintsugi.models.pixels import image_to_tensor
from kintsugi.models.progress import Progress, no_progress


class _GivenUp(Exception):
    """Nobody waits for the answer any more."""


class LocalEngine:
    """Runs Inpainters, one request at a time.

    A call that is cancelled ends before its next step: one network or one match, on one
    scale of one crop or one tile.
    """

    def __init__(
        self,
        inpainter: Inpainter,
        model: ModelInfo,
        more: Sequence[tuple[Inpainter, ModelInfo]] = (),
    ) -> None:
        """Take what is loaded.

        Args:
            inpainter: Answers requests that name no release.
            model: Which one it is.
            more: Others, which requests may name.
        """
        self._inpainters = [inpainter, *(each for each, _ in more)]
        self._models = [model, *(each for _, each in more)]
        self._executor = ThreadPoolExecutor(max_workers=1, thread_name_prefix="inpaint")

    async def inpaint(
        self,
        pixels: Pixels,
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """See Engine."""
        return await self._run(options, partial(self._fill, pixels, mask, options, progress))

    async def stylize(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        *,
        progress: Progress = no_progress,
    ) -> Filled:
        """See Engine."""
        return await self._run(options, partial(self._transfer, content, style, options, progress))

    async def models(self) -> list[ModelInfo]:
        """See Engine."""
        return list(self._models)

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        return {"Inpainter": True}

    async def _run(
        self, options: AnswerOptions, work: Callable[[Inpainter, CancelCheck], Pixels]
    ) -> Filled:
        """Run the work in the one thread, until it is done or this call is cancelled."""
        number = find_model(self._models, options.model)
        inpainter, given_up = self._inpainters[number], threading.Event()

        def check() -> None:
            if given_up.is_set():
                raise _GivenUp

        def run() -> Pixels | None:
            try:
                return work(inpainter, check)
            except _GivenUp:
                # Nobody waits for it. What is left of the step that ran is freed here.
                pass
            trim_heap()
            return None

        try:
            # Cancelling takes what still waits out of the queue, but stops no thread.
            pixels = await asyncio.get_running_loop().run_in_executor(self._executor, run)
        finally:
            given_up.set()
        assert pixels is not None
        return Filled(pixels, self._models[number])

    def _fill(
        self,
        pixels: Pixels,
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        progress: Progress,
        inpainter: Inpainter,
        check: CancelCheck,
    ) -> Pixels:
        # What does not fit the plan is the caller's error; the rest would be a bug.
        plan = plan_inpainting(pixels, mask, options, inpainter.matching.first_side)
        answer: Pixels = finite_image(
            inpainter.fill_plan(plan, options.seed, check=check, progress=progress),
            pixels.dtype,
        )
        return answer

    def _transfer(
        self,
        content: Pixels,
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        progress: Progress,
        inpainter: Inpainter,
        check: CancelCheck,
    ) -> Pixels:
        # As above.
        plan_transfer(content, style, options)
        answer: Pixels = finite_image(
            inpainter.stylize(
                image_to_tensor(content),
                image_to_tensor(style),
                strength=options.strength,
                seed=options.seed,
                check=check,
                progress=progress,
            ),
            content.dtype,
        )
        return answer

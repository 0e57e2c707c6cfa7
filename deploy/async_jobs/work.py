"""What a job computes: files that were kept to an image, or why not; knows no storage."""

import asyncio
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from kintsugi.deploy.engine import Busy, Engine, Filled, ModelInfo, Observer
from kintsugi.deploy.http.access_log import Record
from kintsugi.deploy.http.codec import decode_pair, decode_photo
from kintsugi.deploy.http.image_service import Made, Work
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import InpaintForm, StylizeForm
from kintsugi.deploy.options import InpaintOptions, StylizeOptions
from kintsugi.deploy.settings import AppArgs
from kintsugi.models.progress import Progress

# Between two tries of a job for which the engine has no room; doubles up to the second.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.5, 15.0


class JobWork:
    """Checks what is sent when a job is made, and computes it later."""

    def __init__(self, engine: Engine, args: AppArgs, observer: Observer) -> None:
        self._engine = engine
        self._observer = observer
        # Of a job, not of a request, is the deadline of what it asks for.
        self._args = args.model_copy(update={"deadline_seconds": args.jobs_deadline_seconds})

    async def check(self, form: InpaintForm | StylizeForm) -> None:
        """Refuse at once what would be refused later. Raises: InputError."""
        limits = self._args.limits
        if isinstance(form, InpaintForm):
            await asyncio.to_thread(decode_photo, form, limits)
        else:
            largest = self._args.max_stylize_pixels
            await asyncio.to_thread(decode_pair, form, limits, max_content_pixels=largest)

    async def make(self, form: InpaintForm | StylizeForm, progress: Progress) -> Made:
        """Compute a job's image, waiting while the engine is busy.

        Raises:
            InputError: The options do not fit the photograph.
            Problem: 504 `deadline_exceeded`.
        """
        work = Work(_Followed(self._engine, progress), self._args, self._observer)
        seconds = self._args.deadline_seconds
        try:
            async with asyncio.timeout(seconds):
                return await _patiently(work, form)
        except TimeoutError as error:
            raise Problem(
                504,
                "deadline_exceeded",
                detail=f"not done {seconds:g} seconds after it was started",
                hint="send a smaller image or hole, or try again when there is less to do",
            ) from error


async def _patiently(work: Work, form: InpaintForm | StylizeForm) -> Made:
    pause = _FIRST_PAUSE_SECONDS
    while True:
        # Of requests, which this is none of.
        unlogged = Record()
        try:
            if isinstance(form, InpaintForm):
                return await work.inpaint(form, unlogged)
            return await work.stylize(form, unlogged)
        except Busy:
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)


@dataclass(frozen=True)
class _Followed:
    """An engine that reports its progress to one caller."""

    engine: Engine
    progress: Progress

    async def inpaint(
        self,
        pixels: npt.NDArray[np.uint8],
        mask: npt.NDArray[np.bool_],
        options: InpaintOptions,
        *,
        progress: Progress | None = None,
    ) -> Filled:
        """See Engine."""
        return await self.engine.inpaint(pixels, mask, options, progress=progress or self.progress)

    async def stylize(
        self,
        content: npt.NDArray[np.uint8],
        style: npt.NDArray[np.uint8],
        options: StylizeOptions,
        *,
        progress: Progress | None = None,
    ) -> Filled:
        """See Engine."""
        return await self.engine.stylize(
            content, style, options, progress=progress or self.progress
        )

    async def model(self) -> ModelInfo:
        """See Engine."""
        return await self.engine.model()

    async def ready(self) -> dict[str, bool]:
        """See Engine."""
        return await self.engine.ready()

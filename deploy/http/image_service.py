"""A checked form to an encoded answer: decode, engine, encode, deadline; knows no HTTP route."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from kintsugi.deploy.deadline import answered_within
from kintsugi.deploy.engine import Engine, Filled, ModelInfo, Observer
from kintsugi.deploy.http.access_log import Record
from kintsugi.deploy.http.codec import Answer, decode_pair, decode_photo, encode_answer
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import InpaintForm, StylizeForm
from kintsugi.deploy.options import AnswerOptions
from kintsugi.deploy.settings import AppArgs
from kintsugi.imaging.codec import DecodedImage

Result = TypeVar("Result")


@dataclass(frozen=True)
class Made:
    """An answer's file, its format, such as png, and the release that made it."""

    answer: Answer
    format: str
    model: ModelInfo


class Work:
    """What every interface asks for, within the deadline."""

    def __init__(self, engine: Engine, args: AppArgs, observer: Observer) -> None:
        self._engine = engine
        self._limits = args.limits
        self._max_stylize_pixels = args.max_stylize_pixels
        self._deadline_seconds = args.deadline_seconds
        self._observer = observer

    async def inpaint(self, form: InpaintForm, record: Record) -> Made:
        """Fill the hole of a photograph.

        Args:
            form: Of the request.
            record: Gets megapixels and release.

        Raises:
            InputError: As `decode_photo`, and what the engine raises.
            Problem: 504 `deadline_exceeded`.
            Busy: Try again later.
        """
        async with self._deadline():
            photo = await self._in_thread("decode", lambda: decode_photo(form, self._limits))
            record.saw(photo.image.pixels)
            filled = await self._engine.inpaint(photo.image.pixels, photo.mask, form.options)
            return await self._encode(photo.image, filled, form.options, record)

    async def stylize(self, form: StylizeForm, record: Record) -> Made:
        """Give a photograph the look of a picture. Arguments and errors as `inpaint`."""
        async with self._deadline():
            pair = await self._in_thread(
                "decode",
                lambda: decode_pair(
                    form, self._limits, max_content_pixels=self._max_stylize_pixels
                ),
            )
            record.saw(pair.content.pixels)
            styled = await self._engine.stylize(pair.content.pixels, pair.style, form.options)
            return await self._encode(pair.content, styled, form.options, record)

    async def model(self) -> ModelInfo:
        """The release that answers now. Raises: Busy; Problem 504."""
        async with self._deadline():
            return await self._engine.model()

    async def ready(self) -> dict[str, bool]:
        """For every node by name whether it answers."""
        return await self._engine.ready()

    async def _encode(
        self, photo: DecodedImage, filled: Filled, options: AnswerOptions, record: Record
    ) -> Made:
        """The pixels as a file, with what else the photograph had."""
        record.model_version = filled.model.version
        answer = await self._in_thread(
            "encode", lambda: encode_answer(photo, filled.pixels, options)
        )
        return Made(answer, options.format, filled.model)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with answered_within(self._deadline_seconds):
                yield
        except TimeoutError as error:
            raise Problem(
                504,
                "deadline_exceeded",
                detail=f"not done after {self._deadline_seconds:g} seconds",
                hint="send a smaller image or hole, or try again when there is less to do",
            ) from error

    async def _in_thread(self, stage: str, work: Callable[[], Result]) -> Result:
        """Run work that takes a processor off the event loop."""
        started = time.perf_counter()
        result = await asyncio.to_thread(work)
        self._observer.stage(stage, time.perf_counter() - started)
        return result

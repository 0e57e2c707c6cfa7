"""A checked form to an encoded answer: its turn, files, engine, deadline; knows no HTTP route."""

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

from kintsugi.deploy.admission.cached_call import CachedCall
from kintsugi.deploy.admission.fair_queue import FairQueue, Kind, TurnRequest
from kintsugi.deploy.admission.gate import PATIENCE_SHARE, retry_after
from kintsugi.deploy.admission.memory_budget import MemoryBudget
from kintsugi.deploy.deadline import answered_within
from kintsugi.deploy.engine import Busy, Engine, ModelInfo, Observer, find_model
from kintsugi.deploy.http.access_log import AccessRecord
from kintsugi.deploy.http.codec import AnyForm, EncodedAnswer, files_of, memory_megapixels
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import InpaintForm, PreviewForm, SaveForm, StylizeForm
from kintsugi.deploy.memory import MemoryReturn
from kintsugi.deploy.sandbox.codec_pool import CodecPool, Opened
from kintsugi.deploy.settings import AppArgs
from kintsugi.deploy.urgency import Urgency, urgent
from kintsugi.imaging.decode_cost import DecodeCost
from kintsugi.imaging.limits import check_header
from kintsugi.models.progress import Progress, no_progress

Result = TypeVar("Result")

_READY_SECONDS = 1.0

# Of a request that has its turn, while the engine has no room after all: replicas of the Ingress
# do not ask one another.
_FIRST_PAUSE_SECONDS, _LONGEST_PAUSE_SECONDS = 0.1, 2.0
_PATIENCE_SHARE, _MOST_PATIENCE_SECONDS = 0.02, 10.0


@dataclass(frozen=True)
class ImageAnswer:
    """An answer's file, its format, such as png, and the release that made it."""

    answer: EncodedAnswer
    format: str
    model: ModelInfo


class ImageService:
    """What every interface asks for, each in its turn and within its deadline."""

    def __init__(
        self, engine: Engine, args: AppArgs, observer: Observer, turns: FairQueue | None = None
    ) -> None:
        self._engine = engine
        self._observer = observer
        self._memory = MemoryReturn()
        # It takes a call to each node, and anybody may ask.
        self._ready = CachedCall(self._parts_ready, seconds=_READY_SECONDS)
        self._last_models: list[ModelInfo] = []
        self._turns = turns or FairQueue(
            args.slots, max_megapixels=args.max_large_megapixels, max_jobs=args.jobs_running
        )
        self._room = MemoryBudget(args.max_large_megapixels)
        self._limits = args.limits
        self._deadline_seconds = args.deadline_seconds
        self._jobs_deadline_seconds = args.jobs_deadline_seconds
        self._codecs = CodecPool(
            args.limits,
            observer,
            processes=args.codec_processes,
            max_content_pixels=args.max_stylize_pixels,
        )

    def close(self) -> None:
        """End the threads; nothing can be asked for afterwards."""
        self._codecs.close()

    async def inpaint(self, form: InpaintForm, record: AccessRecord) -> ImageAnswer:
        """Fill the hole of a photograph.

        Args:
            form: The form of the request.
            record: Gets megapixels and release; its key's name decides the turn.

        Raises:
            InputError: As `decode_photo`, and what the engine raises.
            Problem: 504 `deadline_exceeded`.
            Busy: Try again later.
        """
        return await self._requested(form, record)

    async def stylize(self, form: StylizeForm, record: AccessRecord) -> ImageAnswer:
        """Give a photograph the look of a picture. Arguments and errors as `inpaint`."""
        return await self._requested(form, record)

    async def run_job(
        self,
        form: InpaintForm | StylizeForm,
        record: AccessRecord,
        *,
        progress: Progress,
        begin: Callable[[], Awaitable[None]],
    ) -> ImageAnswer:
        """Compute a job's image: it waits for its turn however long that takes.

        Args:
            form: What was sent.
            record: As `inpaint`.
            progress: Called with each step.
            begin: Awaited when its turn has come, from when on the deadline counts.

        Raises:
            InputError: The options do not fit the photograph.
            Problem: 504 `deadline_exceeded`.
        """
        request = await self._turn_request(form, record, "job")
        async with self._turns.turn(request):
            await begin()
            with urgent(Urgency.JOB):
                async with self._deadline(self._jobs_deadline_seconds):
                    return await self._made(form, record, progress, float("inf"))

    async def check(self, form: InpaintForm | StylizeForm) -> None:
        """Refuse at once what would be refused later. Raises: InputError; Problem 504."""
        await self._check_model(form)
        await self._codecs.start()
        async with self._deadline(self._deadline_seconds), self._in_room(form) as files:
            await files.check()

    async def rewrite(self, form: PreviewForm | SaveForm, record: AccessRecord) -> EncodedAnswer:
        """A photograph in another form, by no network.

        Raises: InputError, as `make_preview` and `save_edited`; Problem 504.
        """
        async with self._deadline(self._deadline_seconds), self._in_room(form) as files:
            answer, (height, width) = await files.rewritten()
            record.saw(height, width)
            return answer

    async def models(self) -> list[ModelInfo]:
        """The releases that answer now, as `Engine.models`. Raises: Busy; Problem 504."""
        async with self._deadline(self._deadline_seconds):
            self._last_models = await self._engine.models()
            return self._last_models

    async def ready(self) -> dict[str, bool]:
        """For every node by name whether it answers, or did within the last second.

        `Codecs` is among them while no file can be opened.
        """
        return await self._ready.get()

    async def _parts_ready(self) -> dict[str, bool]:
        works, nodes = await asyncio.gather(self._codecs.works(), self._engine.ready())
        return nodes if works else {**nodes, "Codecs": False}

    async def _requested(
        self, form: InpaintForm | StylizeForm, record: AccessRecord
    ) -> ImageAnswer:
        await self._check_model(form)
        request = await self._turn_request(form, record, "request")
        await self._codecs.start()
        patience = min(_MOST_PATIENCE_SECONDS, _PATIENCE_SHARE * self._deadline_seconds)
        async with self._deadline(self._deadline_seconds), self._turn(request):
            with urgent(Urgency.LARGE if request.is_large else Urgency.SMALL):
                return await self._made(form, record, no_progress, patience)

    @asynccontextmanager
    async def _turn(self, request: TurnRequest) -> AsyncIterator[None]:
        """A turn that leaves time to answer. Raises: Busy: it did not come by then."""
        async with AsyncExitStack() as turn:
            self._observer.waiting(self._turns.all_waiting() + 1)
            try:
                async with asyncio.timeout(PATIENCE_SHARE * self._deadline_seconds):
                    await turn.enter_async_context(self._turns.turn(request))
            except TimeoutError as error:
                # Estimates let it in, and were wrong. Still no 504: later it will be computed.
                after = retry_after(self._turns.wait(request.key))
                raise Busy("its turn did not come in time", retry_after=after) from error
            finally:
                self._observer.waiting(self._turns.all_waiting())
            yield

    async def _check_model(self, form: InpaintForm | StylizeForm) -> None:
        """Raises: InvalidInput `model_unknown`, before anything waits or is opened."""
        name = form.options.model
        # One that was served before is not asked about: the engine may answer that behind its
        # fills, and it looks again itself.
        known = any(name in (model.name, model.version) for model in self._last_models)
        if name and not known:
            find_model(await self.models(), name)

    async def _turn_request(
        self, form: InpaintForm | StylizeForm, record: AccessRecord, kind: Kind
    ) -> TurnRequest:
        """The client, and how large the picture is by its header.

        Raises: InputError: A header says that the file is none that is read. It waits for no turn.
        """
        costs = await self._costs(form)
        held = memory_megapixels(form, costs)
        return TurnRequest(record.key_name, kind, costs[0].pixels / 1e6, held)

    async def _costs(self, form: AnyForm) -> list[DecodeCost]:
        """What the header of each file says. Raises: InputError: it is none that is read."""

        def check() -> list[DecodeCost]:
            return [
                check_header(data, self._limits, name)[1] for name, data in files_of(form).items()
            ]

        return await asyncio.to_thread(check)

    @asynccontextmanager
    async def _in_room(self, form: AnyForm) -> AsyncIterator[Opened]:
        """Files that wait for no turn, once there is memory for them."""
        megapixels = memory_megapixels(form, await self._costs(form))
        async with self._room.room(megapixels), self._opened(form) as files:
            yield files

    async def _made(
        self,
        form: InpaintForm | StylizeForm,
        record: AccessRecord,
        progress: Progress,
        patience: float,
    ) -> ImageAnswer:
        """Open, compute, write."""
        followed: dict[str, Progress] = {} if progress is no_progress else {"progress": progress}
        async with self._opened(form) as files:
            if isinstance(form, InpaintForm):
                photo, options = await files.photo(), form.options
                self._saw(record, photo.height, photo.width, photo.hole_share)
                filled = await _when_there_is_room(
                    lambda: self._engine.inpaint(photo.pixels, photo.mask, options, **followed),
                    patience,
                )
            else:
                pair, style_options = await files.pair(), form.options
                self._saw(record, *pair.content.shape[:2])
                filled = await _when_there_is_room(
                    lambda: self._engine.stylize(
                        pair.content, pair.style, style_options, **followed
                    ),
                    patience,
                )
            record.model_version = filled.model.version
            answer = await files.write(filled.pixels)
            return ImageAnswer(answer, answer.format, filled.model)

    @asynccontextmanager
    async def _opened(self, form: AnyForm) -> AsyncIterator[Opened]:
        """Its files, and soon afterwards their memory again."""
        try:
            async with self._codecs.opened(form) as files:
                yield files
        finally:
            self._memory.soon()

    def _saw(
        self, record: AccessRecord, height: int, width: int, hole_share: float | None = None
    ) -> None:
        record.saw(height, width, hole_share)
        self._observer.opened(height, width, hole_share)

    @asynccontextmanager
    async def _deadline(self, seconds: float) -> AsyncIterator[None]:
        try:
            async with answered_within(seconds):
                yield
        except TimeoutError as error:
            raise Problem(
                504,
                "deadline_exceeded",
                detail=f"not done after {seconds:g} seconds",
                hint="send a smaller image or hole, or try again when there is less to do",
            ) from error


async def _when_there_is_room(ask: Callable[[], Awaitable[Result]], patience: float) -> Result:
    """Ask the engine, and again while it is busy. Raises: Busy, when it stays so."""
    give_up, pause = time.monotonic() + patience, _FIRST_PAUSE_SECONDS
    while True:
        try:
            return await ask()
        except Busy:
            if time.monotonic() + pause > give_up:
                raise
            await asyncio.sleep(pause)
            pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)

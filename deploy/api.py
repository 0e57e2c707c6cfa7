"""HTTP in and out: routes and their documentation; knows no Ray and no network."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import Any, TypeVar

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from deploy.boundary import Boundary
from deploy.engine import Engine, Filled, NoObserver, Observer
from deploy.forms import (
    INPAINT_FORM,
    STYLIZE_FORM,
    check_accept,
    form_schema,
    read_inpaint_form,
    read_stylize_form,
)
from deploy.options import AnswerOptions
from deploy.page import add_page
from deploy.photos import decode_pair, decode_photo, encode_answer
from deploy.problems import MEDIA_TYPE, Problem, ProblemDocument, add_problem_handlers
from deploy.settings import AppArgs
from kintsugi.images import DecodedImage

Result = TypeVar("Result")

_IMAGE_TYPES = ("image/png", "image/jpeg", "image/webp", "image/tiff")
_PROBLEM_STATUSES = (400, 406, 413, 415, 422, 500, 503, 504)


def build_api(
    engine: Engine,
    args: AppArgs,
    *,
    observer: Observer | None = None,
    echo_request_id: bool = True,
) -> FastAPI:
    """Build the application.

    Args:
        engine: What makes the images.
        args: Limits and the deadline are read.
        observer: Where requests are counted.
        echo_request_id: Whether answers get `x-request-id` here; not where the server
            in front adds it.
    """
    observer = observer or NoObserver()
    routes = Routes(engine, args, observer)
    app = FastAPI(
        title="Kintsugi",
        version="1",
        description="Fills holes in photographs, and gives one the look of another.",
        # Their pages load scripts from elsewhere; /openapi.json works everywhere.
        docs_url=None,
        redoc_url=None,
    )
    app.add_middleware(
        Boundary, max_bytes=args.max_bytes, observer=observer, echo_request_id=echo_request_id
    )
    add_problem_handlers(app)
    app.post(
        "/v1/inpaint",
        summary="Fill the hole of one image",
        response_class=Response,
        responses=_image_responses("the filled image"),
        openapi_extra={
            "requestBody": form_schema(
                INPAINT_FORM, {"image": "photo.jpg", "mask": "mask.png", "feather": 8}
            )
        },
    )(routes.inpaint)
    app.post(
        "/v1/stylize",
        summary="Give one image the look of another",
        response_class=Response,
        responses=_image_responses("the content in the look of the style"),
        openapi_extra={
            "requestBody": form_schema(
                STYLIZE_FORM, {"content": "photo.jpg", "style": "painting.jpg", "strength": 0.8}
            )
        },
    )(routes.stylize)
    app.get("/v1/models", summary="The release that answers")(routes.models)
    app.get("/healthz", summary="Whether this process runs")(routes.healthz)
    app.get(
        "/readyz",
        summary="Whether every node answers, or did for a fill just now",
        responses={503: {"description": "A node does not answer, and no fill has just succeeded"}},
    )(routes.readyz)
    add_page(app, args)
    return app


class Routes:
    """What each route does."""

    def __init__(self, engine: Engine, args: AppArgs, observer: Observer) -> None:
        self._engine = engine
        self._limits = args.limits
        self._max_stylize_pixels = args.max_stylize_pixels
        self._deadline_seconds = args.deadline_seconds
        self._observer = observer

    async def inpaint(self, request: Request) -> Response:
        """Fill the hole of `image` that `mask` marks; outside it the pixels stay as they are.

        The answer keeps the image's transparency and colour profile. `x-image-notes` says
        what else it could not keep.
        """
        form = await read_inpaint_form(request)
        options = form.options
        check_accept(request, options.format)
        async with self._deadline():
            photo = await self._in_thread("decode", lambda: decode_photo(form, self._limits))
            filled = await self._engine.inpaint(photo.image.pixels, photo.mask, options)
            return await self._answer(photo.image, filled, options)

    async def stylize(self, request: Request) -> Response:
        """Make `content` of the patches of `style`; 1 as `strength` shows them alone.

        The answer keeps the content's size, transparency and colour profile.
        `x-image-notes` says what else it could not keep.
        """
        form = await read_stylize_form(request)
        options = form.options
        check_accept(request, options.format)
        async with self._deadline():
            pair = await self._in_thread(
                "decode",
                lambda: decode_pair(
                    form, self._limits, max_content_pixels=self._max_stylize_pixels
                ),
            )
            stylized = await self._engine.stylize(pair.content.pixels, pair.style, options)
            return await self._answer(pair.content, stylized, options)

    async def models(self) -> Response:
        """The releases that are served: one."""
        async with self._deadline():
            model = await self._engine.model()
        return JSONResponse(
            {"models": [{"name": model.name, "digest": model.digest, "size": model.size}]},
            headers={"x-model-version": model.version},
        )

    async def healthz(self) -> Response:
        """Asks nothing but this process."""
        return JSONResponse({"healthy": True})

    async def readyz(self) -> Response:
        """200 when every node is ready, otherwise 503; names each node.

        A node is ready when it answers. One whose queue is full or that does not answer
        in 5 seconds still counts as ready while the last successful fill, which every
        node took part in, is less than 30 seconds ago: a busy service stays in service,
        and a node that hangs shows up to 30 seconds late.
        """
        nodes = await self._engine.ready()
        ready = all(nodes.values())
        return JSONResponse({"ready": ready, "nodes": nodes}, status_code=200 if ready else 503)

    async def _answer(
        self, photo: DecodedImage, filled: Filled, options: AnswerOptions
    ) -> Response:
        """The pixels as a file, with what else the photograph had."""
        answer = await self._in_thread(
            "encode", lambda: encode_answer(photo, filled.pixels, options)
        )
        headers = {
            "x-model-version": filled.model.version,
            # Bytes of unknown origin went in: no browser shall see anything else in them.
            "x-content-type-options": "nosniff",
            "cache-control": "no-store",
        }
        if answer.notes:
            headers["x-image-notes"] = "; ".join(answer.notes)
        return Response(answer.body, media_type=f"image/{options.format}", headers=headers)

    @asynccontextmanager
    async def _deadline(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_seconds):
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


def _image_responses(description: str) -> dict[int | str, dict[str, Any]]:
    image = {"schema": {"type": "string", "format": "binary"}}
    problem = {"content": {MEDIA_TYPE: {"schema": ProblemDocument.model_json_schema()}}}
    return {
        200: {
            "description": description,
            "content": {media_type: image for media_type in _IMAGE_TYPES},
        },
        **{
            status: {"description": HTTPStatus(status).phrase, **problem}
            for status in _PROBLEM_STATUSES
        },
    }

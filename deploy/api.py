"""HTTP in and out: routes and their documentation; knows no Ray and no network."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import Any

from fastapi import Depends, FastAPI, Request, Response
from fastapi.responses import JSONResponse

from kintsugi.deploy.admission.client_watch import ClientWatch
from kintsugi.deploy.admission.fair_queue import FairQueue
from kintsugi.deploy.admission.gate import Gate, GateLimits
from kintsugi.deploy.admission.orderly_stop import OrderlyStop
from kintsugi.deploy.async_jobs import add_batch_routes, add_job_routes, open_jobs
from kintsugi.deploy.engine import Engine, Observer
from kintsugi.deploy.http.auth import BodyAdmission, guard, open_keys
from kintsugi.deploy.http.codec import EncodedAnswer, answer_format
from kintsugi.deploy.http.image_service import ImageService
from kintsugi.deploy.http.kserve import add_kserve_routes
from kintsugi.deploy.http.middleware import RequestMiddleware
from kintsugi.deploy.http.problems import add_problem_handlers, problem_responses
from kintsugi.deploy.http.request_kinds import (
    INPAINT_FORM,
    PREVIEW_FORM,
    SAVE_FORM,
    STYLIZE_FORM,
    FormKind,
)
from kintsugi.deploy.http.requests import (
    check_accept,
    form_schema,
    read_inpaint_form,
    read_preview_form,
    read_save_form,
    read_stylize_form,
)
from kintsugi.deploy.http.site import add_page
from kintsugi.deploy.settings import AppArgs
from kintsugi.imaging.formats import FORMATS

_IMAGE_TYPES = tuple(each.media_type for each in FORMATS.values())
_PROBLEM_STATUSES = (400, 401, 403, 406, 408, 413, 415, 422, 429, 500, 503, 504)


def build_api(
    engine: Engine,
    args: AppArgs,
    *,
    observer: Observer | None = None,
    stop: OrderlyStop | None = None,
    echo_request_id: bool = True,
    watch_clients: bool = True,
) -> FastAPI:
    """Build the application.

    Args:
        engine: What makes the images.
        args: Limits, the deadline and who may ask are read.
        observer: Where requests are counted.
        stop: Says when the service is being stopped; None where the server in front does it.
        echo_request_id: Whether answers get `x-request-id` here; not where the server
            in front adds it.
        watch_clients: Whether a request is cancelled here when its client leaves; not where the
            server in front does it.

    Raises:
        ConfigError: The file of API keys cannot be used, or `jobs` names no place.
    """
    observer = observer or Observer()
    stop = stop or OrderlyStop()
    keys = open_keys(args)
    weight_of = (lambda key: 1.0) if keys is None else keys.weight_of
    turns = FairQueue(
        args.slots,
        max_megapixels=args.max_large_megapixels,
        max_jobs=args.jobs_running,
        weight_of=weight_of,
    )
    work = ImageService(engine, args, observer, turns)
    jobs = open_jobs(work, args, observer)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with nullcontext() if jobs is None else jobs.lifespan(app):
                yield
        finally:
            work.close()

    app = FastAPI(
        title="Kintsugi",
        version="1",
        description="Fills holes in photographs, and gives one the look of another.",
        # FastAPI's pages load scripts from elsewhere; ours (deploy/web/docs) works offline.
        docs_url=None,
        redoc_url=None,
        # Serve makes the span of a request. FastAPI's would begin another trace, below which the
        # graph's calls would be, and hold the query, in which somebody may put a key.
        telemetry={"tracing": False, "operation_spans": False},
        lifespan=lifespan,
    )
    # The one that is added last is the outermost.
    if watch_clients:
        app.add_middleware(ClientWatch)
    app.add_middleware(
        RequestMiddleware, args=args, observer=observer, stop=stop, echo_request_id=echo_request_id
    )
    add_problem_handlers(app)
    # Guards each route below /v1 and /v2; and of those among them that take a picture.
    guards = guard(args, keys)
    limits = GateLimits(
        args.slots + args.max_waiting,
        args.max_waiting_bytes,
        args.max_bytes,
        args.deadline_seconds,
    )
    entrance = Depends(BodyAdmission(Gate(limits, turns, weight_of=weight_of), args.max_bytes))
    with_body = (*guards, entrance)
    add_image_routes(app, work, guards, with_body)
    add_batch_routes(app, add_job_routes(app, jobs, guards, with_body), guards, with_body)
    add_kserve_routes(app, work, guards, with_body, max_json_bytes=args.max_json_bytes)
    add_health_routes(app, work, stop, guards)
    add_page(app, args)
    return app


def add_image_routes(
    app: FastAPI, work: ImageService, guards: Sequence[Any], with_body: Sequence[Any]
) -> None:
    """Fill, style transfer, and the release that makes them."""
    routes = ImageRoutes(work)

    def add(
        path: str,
        answer: Callable[[Request], Awaitable[Response]],
        summary: str,
        makes: str,
        form: FormKind[Any],
        example: dict[str, str | float],
    ) -> None:
        app.post(
            path,
            summary=summary,
            response_class=Response,
            dependencies=with_body,
            responses=_image_responses(makes),
            openapi_extra={"requestBody": form_schema(form, example)},
        )(answer)

    photo = {"image": "photo.jpg"}
    add(
        "/v1/inpaint",
        routes.inpaint,
        "Fill the hole of one image",
        "the filled image",
        INPAINT_FORM,
        {**photo, "mask": "mask.png", "feather": 8},
    )
    add(
        "/v1/stylize",
        routes.stylize,
        "Give one image the look of another",
        "the content in the look of the style",
        STYLIZE_FORM,
        {"content": "photo.jpg", "style": "painting.jpg", "strength": 0.8},
    )
    add(
        "/v1/preview",
        routes.preview,
        "One image as browsers show it",
        "the image: JPEG, or PNG where it has transparency",
        PREVIEW_FORM,
        {"image": "photo.heic"},
    )
    add(
        "/v1/save",
        routes.save,
        "Edited pixels as the file that a photograph was",
        "the file",
        SAVE_FORM,
        {**photo, "filled": "edited.png"},
    )
    app.get(
        "/v1/models",
        summary="The releases that answer",
        dependencies=guards,
        responses=problem_responses(401, 403, 500, 503, 504),
    )(routes.models)


def add_health_routes(
    app: FastAPI, work: ImageService, stop: OrderlyStop, guards: Sequence[Any]
) -> None:
    """What probes ask, without a key; and what the edge asks with one."""
    routes = HealthRoutes(work, stop)
    app.get("/healthz", summary="Whether this process runs")(routes.healthz)
    app.get(
        "/readyz",
        summary="Whether every node answers, or did for a fill just now",
        responses={503: {"description": "A node does not answer, and no fill has just succeeded"}},
    )(routes.readyz)
    app.get(
        "/keyz",
        summary="Whether this API key holds",
        status_code=204,
        response_class=Response,
        dependencies=guards,
        responses=problem_responses(401, 403),
    )(routes.keyz)


class ImageRoutes:
    """What each route under /v1 does."""

    def __init__(self, work: ImageService) -> None:
        self._work = work

    async def inpaint(self, request: Request) -> Response:
        """Fill the hole of `image` that `mask` marks; outside it the pixels stay as they are.

        The answer is as the image was: its format, unless another is asked for, its depth,
        transparency, colour profile and metadata. `x-image-notes` says what it could not keep.
        """
        form = await read_inpaint_form(request)
        check_accept(request, answer_format(form.options, form.image))
        made = await self._work.inpaint(form, request.state.record)
        return _image_response(made.answer, version=made.model.version)

    async def stylize(self, request: Request) -> Response:
        """Make `content` of the patches of `style`; 1 as `strength` shows them alone.

        The answer is as the content was: its format, unless another is asked for, its size,
        depth, transparency, colour profile and metadata. `x-image-notes` says what it could not
        keep.
        """
        form = await read_stylize_form(request)
        check_accept(request, answer_format(form.options, form.content))
        made = await self._work.stylize(form, request.state.record)
        return _image_response(made.answer, version=made.model.version)

    async def preview(self, request: Request) -> Response:
        """Decode `image` as a fill does, with the same limits, and show it upright.

        For pages: browsers show few of the formats that photographs come in. Its size is
        that of the mask and of the answer of a fill of the same file.
        """
        form = await read_preview_form(request)
        return _image_response(await self._work.rewrite(form, request.state.record))

    async def save(self, request: Request) -> Response:
        """Write the pixels of `filled` as the file that `image` is.

        For pages, which fill one photograph many times and then want one file: as if `image`
        had been filled once, so that pixels which are as they were keep the file's samples. Where
        `filled` has transparency and is opaque, and `image` is not, the file is opaque: ask fills
        of erased holes as PNG.
        """
        form = await read_save_form(request)
        check_accept(request, answer_format(form.options, form.image))
        return _image_response(await self._work.rewrite(form, request.state.record))

    async def models(self) -> Response:
        """The releases that are served, by the names that the field `model` takes.

        The first one answers requests that name none.
        """
        models = await self._work.models()
        return JSONResponse(
            {
                "models": [
                    {"name": model.name, "digest": model.digest, "size": model.size}
                    for model in models
                ]
            },
            headers={"x-model-version": models[0].version},
        )


class HealthRoutes:
    """Whether the service lives, and can work."""

    def __init__(self, work: ImageService, stop: OrderlyStop) -> None:
        self._work = work
        self._stop = stop

    async def healthz(self) -> Response:
        """Asks nothing but this process."""
        return JSONResponse({"healthy": True})

    async def keyz(self) -> Response:
        """The server in front asks it before it reads a body."""
        return Response(status_code=204)

    async def readyz(self) -> Response:
        """200 when every node is ready, otherwise 503; names each node.

        A node is ready when it answers. One whose queue is full or that does not answer
        in 5 seconds still counts as ready while the last successful fill, which every
        node took part in, is less than 30 seconds ago: a busy service stays in service,
        and a node that hangs shows up to 30 seconds late. Where no file can be opened,
        `Codecs` is named, too.

        `requests` are those that this process has begun and not answered. When it is being
        stopped it is not ready, names no node, and has `stopping`.
        """
        stopping = self._stop.begun
        nodes = {} if stopping else await self._work.ready()
        ready = all(nodes.values()) and not stopping
        body: dict[str, Any] = {"ready": ready, "requests": self._stop.inside, "nodes": nodes}
        if stopping:
            body["stopping"] = True
        return JSONResponse(body, status_code=200 if ready else 503)


def _image_response(answer: EncodedAnswer, *, version: str = "") -> Response:
    headers = {
        # Bytes of unknown origin went in: no browser shall see anything else in them.
        "x-content-type-options": "nosniff",
        "cache-control": "no-store",
    }
    if version:
        headers["x-model-version"] = version
    if answer.notes:
        headers["x-image-notes"] = "; ".join(answer.notes)
    return Response(answer.body, media_type=f"image/{answer.format}", headers=headers)


def _image_responses(description: str) -> dict[int | str, dict[str, Any]]:
    image = {"schema": {"type": "string", "format": "binary"}}
    return {
        200: {
            "description": description,
            "content": {media_type: image for media_type in _IMAGE_TYPES},
        },
        **problem_responses(*_PROBLEM_STATUSES),
    }

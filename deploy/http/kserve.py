"""KServe's V2 inference protocol: health, metadata and a fill; the same work, limits and keys."""

import asyncio
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from kintsugi.deploy.engine import ModelInfo
from kintsugi.deploy.http.image_service import ImageService
from kintsugi.deploy.http.kserve_tensors import (
    HEADER_LENGTH,
    infer_response,
    parse_infer,
    split_body,
)
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import INPAINT_FORM, InpaintForm, check_required
from kintsugi.deploy.http.requests import check_encoding
from kintsugi.deploy.options import InpaintOptions, parse_options
from kintsugi.errors import InvalidInput

_RELEASE = {
    "name": "release",
    "in": "path",
    "required": True,
    "schema": {"type": "string"},
    "description": "name of the release, as /v1/models gives it",
}
_SHAPES = {"datatype": "BYTES", "shape": [1]}
_EXAMPLE = {
    "inputs": [
        {"name": name, **_SHAPES, "data": ["iVBORw0KGgo..."]} for name in INPAINT_FORM.files
    ],
    "parameters": {"feather": 8},
}


def add_kserve_routes(
    app: FastAPI,
    work: ImageService,
    guards: Sequence[Any],
    with_body: Sequence[Any],
    *,
    max_json_bytes: int,
) -> None:
    """Add what is below /v2; health is asked without a key."""
    routes = KserveRoutes(work, max_json_bytes)
    guarded: dict[str, Any] = {"dependencies": guards, "responses": _errors(401, 403, 500)}
    app.get("/v2", summary="Metadata of the server (KServe V2)", **guarded)(routes.server)
    app.get("/v2/health/live", summary="Whether this process runs (KServe V2)")(routes.live)
    app.get(
        "/v2/health/ready",
        summary="Whether every node answers (KServe V2)",
        responses={503: {"description": "A node does not answer"}},
    )(routes.ready)
    guarded["responses"] = _errors(401, 403, 404, 500, 503, 504)
    fill: dict[str, Any] = {
        "dependencies": with_body,
        "responses": _errors(400, 401, 403, 404, 408, 413, 415, 422, 429, 500, 503, 504),
    }
    for path in ("/v2/models/{release}", "/v2/models/{release}/versions/{version}"):
        # The protocol has both; one is enough to read.
        guarded["include_in_schema"] = fill["include_in_schema"] = "version" not in path
        release = {"parameters": [_RELEASE]}
        app.get(
            path,
            summary="Metadata of the release (KServe V2)",
            openapi_extra=release,
            **guarded,
        )(routes.model)
        app.get(
            f"{path}/ready",
            summary="Whether the release answers (KServe V2)",
            openapi_extra=release,
            **guarded,
        )(routes.model_ready)
        app.post(
            f"{path}/infer",
            summary="Fill the hole of one image (KServe V2)",
            openapi_extra={**release, "requestBody": _request_body()},
            **fill,
        )(routes.infer)


class KserveRoutes:
    """What each route under /v2 does."""

    def __init__(self, work: ImageService, max_json_bytes: int) -> None:
        self._work = work
        self._max_json_bytes = max_json_bytes

    async def server(self) -> Response:
        """Name and extensions."""
        return JSONResponse(
            {"name": "kintsugi", "version": "1", "extensions": ["binary_tensor_data"]}
        )

    async def live(self) -> Response:
        """Asks nothing but this process."""
        return JSONResponse({"live": True})

    async def ready(self) -> Response:
        """200 or 503, as `/readyz`."""
        ready = all((await self._work.ready()).values())
        return JSONResponse({"ready": ready}, status_code=200 if ready else 503)

    async def model(self, request: Request) -> Response:
        """Its tensors; the version is the start of the digest of its weights."""
        model = await self._named(request)
        tensors = [{"name": name, **_SHAPES} for name in INPAINT_FORM.files]
        return JSONResponse(
            {
                "name": model.name,
                "versions": [_version(model)],
                "platform": "kintsugi",
                "inputs": tensors,
                "outputs": [{"name": "image", **_SHAPES}],
            },
            headers={"x-model-version": model.version},
        )

    async def model_ready(self, request: Request) -> Response:
        """200 or 503."""
        model = await self._named(request)
        ready = all((await self._work.ready()).values())
        return JSONResponse({"name": model.name, "ready": ready}, status_code=200 if ready else 503)

    async def infer(self, request: Request) -> Response:
        """Fill the hole that the tensor `mask` marks in `image`; options are `parameters`.

        Each tensor is BYTES of shape [1]: the file itself as binary data, or in base64 as
        JSON.
        """
        named = await self._named(request)
        check_encoding(request)
        data, binary = split_body(
            await request.body(), request.headers.get(HEADER_LENGTH), self._max_json_bytes
        )
        asked = await asyncio.to_thread(parse_infer, data, binary, INPAINT_FORM.files)
        check_required(asked.files, INPAINT_FORM)
        options = parse_options(asked.options, InpaintOptions, strict=True)
        if options.model not in ("", named.name, named.version):
            raise InvalidInput(
                f"the path names {named.name} and the parameter model another release",
                code="model_contradicts",
                hint="leave the parameter model out",
            )
        options = options.model_copy(update={"model": named.version})
        form = InpaintForm(asked.files["image"], asked.files.get("mask"), options)
        made = await self._work.inpaint(form, request.state.record)
        head: dict[str, Any] = {
            "model_name": made.model.name,
            "model_version": _version(made.model),
            **({"id": asked.id} if asked.id else {}),
        }
        if made.answer.notes:
            head["parameters"] = {"notes": "; ".join(made.answer.notes)}
        body, headers = infer_response(head, made.answer.body, binary=asked.binary)
        return Response(body, headers={**headers, "x-model-version": made.model.version})

    async def _named(self, request: Request) -> ModelInfo:
        """The release, if it is the one that the path names. Raises: Problem 404."""
        models = await self._work.models()
        for model in models:
            version = request.path_params.get("version", _version(model))
            if (request.path_params["release"], version) == (model.name, _version(model)):
                return model
        served = " or ".join(f"{one.name}, whose version is {_version(one)}" for one in models)
        raise Problem(
            404,
            "model_unknown",
            detail="this release, or this version of it, is not served",
            hint=f"use {served}",
        )


def _version(model: ModelInfo) -> str:
    return model.version.rpartition(":")[2]


def _errors(*statuses: int) -> dict[int | str, dict[str, Any]]:
    """For OpenAPI: the protocol's form of an error."""
    error = {"type": "object", "required": ["error"], "properties": {"error": {"type": "string"}}}
    content = {"content": {"application/json": {"schema": error}}}
    return {status: {"description": HTTPStatus(status).phrase, **content} for status in statuses}


def _request_body() -> dict[str, Any]:
    """For OpenAPI."""
    tensor = {
        "type": "object",
        "required": ["name", "shape", "datatype"],
        "properties": {
            "name": {"enum": list(INPAINT_FORM.files)},
            "shape": {"type": "array", "items": {"const": 1}, "minItems": 1, "maxItems": 1},
            "datatype": {"const": "BYTES"},
            "parameters": {"type": "object"},
            "data": {
                "type": "array",
                "items": {"type": "string", "contentEncoding": "base64"},
                "minItems": 1,
                "maxItems": 1,
            },
        },
    }
    schema = {
        "type": "object",
        "required": ["inputs"],
        "properties": {
            "id": {"type": "string"},
            "inputs": {"type": "array", "items": tensor},
            "outputs": {"type": "array", "items": {"type": "object"}},
            "parameters": InpaintOptions.model_json_schema(),
        },
    }
    return {
        "required": True,
        "content": {
            "application/json": {"schema": schema, "example": _EXAMPLE},
            "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
        },
    }

"""The body of a request to files and options, multipart or JSON; opens no image."""

import asyncio
from collections.abc import Mapping
from typing import Any

from starlette.requests import Request

from kintsugi.deploy.http.json_body import read_json
from kintsugi.deploy.http.multipart import read_multipart
from kintsugi.deploy.http.problems import Problem
from kintsugi.deploy.http.request_kinds import (
    INPAINT_FORM,
    PREVIEW_FORM,
    SAVE_FORM,
    STYLIZE_FORM,
    FormKind,
    InpaintForm,
    PreviewForm,
    SaveForm,
    StylizeForm,
    check_required,
)
from kintsugi.deploy.options import Options, in_query, parse_options
from kintsugi.errors import UnsupportedFormat

# Start of every PNG, as it looks in base64.
_EXAMPLE_BASE64 = "iVBORw0KGgo..."


async def read_inpaint_form(request: Request) -> InpaintForm:
    """Read the body of `POST /v1/inpaint`. Raises: as `read_form`."""
    files, options = await read_form(request, INPAINT_FORM)
    return InpaintForm(files["image"], files.get("mask"), options)


async def read_stylize_form(request: Request) -> StylizeForm:
    """Read the body of `POST /v1/stylize`. Raises: as `read_form`."""
    files, options = await read_form(request, STYLIZE_FORM)
    return StylizeForm(files["content"], files["style"], options)


async def read_preview_form(request: Request) -> PreviewForm:
    """Read the body of `POST /v1/preview`. Raises: as `read_form`."""
    files, options = await read_form(request, PREVIEW_FORM)
    return PreviewForm(files["image"], options)


async def read_save_form(request: Request) -> SaveForm:
    """Read the body of `POST /v1/save`. Raises: as `read_form`."""
    files, options = await read_form(request, SAVE_FORM)
    return SaveForm(files["image"], files["filled"], options)


async def read_form(request: Request, kind: FormKind[Options]) -> tuple[dict[str, bytes], Options]:
    """Read a request's body.

    Raises:
        UnsupportedFormat: `content_type`, `content_encoding`.
        Problem: 400 `multipart_malformed`, `json_malformed`.
        InvalidInput: `option_in_query`, or a field is missing, repeated, unknown, or not
            one of its values.
    """
    files, fields, is_json = await read_fields(request, kind)
    check_required(files, kind)
    # A number in JSON is a number, in a form it is text.
    return files, parse_options(fields, kind.options, strict=is_json)


async def read_fields(
    request: Request, kind: FormKind[Options]
) -> tuple[dict[str, bytes], dict[str, object], bool]:
    """Read a request's body to its files, its other fields, and whether it is JSON.

    Raises: as `read_form`, but for what is missing or no value of its field.
    """
    is_json = _media_type(request, kind) == "application/json"
    if is_json:
        # Tenths of a second for the largest: others are answered meanwhile.
        return (*await asyncio.to_thread(read_json, await request.body(), kind), True)
    files, texts = await read_multipart(request, kind)
    return files, dict(texts), False


def check_accept(request: Request, format: str) -> None:
    """Raises: Problem 406 `not_acceptable` when the client does not take this format."""
    ranges = {
        part.partition(";")[0].strip() for part in request.headers.get("accept", "").split(",")
    }
    if ranges.isdisjoint({"", "*/*", "image/*", f"image/{format}"}):
        raise Problem(
            406,
            "not_acceptable",
            detail=f"the answer is image/{format}, which the Accept header does not take",
            hint="send Accept: image/*, or choose another format",
        )


def check_multipart(request: Request, kind: FormKind[Options]) -> None:
    """Raises: UnsupportedFormat `content_type`, InvalidInput `option_in_query`."""
    if _media_type(request, kind) != "multipart/form-data":
        raise UnsupportedFormat(
            "the body is not multipart/form-data",
            code="content_type",
            hint="send a form: in JSON several files would take a third more, and all memory",
        )


def form_schema(
    kind: FormKind[Options], example: Mapping[str, str | float], *, only: str = ""
) -> dict[str, Any]:
    """A form for OpenAPI, as `requestBody`: it is read by hand and would not show.

    Args:
        kind: The form.
        example: A request: names of files, and some of the options.
        only: The one media type that is read; "" for both.
    """
    schema = kind.options.model_json_schema()
    required = list(kind.required)

    def body(files: dict[str, Any], example: Mapping[str, str | float]) -> dict[str, Any]:
        properties = {**files, **schema["properties"]}
        form = {**schema, "properties": properties, "required": required}
        return {"schema": form, "example": dict(example)}

    binary = {
        name: {"type": "string", "format": "binary", "description": description}
        for name, description in kind.files.items()
    }
    text = {
        name: {"type": "string", "contentEncoding": "base64", "description": description}
        for name, description in kind.files.items()
    }
    encoded = {name: _EXAMPLE_BASE64 for name in kind.files if name in example}
    content = {
        "multipart/form-data": body(binary, example),
        "application/json": body(text, {**example, **encoded}),
    }
    read = {media_type: each for media_type, each in content.items() if only in ("", media_type)}
    return {"required": True, "content": read}


def _media_type(request: Request, kind: FormKind[Options]) -> str:
    """What the body is written in, after what else the headers and the URL must not say."""
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type not in ("multipart/form-data", "application/json"):
        raise UnsupportedFormat(
            "the body is neither multipart/form-data nor application/json",
            code="content_type",
            hint=f"send a multipart form with the files {' and '.join(kind.files)}, or an object"
            " with them in base64",
        )
    check_encoding(request)
    for name in request.query_params:
        raise in_query(name)
    return media_type


def check_encoding(request: Request) -> None:
    """Raises: UnsupportedFormat `content_encoding`."""
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedFormat(
            "the body is compressed",
            code="content_encoding",
            hint="send it as it is: images are compressed already",
        )

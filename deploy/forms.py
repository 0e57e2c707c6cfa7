"""The multipart form of a request to files and options; opens no image."""

from collections import Counter
from dataclasses import dataclass
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from deploy.options import InpaintOptions, parse_options, unknown_field
from deploy.problems import Problem
from kintsugi.errors import InvalidInput, UnsupportedFormat

FILES = ("image", "mask")
_FIELDS = [*FILES, *InpaintOptions.model_fields]
# Twice what there is: a form of thousands of fields is refused while it is parsed.
_MAX_FIELDS = 2 * len(_FIELDS)
_MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class InpaintForm:
    """What a request sent: files as they came, options checked."""

    image: bytes
    mask: bytes | None
    options: InpaintOptions


async def read_inpaint_form(request: Request) -> InpaintForm:
    """Read the body of `POST /v1/inpaint`.

    Raises:
        UnsupportedFormat: `content_type`, `content_encoding`.
        Problem: 400 `multipart_malformed`, 406 `not_acceptable`.
        InvalidInput: A field is missing, repeated, unknown, or not one of its values.
    """
    _check_headers(request)
    try:
        form = await request.form(
            max_files=len(FILES), max_fields=_MAX_FIELDS, max_part_size=_MAX_TEXT_BYTES
        )
    except HTTPException as error:
        raise Problem(
            400,
            "multipart_malformed",
            detail="the body is not the multipart form that its header announces",
            hint=f"at most {len(FILES)} files and {_MAX_FIELDS} short fields, each with a name",
        ) from error
    try:
        return await _read_fields(form)
    finally:
        await form.close()


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


def form_schema() -> dict[str, Any]:
    """The form for OpenAPI, as `requestBody`: it is read by hand and would not show."""
    schema = InpaintOptions.model_json_schema()
    files = {
        "image": {
            "type": "string",
            "format": "binary",
            "description": "photograph: PNG, JPEG, WebP or TIFF, found by content",
        },
        "mask": {
            "type": "string",
            "format": "binary",
            "description": "of the image's size; white is hole. Not needed with"
            " mask_convention=alpha and an image with transparency",
        },
    }
    return {
        "required": True,
        "content": {
            "multipart/form-data": {
                "schema": {
                    **schema,
                    "properties": {**files, **schema["properties"]},
                    "required": ["image"],
                },
            }
        },
    }


def _check_headers(request: Request) -> None:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind != "multipart/form-data":
        raise UnsupportedFormat(
            "the body is not multipart/form-data",
            code="content_type",
            hint="send a multipart form with the files image and mask",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedFormat(
            "the body is compressed",
            code="content_encoding",
            hint="send it as it is: images are compressed already",
        )


async def _read_fields(form: FormData) -> InpaintForm:
    for name, count in Counter(name for name, _ in form.multi_items()).items():
        if name not in _FIELDS:
            raise unknown_field(name, _FIELDS)
        if count > 1:
            raise InvalidInput(
                f"{name} was sent {count} times", code=f"{name}_repeated", hint="send it once"
            )
    image = await _read_file(form, "image")
    if image is None:
        raise InvalidInput(
            "the form has no image", code="image_missing", hint="send the file as the field image"
        )
    mask = await _read_file(form, "mask")
    return InpaintForm(image, mask, parse_options(_texts(form)))


async def _read_file(form: FormData, name: str) -> bytes | None:
    value = form.get(name)
    if isinstance(value, str):
        raise InvalidInput(
            f"{name} was sent as text",
            code=f"{name}_not_file",
            hint="send it as a file, with a filename",
        )
    return None if value is None else await value.read()


def _texts(form: FormData) -> dict[str, str]:
    texts = {}
    for name, value in form.multi_items():
        if name in FILES:
            continue
        if isinstance(value, UploadFile):
            raise InvalidInput(
                f"{name} was sent as a file", code=f"{name}_not_text", hint="send it as text"
            )
        texts[name] = value
    return texts

"""The multipart form of a request to files and options; opens no image."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Generic

from starlette.datastructures import FormData, UploadFile
from starlette.exceptions import HTTPException
from starlette.requests import Request

from deploy.options import (
    InpaintOptions,
    Options,
    StylizeOptions,
    in_query,
    parse_options,
    unknown_field,
)
from deploy.problems import Problem
from kintsugi.errors import InvalidInput, UnsupportedFormat

_MAX_TEXT_BYTES = 64 * 1024


@dataclass(frozen=True)
class FormKind(Generic[Options]):
    """One kind of form.

    Attributes:
        files: What each file is, by its field's name.
        required: Names of the files that must be there.
        options: The fields that are text.
    """

    files: Mapping[str, str]
    required: tuple[str, ...]
    options: type[Options]

    @property
    def fields(self) -> list[str]:
        """Names of all fields."""
        return [*self.files, *self.options.model_fields]

    @property
    def max_texts(self) -> int:
        """Twice what there is: a form of thousands of fields is refused while it is parsed."""
        return 2 * len(self.fields)


INPAINT_FORM = FormKind(
    {
        "image": "photograph: PNG, JPEG, WebP or TIFF, found by content",
        "mask": "of the image's size; white is hole. Not needed with mask_convention=alpha and"
        " an image with transparency",
    },
    ("image",),
    InpaintOptions,
)
STYLIZE_FORM = FormKind(
    {
        "content": "photograph whose arrangement is kept: PNG, JPEG, WebP or TIFF, found by"
        " content; the answer has its size, transparency and colour profile",
        "style": "picture whose look is copied, of any size; a large one is shrunk to the area"
        " of 512x512 px",
    },
    ("content", "style"),
    StylizeOptions,
)


@dataclass(frozen=True)
class InpaintForm:
    """What a request for a fill sent: files as they came, options checked."""

    image: bytes
    mask: bytes | None
    options: InpaintOptions


@dataclass(frozen=True)
class StylizeForm:
    """What a request for a style transfer sent: files as they came, options checked."""

    content: bytes
    style: bytes
    options: StylizeOptions


async def read_inpaint_form(request: Request) -> InpaintForm:
    """Read the body of `POST /v1/inpaint`. Raises: as `read_form`."""
    files, options = await read_form(request, INPAINT_FORM)
    return InpaintForm(files["image"], files.get("mask"), options)


async def read_stylize_form(request: Request) -> StylizeForm:
    """Read the body of `POST /v1/stylize`. Raises: as `read_form`."""
    files, options = await read_form(request, STYLIZE_FORM)
    return StylizeForm(files["content"], files["style"], options)


async def read_form(request: Request, kind: FormKind[Options]) -> tuple[dict[str, bytes], Options]:
    """Read a request's body.

    Raises:
        UnsupportedFormat: `content_type`, `content_encoding`.
        Problem: 400 `multipart_malformed`.
        InvalidInput: `option_in_query`, or a field is missing, repeated, unknown, or not
            one of its values.
    """
    _check_request(request, kind)
    try:
        form = await request.form(
            max_files=len(kind.files), max_fields=kind.max_texts, max_part_size=_MAX_TEXT_BYTES
        )
    except HTTPException as error:
        raise Problem(
            400,
            "multipart_malformed",
            detail="the body is not the multipart form that its header announces",
            hint=f"at most {len(kind.files)} files and {kind.max_texts} short fields, each with"
            " a name",
        ) from error
    try:
        return await _read_fields(form, kind)
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


def form_schema(kind: FormKind[Options], example: Mapping[str, str | float]) -> dict[str, Any]:
    """A form for OpenAPI, as `requestBody`: it is read by hand and would not show.

    Args:
        kind: The form.
        example: A request: names of files, and some of the options.
    """
    schema = kind.options.model_json_schema()
    files = {
        name: {"type": "string", "format": "binary", "description": description}
        for name, description in kind.files.items()
    }
    properties = {**files, **schema["properties"]}
    form = {**schema, "properties": properties, "required": list(kind.required)}
    return {
        "required": True,
        "content": {"multipart/form-data": {"schema": form, "example": dict(example)}},
    }


def _check_request(request: Request, kind: FormKind[Options]) -> None:
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != "multipart/form-data":
        raise UnsupportedFormat(
            "the body is not multipart/form-data",
            code="content_type",
            hint=f"send a multipart form with the files {' and '.join(kind.files)}",
        )
    if request.headers.get("content-encoding", "identity").lower() != "identity":
        raise UnsupportedFormat(
            "the body is compressed",
            code="content_encoding",
            hint="send it as it is: images are compressed already",
        )
    for name in request.query_params:
        raise in_query(name)


async def _read_fields(form: FormData, kind: FormKind[Options]) -> tuple[dict[str, bytes], Options]:
    for name, count in Counter(name for name, _ in form.multi_items()).items():
        if name not in kind.fields:
            raise unknown_field(name, kind.fields)
        if count > 1:
            raise InvalidInput(
                f"{name} was sent {count} times", code=f"{name}_repeated", hint="send it once"
            )
    files = {name: await _read_file(form, name) for name in kind.files if name in form}
    for name in kind.required:
        if name not in files:
            raise InvalidInput(
                f"the form has no {name}",
                code=f"{name}_missing",
                hint=f"send the file as the field {name}",
            )
    return files, parse_options(_texts(form, kind), kind.options)


async def _read_file(form: FormData, name: str) -> bytes:
    value = form[name]
    if isinstance(value, str):
        raise InvalidInput(
            f"{name} was sent as text",
            code=f"{name}_not_file",
            hint="send it as a file, with a filename",
        )
    return await value.read()


def _texts(form: FormData, kind: FormKind[Options]) -> dict[str, str]:
    texts = {}
    for name, value in form.multi_items():
        if name in kind.files:
            continue
        if isinstance(value, UploadFile):
            raise InvalidInput(
                f"{name} was sent as a file", code=f"{name}_not_text", hint="send it as text"
            )
        texts[name] = value
    return texts

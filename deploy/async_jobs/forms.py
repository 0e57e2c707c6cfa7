"""The bodies of `POST /v1/jobs` and `/v1/batches`: those of requests for the same images."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from starlette.requests import Request

from kintsugi.deploy.async_jobs.records import Kind, OptionValue
from kintsugi.deploy.http.multipart import read_many
from kintsugi.deploy.http.request_kinds import (
    INPAINT_FORM,
    STYLIZE_FORM,
    FormKind,
    InpaintForm,
    StylizeForm,
    check_required,
)
from kintsugi.deploy.http.requests import check_multipart, form_schema, read_fields
from kintsugi.deploy.options import (
    AnswerOptions,
    InpaintOptions,
    StylizeOptions,
    parse_options,
    unknown_field,
)
from kintsugi.errors import InvalidInput

_KIND = (
    "inpaint: image, mask and the options of /v1/inpaint; stylize: content, style and those of"
    " /v1/stylize"
)
FORMS: dict[Kind, FormKind[Any]] = {"inpaint": INPAINT_FORM, "stylize": STYLIZE_FORM}


_WEBHOOK = (
    "https URL that is sent the job's document when it has ended, at one of the hosts that the"
    " service allows"
)


class _KindOption(AnswerOptions):
    kind: Kind = Field(default="inpaint", description=_KIND)
    webhook: str = Field(default="", max_length=2000, description=_WEBHOOK)


class _AnyFields(StylizeOptions, InpaintOptions, _KindOption):
    """All fields that are no files: those of either job."""


_ANY = FormKind({**INPAINT_FORM.files, **STYLIZE_FORM.files}, (), _AnyFields)


@dataclass(frozen=True)
class JobForm:
    """What was sent.

    Attributes:
        kind: Which computation.
        files: As they came, by field.
        options: All of that computation's, checked.
        webhook: URL to call when it has ended; "" for none.
    """

    kind: Kind
    files: Mapping[str, bytes]
    options: AnswerOptions
    webhook: str = ""

    @property
    def option_values(self) -> dict[str, OptionValue]:
        """The options as they are kept."""
        return self.options.model_dump(mode="json")

    @property
    def form(self) -> InpaintForm | StylizeForm:
        """The form of a request for the same image."""
        return job_form(self.kind, self.option_values, self.files)


async def read_job_form(request: Request) -> JobForm:
    """Read the body of `POST /v1/jobs`. Raises: as `kintsugi.deploy.http.requests.read_form`."""
    files, fields, is_json = await read_fields(request, _ANY)
    named: dict[str, object] = {
        name: fields.pop(name) for name in ("kind", "webhook") if name in fields
    }
    own = parse_options(named, _KindOption, strict=is_json)
    kind, form = own.kind, FORMS[own.kind]
    for name in (*files, *fields):
        if name not in form.fields:
            raise unknown_field(name, ["kind", "webhook", *form.fields])
    check_required(files, form)
    return JobForm(kind, files, parse_options(fields, form.options, strict=is_json), own.webhook)


# Files of one field of a batch.
MOST_AT_ONCE = 100


@dataclass(frozen=True)
class BatchForm:
    """What was sent as a batch.

    Attributes:
        names: How the sender calls each photograph.
        forms: The job of each.
    """

    names: Sequence[str]
    forms: Sequence[JobForm]


async def read_batch_form(request: Request) -> BatchForm:
    """Read the body of `POST /v1/batches`.

    Raises: as `kintsugi.deploy.http.multipart.read_many`, and InvalidInput `content_type`,
        `{name}_count`: there are not as many masks as photographs, nor one for all.
    """
    check_multipart(request, _ANY)
    sent, texts = await read_many(request, _ANY, most=MOST_AT_ONCE)
    named: dict[str, object] = {
        name: texts.pop(name) for name in ("kind", "webhook") if name in texts
    }
    own = parse_options(named, _KindOption)
    form = FORMS[own.kind]
    for name in (*sent, *texts):
        if name not in form.fields:
            raise unknown_field(name, ["kind", "webhook", *form.fields])
    first, second = form.files
    if first not in sent:
        raise InvalidInput(
            f"the form has no {first}", code=f"{first}_missing", hint=f"send files as {first}"
        )
    photos, others = sent[first], sent.get(second, [])
    if len(others) not in (0, 1, len(photos)):
        raise InvalidInput(
            f"{len(photos)} files were sent as {first}, and {len(others)} as {second}",
            code=f"{second}_count",
            hint=f"send one {second} for all, or one for each {first} in the same order",
        )
    options = parse_options(dict(texts), form.options)
    forms = []
    for number, photo in enumerate(photos):
        files = {first: photo.data}
        if others:
            files[second] = others[number if len(others) > 1 else 0].data
        check_required(files, form)
        forms.append(JobForm(own.kind, files, options, own.webhook))
    return BatchForm([photo.name for photo in photos], forms)


def job_form(
    kind: Kind, options: Mapping[str, OptionValue], files: Mapping[str, bytes]
) -> InpaintForm | StylizeForm:
    """A job's parts as the form of the request for the same image."""
    if kind == "inpaint":
        chosen = InpaintOptions.model_validate(options)
        return InpaintForm(files["image"], files.get("mask"), chosen)
    return StylizeForm(files["content"], files["style"], StylizeOptions.model_validate(options))


def job_schema() -> dict[str, Any]:
    """The form for OpenAPI, as `requestBody`: the fields of either job."""
    example: dict[str, str | float] = {"image": "photo.jpg", "mask": "mask.png", "feather": 8}
    return form_schema(_ANY, {"kind": "inpaint", **example})


def batch_schema() -> dict[str, Any]:
    """The form of a batch for OpenAPI: every file may be there several times."""
    (body,) = form_schema(_ANY, {}, only="multipart/form-data")["content"].values()
    properties = {
        name: {
            "type": "array",
            "items": {"type": "string", "format": "binary"},
            "maxItems": MOST_AT_ONCE,
            "description": field["description"],
        }
        if name in _ANY.files
        else field
        for name, field in body["schema"]["properties"].items()
    }
    example = {
        "kind": "inpaint",
        "image": ["one.jpg", "two.jpg"],
        "mask": ["one_mask.png", "two_mask.png"],
    }
    schema = {**body["schema"], "properties": properties}
    content = {"multipart/form-data": {"schema": schema, "example": example}}
    return {"required": True, "content": content}

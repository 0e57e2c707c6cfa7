"""The body of `POST /v1/jobs`: that of the request for the same image, and its kind."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import Field
from starlette.requests import Request

from kintsugi.deploy.async_jobs.records import Kind, OptionValue
from kintsugi.deploy.http.request_kinds import (
    INPAINT_FORM,
    STYLIZE_FORM,
    FormKind,
    InpaintForm,
    StylizeForm,
    check_required,
)
from kintsugi.deploy.http.requests import form_schema, read_fields
from kintsugi.deploy.options import (
    AnswerOptions,
    InpaintOptions,
    StylizeOptions,
    parse_options,
    unknown_field,
)

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

"""The options of a request, and the errors that name a wrong one.

Here each option is declared once: type, default, limits; what commands have too, and so nearly
all descriptions, in `kintsugi.imaging.photo_options`. HTTP, JSON, KServe, jobs, OpenAPI, the
client's command line and the page read them from here; all but the release have a control on the
page, whose words are in `web/languages`. `client/request_options.py` has the types once more, as a
client needs none of what is imported here.
"""

import json
from collections.abc import Mapping
from typing import Annotated, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kintsugi.errors import InvalidInput
from kintsugi.imaging.photo_options import (
    LARGEST_SEED,
    MOST_REACH,
    MOST_SCALES,
    Choice,
    FillChoices,
    FormatChoice,
    MaskConvention,
    MaskOptions,
    OutputOptions,
    choice,
    choices,
)

# What of a wrong value is named in the error; more would be an echo of the request.
_SHOWN_CHARACTERS = 40


class NoOptions(BaseModel):
    """A request that leaves nothing to choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class FileOptions(BaseModel):
    """What every request for a photograph's file may choose."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    format: FormatChoice = Field(default="same", description=choice("format").description)
    quality: Annotated[int, Field(ge=1, le=100)] | Literal["auto"] = Field(
        default="auto", description=choice("quality").description
    )
    strip_metadata: bool = Field(default=False, description=choice("strip_metadata").description)

    @property
    def output(self) -> OutputOptions:
        """The same for who writes it."""
        return OutputOptions(self.format, self.quality, self.strip_metadata)


class AnswerOptions(FileOptions):
    """What every request for an image may choose."""

    model: str = Field(
        default="",
        max_length=200,
        # A name, never a place: nothing is fetched for a client.
        pattern=r"^[^/\\]*$",
        description="name of the release that answers, one of those of GET /v1/models; as if not"
        " given the first of them",
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=LARGEST_SEED,
        description=choice("seed").description,
    )


class InpaintOptions(AnswerOptions):
    """Every option of a fill, its values and its default; the fields next to the two files."""

    mask_convention: MaskConvention = Field(
        default="white", description=choice("mask_convention").description
    )
    invert_mask: bool = Field(default=False, description=choice("invert_mask").description)
    mask_threshold: Annotated[int, Field(ge=1, le=255)] | Literal["auto"] = Field(
        default="auto", description=choice("mask_threshold").description
    )
    grow_mask: int = Field(
        default=0,
        ge=0,
        le=MOST_REACH,
        description=choice("grow_mask").description,
    )
    feather: int = Field(
        default=0,
        ge=0,
        le=MOST_REACH,
        description=choice("feather").description,
    )
    align_colour: bool = Field(
        default=True,
        description=choice("align_colour").description,
    )
    scales: Annotated[int, Field(ge=1, le=MOST_SCALES)] | Literal["auto"] = Field(
        default="auto", description=choice("scales").description
    )

    @property
    def mask(self) -> MaskOptions:
        """Those of the mask."""
        return MaskOptions(
            self.mask_convention,
            self.invert_mask,
            self.mask_threshold,
            self.grow_mask,
            self.feather,
        )


class StylizeOptions(AnswerOptions):
    """Every option of a style transfer; the fields next to the two files."""

    strength: float = Field(
        default=1.0,
        ge=0,
        le=1,
        allow_inf_nan=False,
        description=choice("strength").description,
    )


Options = TypeVar("Options", bound=BaseModel)


def page_options(kind: type[FileOptions]) -> dict[str, list[dict[str, object]]]:
    """What the page makes controls of: all options but the release, in groups.

    Each has `name`, `default`, `type` (boolean, integer or string) and, of a number, `minimum` and
    `maximum`, of words `enum`. A number that may be "auto" has that as its default.
    """
    groups = {"options": (MaskOptions, FillChoices), "file_options": (OutputOptions,)}
    shown = {
        group: [each for one in kinds for each in choices(one) if each.name in kind.model_fields]
        for group, kinds in groups.items()
    }
    # Those that say how a mask's file is read: on the page most holes are painted.
    reads = ("mask_convention", "invert_mask", "mask_threshold")
    masks = [each for each in shown["options"] if each.name in reads]
    shown["options"] = [each for each in shown["options"] if each.name not in reads]
    return {
        group: [_control(each) for each in options]
        for group, options in {**shown, "mask_options": masks}.items()
    }


def _control(each: Choice) -> dict[str, object]:
    control: dict[str, object] = {"name": each.name, "default": each.default}
    if each.is_switch:
        return {**control, "type": "boolean"}
    if each.low is None:
        return {**control, "type": "string", "enum": each.values}
    return {**control, "type": "integer", "minimum": each.low, "maximum": each.high}


def parse_options(
    fields: Mapping[str, object], kind: type[Options], *, strict: bool = False
) -> Options:
    """Check options by name.

    Args:
        fields: Values as text, or of JSON.
        kind: The options there are.
        strict: Whether each must have its type, as in JSON.

    Raises:
        InvalidInput: `unknown_field`, `{name}_not_integer`, `{name}_not_number`,
            `{name}_out_of_range`, `{name}_unknown`; the message names the first wrong
            option and its values.
    """
    try:
        return kind.model_validate(fields, strict=strict)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
    name, known = str(first["loc"][0]), kind.model_fields
    if name not in known:
        raise unknown_field(name, list(known))
    raise InvalidInput(
        f"{name}={_shown(_text(fields[name]))} is not one of its values",
        code=f"{name}_{_reason(first['type'])}",
        hint=f"{name}: {known[name].description}",
    )


def unknown_field(name: str, allowed: list[str]) -> InvalidInput:
    """The error of a field that is no option."""
    return InvalidInput(
        f"{_shown(name)} is not a field of this request",
        code="unknown_field",
        hint=f"use only {', '.join(allowed)}",
    )


def in_query(name: str) -> InvalidInput:
    """The error of an option that was sent where none is read."""
    return InvalidInput(
        f"{_shown(name)} was sent in the URL's query string",
        code="option_in_query",
        hint="send every option as a field of the form or of the JSON object, next to the files",
    )


def _reason(kind: str) -> str:
    """What an error of pydantic means, as the end of a code."""
    if kind.startswith("int_"):
        return "not_integer"
    if kind in ("float_type", "float_parsing", "finite_number"):
        return "not_number"
    if kind in ("greater_than_equal", "less_than_equal"):
        return "out_of_range"
    return "unknown"


def _text(value: object) -> str:
    """A value as it was sent, or about so."""
    if isinstance(value, str):
        return value
    # What holds others can be as deep and as long as the body.
    return "..." if isinstance(value, dict | list) else json.dumps(value)


def _shown(text: str) -> str:
    """Text of a request in ASCII without control characters, cut short."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return ascii(cut)

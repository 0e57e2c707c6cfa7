"""The options of one request to fill a hole, and the errors that name a wrong one."""

from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from kintsugi.errors import InvalidInput

# What of a wrong value is named in the error; more would be an echo of the request.
_SHOWN_CHARACTERS = 40


class InpaintOptions(BaseModel):
    """Every option, its values and its default; the form's fields beside the two files."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    mask_convention: Literal["white", "alpha"] = Field(
        default="white",
        description="white: grey of 128 and more is hole; alpha: transparent is hole, in the"
        " mask, or in the image itself when no mask is sent",
    )
    grow_mask: int = Field(
        default=0, ge=0, le=64, description="0 to 64 pixels by which the hole grows on every side"
    )
    feather: int = Field(
        default=0,
        ge=0,
        le=64,
        description="0 to 64 pixels over which the fill fades out around the hole",
    )
    format: Literal["png", "jpeg", "webp", "tiff"] = Field(
        default="png", description="format of the answer: png, jpeg, webp or tiff"
    )
    quality: int = Field(default=92, ge=1, le=100, description="1 to 100, of jpeg and webp")
    scales: Annotated[int, Field(ge=1, le=16)] | Literal["auto"] = Field(
        default="auto", description="auto, or how many scales the fill goes through, 1 to 16"
    )
    seed: int = Field(
        default=0,
        ge=0,
        le=2**63 - 1,
        description="whole number from 0 to 9223372036854775807; decides every random choice",
    )


def parse_options(fields: dict[str, str]) -> InpaintOptions:
    """Read options as text.

    Raises:
        InvalidInput: `unknown_field`, `{name}_not_integer`, `{name}_out_of_range`,
            `{name}_unknown`; the message names the first wrong option and its values.
    """
    try:
        return InpaintOptions.model_validate(fields)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise _wrong_option(str(first["loc"][0]), first["type"], fields) from None


def unknown_field(name: str, allowed: list[str]) -> InvalidInput:
    """The error of a field that is no option."""
    return InvalidInput(
        f"{_shown(name)} is not a field of this request",
        code="unknown_field",
        hint=f"use only {', '.join(allowed)}",
    )


def _wrong_option(name: str, kind: str, fields: dict[str, str]) -> InvalidInput:
    known = InpaintOptions.model_fields
    if name not in known:
        return unknown_field(name, list(known))
    if kind.startswith("int_"):
        reason = "not_integer"
    elif kind in ("greater_than_equal", "less_than_equal"):
        reason = "out_of_range"
    else:
        reason = "unknown"
    return InvalidInput(
        f"{name}={_shown(fields[name])} is not one of its values",
        code=f"{name}_{reason}",
        hint=f"{name}: {known[name].description}",
    )


def _shown(text: str) -> str:
    """Text of a request in ASCII without control characters, cut short."""
    cut = text if len(text) <= _SHOWN_CHARACTERS else text[:_SHOWN_CHARACTERS] + "..."
    return ascii(cut)

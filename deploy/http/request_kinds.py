"""What a request for an image consists of, however it is written; reads no request."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Generic

from kintsugi.deploy.options import (
    FileOptions,
    InpaintOptions,
    NoOptions,
    Options,
    StylizeOptions,
)
from kintsugi.errors import InvalidInput
from kintsugi.imaging.formats import ALL_LABELS


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


INPAINT_FORM = FormKind(
    {
        "image": f"photograph, found by content: {ALL_LABELS} (HEIC where the service reads it)",
        "mask": "of the image's size; mask_convention says what is hole. Not needed with alpha and"
        " an image with transparency",
    },
    ("image",),
    InpaintOptions,
)
STYLIZE_FORM = FormKind(
    {
        "content": "photograph whose arrangement is kept, found by content; the answer has its"
        " size, depth, transparency, colour profile and metadata",
        "style": "picture whose look is copied, of any size; a large one is shrunk to the area"
        " of 512x512 px",
    },
    ("content", "style"),
    StylizeOptions,
)
PREVIEW_FORM = FormKind(
    {"image": "photograph in any format that a fill takes, found by content"},
    ("image",),
    NoOptions,
)
SAVE_FORM = FormKind(
    {
        "image": "the photograph as it was, in any format",
        "filled": "the same photograph edited, such as answers of /v1/inpaint with format=png",
    },
    ("image", "filled"),
    FileOptions,
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


@dataclass(frozen=True)
class PreviewForm:
    """What a request for a preview sent: a file as it came."""

    image: bytes
    options: NoOptions = field(default_factory=NoOptions)


@dataclass(frozen=True)
class SaveForm:
    """What a request to save sent: files as they came, options checked."""

    image: bytes
    filled: bytes
    options: FileOptions


def check_required(files: Mapping[str, bytes], kind: FormKind[Options]) -> None:
    """Raises: InvalidInput `{name}_missing`."""
    for name in kind.required:
        if name not in files:
            raise InvalidInput(
                f"the form has no {name}",
                code=f"{name}_missing",
                hint=f"send the file as the field {name}",
            )

"""What may be chosen of a mask, a fill, a look and the file that is written: one declaration for
all doors.

The service, the commands, the client, the page and the Python facade read names, values, defaults
and descriptions from here.
"""

from contextlib import suppress
from dataclasses import Field, dataclass, field, fields
from typing import Any, Literal, get_args, get_origin

from kintsugi.errors import InvalidInput
from kintsugi.imaging.formats import FORMAT_NAMES

MaskConvention = Literal["white", "black", "alpha", "painted"]
FormatChoice = Literal["same", "png", "jpeg", "webp", "tiff", "heif", "avif", "bmp", "gif", "jp2"]
# Most pixels that a hole may grow and a fill may fade out over.
MOST_REACH = 64
MOST_SCALES = 16
LARGEST_SEED = 2**63 - 1
_OWN_QUALITY = 92
# No number that is an option has as many.
_MOST_DIGITS = 40


def _about(
    description: str, *, low: float | None = None, high: float | None = None
) -> dict[str, Any]:
    return {"description": description, "low": low, "high": high}


# The seed of a fill and of a style transfer.
_SEED = _about(
    f"whole number from 0 to {LARGEST_SEED}; decides every random choice",
    low=0,
    high=LARGEST_SEED,
)


class _Checked:
    """Holds Python's own values, also where numpy's are given.

    Raises: InvalidInput `{name}_unknown`, `{name}_out_of_range`: a value that there is not.
    """

    def __post_init__(self) -> None:
        for each in choices(type(self)):
            value = _own_value(getattr(self, each.name))
            each.check(value)
            # Frozen for everybody else.
            object.__setattr__(self, each.name, value)


@dataclass(frozen=True)
class MaskOptions(_Checked):
    """Which pixels of a mask are the hole, and how its edge is treated."""

    mask_convention: MaskConvention = field(
        default="white",
        metadata=_about(
            "what marks the hole: white (transparent ground counts as black); black (transparent"
            " ground counts as white); alpha: what is erased, in the mask or, when no mask is"
            " given, in the photograph itself; painted: strokes of any colour on a transparent"
            " ground"
        ),
    )
    invert_mask: bool = field(default=False, metadata=_about("swaps hole and known"))
    mask_threshold: int | Literal["auto"] = field(
        default="auto",
        metadata=_about(
            "1 to 255, how strongly a pixel must be marked to be hole; auto: 128 of a mask with"
            " hard edges, 16 of one with smooth edges, and of alpha and painted all that was"
            " touched",
            low=1,
            high=255,
        ),
    )
    grow_mask: int = field(
        default=0,
        metadata=_about(
            "0 to 64 pixels by which the hole grows on every side", low=0, high=MOST_REACH
        ),
    )
    feather: int = field(
        default=0,
        metadata=_about(
            "0 to 64 pixels over which the fill fades out around the hole", low=0, high=MOST_REACH
        ),
    )


@dataclass(frozen=True)
class FillChoices(_Checked):
    """How a hole is filled, next to what `MaskOptions` says of its edge."""

    align_colour: bool = field(
        default=True,
        metadata=_about("moves the fill's colours to those of the known pixels around it"),
    )
    scales: int | Literal["auto"] = field(
        default="auto",
        metadata=_about(
            "auto, or how many scales the fill goes through, 1 to 16", low=1, high=MOST_SCALES
        ),
    )
    seed: int = field(default=0, metadata=_SEED)


@dataclass(frozen=True)
class StyleChoices(_Checked):
    """How one picture takes the look of another."""

    strength: float = field(
        default=1.0,
        metadata=_about(
            "0 to 1, how much of the answer is style, 0 keeps the content", low=0.0, high=1.0
        ),
    )
    seed: int = field(default=0, metadata=_SEED)


@dataclass(frozen=True)
class OutputOptions(_Checked):
    """The file that a filled photograph is written to."""

    format: FormatChoice = field(
        default="same",
        metadata=_about(f"same (as the photograph's), or one of {', '.join(FORMAT_NAMES)}"),
    )
    quality: int | Literal["auto"] = field(
        default="auto",
        metadata=_about(
            "1 to 100, of jpeg, webp, heif, avif and jp2; auto: a JPEG's own tables, else"
            f" {_OWN_QUALITY}",
            low=1,
            high=100,
        ),
    )
    strip_metadata: bool = field(
        default=False,
        metadata=_about(
            "leaves out EXIF, XMP, IPTC, comments and resolution; the colour profile stays, since"
            " colours depend on it"
        ),
    )

    @property
    def quality_or_own(self) -> int:
        """The number to encode with where the source has no tables to follow."""
        return _OWN_QUALITY if self.quality == "auto" else self.quality


KINDS: tuple[type[Any], ...] = (MaskOptions, FillChoices, StyleChoices, OutputOptions)


def output_in(format: str) -> OutputOptions:
    """A file of a format by its name, otherwise as the photograph. Raises: InvalidInput."""
    return OutputOptions(format)  # type: ignore[arg-type]


@dataclass(frozen=True)
class Choice:
    """One option, for code that builds flags, form fields or documents of it.

    Attributes:
        name: As in a form; a flag has hyphens.
        default: What holds when it is not given.
        description: Its values and what they do, one line.
        effect: The same without the values of a yes or no, which a flag does not have.
        values: The words that may be given; empty for a number alone or a yes or no.
        low, high: The least and most number that may be given; None for no number.
        is_switch: Yes or no.
        is_fraction: Whether the number need not be whole.
    """

    name: str
    default: Any
    description: str
    effect: str
    values: tuple[str, ...]
    low: float | None
    high: float | None
    is_switch: bool
    is_fraction: bool = False

    @property
    def flag(self) -> str:
        """Its name on a command line."""
        return "--" + self.name.replace("_", "-")

    def check(self, value: object) -> None:
        """Raises: InvalidInput `{name}_unknown`, `{name}_out_of_range`."""
        if self.is_switch and isinstance(value, bool):
            return
        if isinstance(value, str) and value in self.values:
            return
        kinds = (int, float) if self.is_fraction else (int,)
        if self.low is None or self.high is None or not isinstance(value, kinds):
            raise self._wrong(value, "unknown")
        if isinstance(value, bool):
            raise self._wrong(value, "unknown")
        if not self.low <= value <= self.high:
            raise self._wrong(value, "out_of_range")

    def parse(self, text: str) -> Any:
        """The value that a command line gives as text. Raises: as `check`."""
        # Python reads no number of thousands of digits.
        is_number = text.isascii() and text.isdecimal() and len(text) <= _MOST_DIGITS
        value: Any = int(text) if is_number else text
        if self.is_fraction:
            with suppress(ValueError):
                value = float(text)
        self.check(value)
        return value

    def _wrong(self, value: object, reason: str) -> InvalidInput:
        return InvalidInput(
            f"{self.name}={str(value)[:40]!a} is not one of its values",
            code=f"{self.name}_{reason}",
            hint=f"{self.name}: {self.description}",
        )


def choices(kind: type[Any]) -> tuple[Choice, ...]:
    """All options of one of the classes above, in their order."""
    return tuple(_as_choice(each) for each in fields(kind))


def choice(name: str) -> Choice:
    """One option by its name."""
    return next(each for kind in KINDS for each in choices(kind) if each.name == name)


def _own_value(value: Any) -> Any:
    """One value of an array library, which has no dimensions, as Python's own."""
    return value.item() if getattr(value, "ndim", None) == 0 else value


def _as_choice(each: Field[Any]) -> Choice:
    words = [each.type] if get_origin(each.type) is Literal else get_args(each.type)
    values = tuple(word for part in words if get_origin(part) is Literal for word in get_args(part))
    about = each.metadata
    description = effect = about["description"]
    if each.type is bool:
        words = (
            ("true (as if not given)", "false")
            if each.default
            else ("true", "false (as if not given)")
        )
        description = f"{' or '.join(words)}, {effect}"
    return Choice(
        each.name,
        each.default,
        description,
        effect,
        values,
        about["low"],
        about["high"],
        each.type is bool,
        each.type is float,
    )

"""The options of fills, looks and files as commands have them; each is declared elsewhere.

Names, defaults and descriptions are those of `kintsugi.imaging.photo_options`, which the service
and its client show, too.
"""

from typing import Annotated, TypeVar

import typer

from kintsugi.errors import ConfigError, InputError
from kintsugi.imaging.photo_options import Choice, choice

Kind = TypeVar("Kind")


def _option(name: str) -> typer.models.OptionInfo:
    each = choice(name)
    # What is so unless it is given needs the other word, too.
    off = f"/--no-{each.flag[2:]}" if each.is_switch and each.default else ""
    info: typer.models.OptionInfo = typer.Option(
        each.flag + off, metavar=None if each.is_switch else _metavar(each), help=each.effect
    )
    return info


def _metavar(each: Choice) -> str:
    number = "0-1" if each.is_fraction else "N"
    words = [*each.values, *([number] if each.low is not None else [])]
    return "|".join(words) if len(words) <= 4 else "WORD"


MaskConvention = Annotated[str, _option("mask_convention")]
InvertMask = Annotated[bool, _option("invert_mask")]
MaskThreshold = Annotated[str, _option("mask_threshold")]
GrowMask = Annotated[str, _option("grow_mask")]
Feather = Annotated[str, _option("feather")]
AlignColour = Annotated[bool, _option("align_colour")]
Scales = Annotated[str, _option("scales")]
Seed = Annotated[str, _option("seed")]
Strength = Annotated[str, _option("strength")]
Format = Annotated[str, _option("format")]
Quality = Annotated[str, _option("quality")]
StripMetadata = Annotated[bool, _option("strip_metadata")]
Overwrite = Annotated[
    bool, typer.Option("--overwrite", help="of a folder: do again what is there already")
]
Processes = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="of a folder: photographs at one time, each in a process, whose death is that"
        " photograph's alone; 0: in this process. Where Ray runs, it decides",
    ),
]


def chosen(kind: type[Kind], **values: str | bool) -> Kind:
    """Options of one kind, as a command line gives them. Raises: ConfigError: a value not there."""
    try:
        return kind(
            **{
                name: value if isinstance(value, bool) else choice(name).parse(value)
                for name, value in values.items()
            }
        )
    except InputError as error:
        raise ConfigError(f"{error}: {error.hint}") from error

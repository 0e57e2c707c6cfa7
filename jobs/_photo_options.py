"""The options of masks, outputs and folders as commands have them; each is declared elsewhere.

Names, defaults and descriptions are those of `kintsugi.imaging.photo_options`, which the service
and its client show, too.
"""

from typing import Annotated

import typer

from kintsugi.errors import ConfigError, InputError
from kintsugi.imaging.photo_options import Choice, MaskOptions, OutputOptions, choice


def _option(name: str) -> typer.models.OptionInfo:
    each = choice(name)
    info: typer.models.OptionInfo = typer.Option(
        each.flag, metavar=None if each.is_switch else _metavar(each), help=each.description
    )
    return info


def _metavar(each: Choice) -> str:
    words = [*each.values, *(["N"] if each.low is not None else [])]
    return "|".join(words) if len(words) <= 4 else "WORD"


MaskConvention = Annotated[str, _option("mask_convention")]
InvertMask = Annotated[bool, _option("invert_mask")]
MaskThreshold = Annotated[str, _option("mask_threshold")]
GrowMask = Annotated[str, _option("grow_mask")]
Feather = Annotated[str, _option("feather")]
Format = Annotated[str, _option("format")]
Quality = Annotated[str, _option("quality")]
StripMetadata = Annotated[bool, _option("strip_metadata")]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="fill again what is there already")]
Processes = Annotated[
    int,
    typer.Option(
        metavar="N",
        min=0,
        help="of a folder: photographs at one time, each in a process, whose death is that"
        " photograph's alone; 0: in this process. Where Ray runs, it decides",
    ),
]


def mask_options(
    *, convention: str, invert: bool, threshold: str, grow: str, feather: str
) -> MaskOptions:
    """Those of a mask. Raises: ConfigError: a value that there is not."""
    try:
        return MaskOptions(
            choice("mask_convention").parse(convention),
            invert,
            choice("mask_threshold").parse(threshold),
            choice("grow_mask").parse(grow),
            choice("feather").parse(feather),
        )
    except InputError as error:
        raise _usage(error) from error


def output_options(*, format: str, quality: str, strip_metadata: bool) -> OutputOptions:
    """Those of an output. Raises: ConfigError: a value that there is not."""
    try:
        return OutputOptions(
            choice("format").parse(format), choice("quality").parse(quality), strip_metadata
        )
    except InputError as error:
        raise _usage(error) from error


def _usage(error: InputError) -> ConfigError:
    return ConfigError(f"{error}: {error.hint}")

#!/usr/bin/env python3
"""Fill one photograph, or a folder of them; kintsugi.inference does the work."""

import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.imaging.photo_options import FillChoices, MaskOptions, OutputOptions
from kintsugi.jobs import _command as options
from kintsugi.jobs import _photo_options as photos
from kintsugi.jobs._bootstrap import join_ray, run
from kintsugi.jobs._folder import finish, is_folder, read_file, reporting
from kintsugi.jobs._one_photo import check_is_for_one, one_output, watching

if TYPE_CHECKING:
    from kintsugi.inference.inpaint import Places
    from kintsugi.models.plan.fill_plan import FillOptions


@options.command(
    "kintsugi fill photo.jpg mask.png -o filled.jpg",
    "kintsugi fill photos -o filled                    # photos/a.jpg by photos/a_mask.png",
    "kintsugi fill scans corner.png -o filled          # one mask for all",
    "kintsugi fill erased.png -o filled.png --mask-convention alpha",
    "kintsugi fill s3://shop/photos s3://shop/masks -o s3://shop/filled --retry-failed",
)
def main(
    photo: Annotated[str, typer.Argument(help="photograph, or folder: a path or URI")],
    mask: Annotated[
        str | None,
        typer.Argument(
            help="of the same size; of a folder one for all, or a folder of them: same stem, or"
            " stem + _mask, + _mask001",
            show_default="PHOTO, if a folder",
        ),
    ] = None,
    *,
    output: Annotated[
        str,
        typer.Option(
            "--output",
            "-o",
            metavar="URI",
            help="a file, whose ending says its format; one that is there is replaced, but never"
            " an input; or folder",
        ),
    ],
    mask_convention: photos.MaskConvention = "white",
    invert_mask: photos.InvertMask = False,
    mask_threshold: photos.MaskThreshold = "auto",
    grow_mask: photos.GrowMask = "0",
    feather: photos.Feather = "0",
    align_colour: photos.AlignColour = True,
    scales: photos.Scales = "auto",
    seed: photos.Seed = "0",
    format: photos.Format = "same",
    quality: photos.Quality = "auto",
    strip_metadata: photos.StripMetadata = False,
    release: options.Release = BUNDLED_RELEASE,
    processes: photos.Processes = 1,
    overwrite: photos.Overwrite = False,
    retry_failed: options.RetryFailed = False,
    json: options.Json = None,
) -> int:
    """Fill one photograph, or a folder of them, on this machine; on Ray if RAY_ADDRESS is set.

    Format, depth, colours and metadata stay as the photograph's; what cannot is named.
    """
    masks = photos.chosen(
        MaskOptions,
        mask_convention=mask_convention,
        invert_mask=invert_mask,
        mask_threshold=mask_threshold,
        grow_mask=grow_mask,
        feather=feather,
    )
    fill = photos.chosen(FillChoices, align_colour=align_colour, scales=scales, seed=seed)
    file = photos.chosen(
        OutputOptions, format=format, quality=quality, strip_metadata=strip_metadata
    )
    if not is_folder(photo):
        check_is_for_one(photo, processes=processes, retry_failed=retry_failed)
        return _fill_one(_Files(photo, mask, output), masks, fill, file, release, json)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.inference.folder import FolderRun
    from kintsugi.inference.inpaint import inpaint_folder
    from kintsugi.inference.methods import ReleaseMethod, open_release

    places = _places(photo, mask, output, masks)
    inpainter, config = open_release(release)
    print(f"release {config.name} {config.digest[:19]}", flush=True)
    join_ray()
    method = ReleaseMethod(inpainter, _fill_options(masks, fill))
    with reporting() as report:
        how = FolderRun(retry_failed, overwrite, processes, report)
        summary = inpaint_folder(places, method, masks=masks, output=file, run=how)
    return finish(summary, output, json)


@dataclass(frozen=True)
class _Files:
    photo: str
    mask: str | None
    output: str


def _places(photo: str, mask: str | None, output: str, masks: MaskOptions) -> "Places":
    """Where photographs and masks are: by default in one folder, or erased into the photographs."""
    from kintsugi.inference.inpaint import Places
    from kintsugi.storage.storage import Storage, file_at

    images, filled = Storage(photo), Storage(output)
    if mask is None and masks.mask_convention == "alpha":
        return Places(images, None, filled)
    if mask is not None and not is_folder(mask):
        folder, name = file_at(mask)
        return Places(images, None, filled, read_file(mask), folder.join(name))
    return Places(images, Storage(mask or photo), filled)


def _fill_one(
    files: _Files,
    masks: MaskOptions,
    fill: FillChoices,
    file: OutputOptions,
    release: str,
    json: Path | None,
) -> int:
    if files.mask is None and masks.mask_convention != "alpha":
        raise ConfigError(
            f"name the mask of {files.photo} after it, or choose --mask-convention alpha for a"
            " hole that was erased into it"
        )
    target = one_output(files.output, file, [files.photo, *([files.mask] if files.mask else [])])
    # Before anything slow: a mistyped name, or a mask of another photograph, is refused at once.
    image = read_file(files.photo)
    mask = None if files.mask is None else read_file(files.mask)
    from kintsugi.imaging.holed import open_holed

    holed = open_holed(image, mask, masks)
    from kintsugi.inference.inpaint import fill_holed
    from kintsugi.inference.methods import ReleaseMethod, open_release

    inpainter, config = open_release(release)
    since = time.monotonic()
    with watching(files.photo) as progress:
        method = ReleaseMethod(inpainter, _fill_options(masks, fill), progress)
        saved = fill_holed(holed, method, target.file)
    return target.finish(saved, "filled", config, time.monotonic() - since, json)


def _fill_options(masks: MaskOptions, fill: FillChoices) -> "FillOptions":
    from kintsugi.models.plan.fill_plan import FillOptions

    return FillOptions(grow_mask=masks.grow_mask, feather=masks.feather, **asdict(fill))


if __name__ == "__main__":
    run(main)

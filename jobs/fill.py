#!/usr/bin/env python3
"""Fill one photograph, or a folder of them; kintsugi.inference does the work."""

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "platform"))

from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.imaging.formats import PHOTO_SUFFIXES, format_of_name
from kintsugi.imaging.photo_options import MaskOptions, OutputOptions
from kintsugi.jobs import _command as options
from kintsugi.jobs import _photo_options as photos
from kintsugi.jobs._bootstrap import DONE, join_ray, run, write_results
from kintsugi.jobs._folder import finish, is_folder, read_file, reporting, shown

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
            "--output", "-o", metavar="URI", help="a file, whose ending says its format; or folder"
        ),
    ],
    mask_convention: photos.MaskConvention = "white",
    invert_mask: photos.InvertMask = False,
    mask_threshold: photos.MaskThreshold = "auto",
    grow_mask: photos.GrowMask = "0",
    feather: photos.Feather = "0",
    format: photos.Format = "same",
    quality: photos.Quality = "auto",
    strip_metadata: photos.StripMetadata = False,
    release: options.Release = BUNDLED_RELEASE,
    seed: Annotated[int, typer.Option(metavar="N", help="decides every random choice")] = 0,
    processes: photos.Processes = 1,
    overwrite: photos.Overwrite = False,
    retry_failed: options.RetryFailed = False,
    json: options.Json = None,
) -> int:
    """Fill one photograph, or a folder of them, on this machine; on Ray if RAY_ADDRESS is set.

    Format, depth, colours and metadata stay as the photograph's; what cannot is named.
    """
    masks = photos.mask_options(
        convention=mask_convention,
        invert=invert_mask,
        threshold=mask_threshold,
        grow=grow_mask,
        feather=feather,
    )
    file = photos.output_options(format=format, quality=quality, strip_metadata=strip_metadata)
    if not is_folder(photo):
        return _fill_one(_Files(photo, mask, output), masks, file, release, seed, json)
    # Down here, like all that is slow to import: --help and usage answer without it.
    from kintsugi.inference.folder import FolderRun
    from kintsugi.inference.inpaint import inpaint_folder
    from kintsugi.inference.methods import ReleaseMethod, open_release

    places = _places(photo, mask, output, masks)
    inpainter, config = open_release(release)
    print(f"release {config.name} {config.digest[:19]}", flush=True)
    join_ray()
    method = ReleaseMethod(inpainter, _fill_options(masks, seed))
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
    from kintsugi.storage.storage import Storage

    images, filled = Storage(photo), Storage(output)
    if mask is None and masks.mask_convention == "alpha":
        return Places(images, None, filled)
    if mask is not None and not is_folder(mask):
        return Places(images, None, filled, one_mask=read_file(mask))
    return Places(images, Storage(mask or photo), filled)


def _fill_one(
    files: _Files,
    masks: MaskOptions,
    file: OutputOptions,
    release: str,
    seed: int,
    json: Path | None,
) -> int:
    from kintsugi.storage.storage import file_at

    if files.mask is None and masks.mask_convention != "alpha":
        raise ConfigError(
            f"name the mask of {files.photo} after it, or choose --mask-convention alpha for a"
            " hole that was erased into it"
        )
    if file.format == "same":
        named = format_of_name(files.output)
        if named is None:
            raise ConfigError(
                f"{files.output}: let it end in one of {', '.join(PHOTO_SUFFIXES)}, or choose"
                " --format"
            )
        file = photos.output_options(
            format=named.name, quality=str(file.quality), strip_metadata=file.strip_metadata
        )
    # Before anything slow: a mistyped name is refused at once.
    image = read_file(files.photo)
    mask = None if files.mask is None else read_file(files.mask)
    folder, name = file_at(files.output)
    if not folder.is_bucket and not Path(folder.uri).is_dir():
        raise ConfigError(f"{folder.uri} is no folder to write to: make it, or correct the path")
    from kintsugi.inference.inpaint import fill_photo
    from kintsugi.inference.methods import ReleaseMethod, open_release

    inpainter, config = open_release(release)
    since = time.monotonic()
    method = ReleaseMethod(inpainter, _fill_options(masks, seed))
    saved = fill_photo(image, mask, method, masks=masks, output=file)
    seconds = round(time.monotonic() - since, 3)
    folder.write(name, saved.body)
    print(shown(f"{folder.join(name).uri}: filled in {seconds:.1f} s by {config.name}"))
    for note in saved.notes:
        print(f"  {note}")
    figures = {"seconds": seconds, "release": config.name, "digest": config.digest}
    write_results(json, {**figures, "notes": list(saved.notes)})
    return DONE


def _fill_options(masks: MaskOptions, seed: int) -> "FillOptions":
    from kintsugi.models.plan.fill_plan import FillOptions

    return FillOptions(grow_mask=masks.grow_mask, feather=masks.feather, seed=seed)


if __name__ == "__main__":
    run(main)

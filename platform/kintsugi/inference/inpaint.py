"""Fill a folder of photographs with a folder of masks; `folder.py` walks through it."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from kintsugi.imaging.formats import is_photo
from kintsugi.imaging.holed import Holed, open_holed, save_filled
from kintsugi.imaging.photo_options import MaskOptions, OutputOptions
from kintsugi.imaging.saving import Saved
from kintsugi.inference.folder import (
    FolderPlan,
    FolderRun,
    Item,
    OutputFile,
    check_any,
    check_apart,
    left_out_special,
    plan_outputs,
    read_input,
    same_name,
    stem_of,
    work_folder,
)
from kintsugi.inference.folder_report import PhotoOutcome, Summary, failed
from kintsugi.inference.methods import Method, PhotoMethod
from kintsugi.storage.backends import Survey
from kintsugi.storage.storage import Storage

# The end of a mask's stem after its photograph's: "_mask", or with digits, as LaMa's tools write
# it: "_mask001".
_MASK_ENDING = re.compile(r"_mask\d*$")


@dataclass(frozen=True)
class PhotoAndMask(Item):
    """A photograph, the name of its fill, and its mask; "" where there is one for all, or none."""

    mask: str


@dataclass(frozen=True)
class Places:
    """Where photographs and masks come from and fills go to.

    Attributes:
        images: Photographs, at any depth.
        masks: Their masks, by name; may be the same folder. None: see ``one_mask``.
        output: Fills, and the report.
        one_mask: The bytes of one mask for all; without it and ``masks`` the holes were erased
            into the photographs (``mask_convention`` alpha).
        mask_file: Where that one mask lies, which is no photograph if it lies among them.
    """

    images: Storage
    masks: Storage | None
    output: Storage
    one_mask: bytes | None = None
    mask_file: Storage | None = None


def inpaint_folder(
    places: Places,
    method: Method | PhotoMethod,
    *,
    masks: MaskOptions = MaskOptions(),
    output: OutputOptions = OutputOptions(),
    run: FolderRun = FolderRun(),
) -> Summary:
    """Fill every photograph that has no output yet, in Ray tasks where Ray is initialised.

    Args:
        places: Where from and where to.
        method: What fills; growing and feathering of the mask are its own.
        masks: What marks a hole.
        output: The files that are written.
        run: What is done again, and by how many processes.

    Raises:
        ConfigError: there are no photographs, or the output lies among the inputs.
        StorageError: a place cannot be read or written at all.
    """
    inputs = {"images": places.images}
    if places.masks is not None:
        inputs["masks"] = places.masks
    check_apart(places.output, inputs)
    found = places.images.survey()
    if places.masks is None:
        if places.mask_file is not None:
            found = _outside(found, places.images, places.mask_file)
        plan = _without_masks(plan_outputs(found, output.format))
    elif places.masks.is_same_place(places.images):
        plan = plan_folder(found, None, output.format)
    else:
        # The masks may lie in a folder among the photographs.
        if not places.images.lies_in(places.masks):
            found = _outside(found, places.images, places.masks)
        plan = plan_folder(found, places.masks.survey(), output.format)
    check_any(plan, places.images)
    return work_folder(plan, Filling(places, method, masks, output), places.output, run)


def plan_folder(
    images: Survey, masks: Survey | None, format: str = "same"
) -> FolderPlan[PhotoAndMask]:
    """Find each photograph's mask: of the same stem, or the stem and ``_mask``, ``_mask001``, ...

    Args:
        images: What is in the folder of photographs.
        masks: What is in that of masks; None: they lie with the photographs.
        format: The format of the outputs.
    """
    names = [name for name in (masks or images).sizes if is_photo(name)]
    if masks is None:
        names = _masks_among(names)
        images = Survey(
            {name: size for name, size in images.sizes.items() if name not in set(names)},
            images.unreadable,
            images.special,
        )
    outputs = plan_outputs(images, format)
    photos = {same_name(stem_of(item.id)) for item in outputs.items}
    by_stem = _masks_by_photo(names, photos if masks is not None else None)
    pairs, refused = [], list(outputs.refused)
    for item in outputs.items:
        stem = same_name(stem_of(item.id))
        found = by_stem.get(stem, [])
        if not found:
            problem = f"no mask named {stem} or {stem}_mask: add one"
            refused.append(failed(item.id, "mask_missing", problem))
        elif len(found) > 1:
            problem = f"{' and '.join(found)} could each be its mask: remove all but one"
            refused.append(failed(item.id, "mask_ambiguous", problem))
        else:
            pairs.append(PhotoAndMask(item.id, item.output, found[0]))
    if masks is not None:
        refused += [*_locked_masks(masks), *left_out_special(masks.special, "masks: ")]
    return FolderPlan(tuple(pairs), tuple(refused), outputs.hidden)


def fill_holed(
    holed: Holed, method: Method | PhotoMethod, output: OutputOptions = OutputOptions()
) -> Saved:
    """Fill a photograph, and encode it as the photograph was.

    Args:
        holed: The photograph and its hole.
        method: What fills; growing and feathering of the mask are its own.
        output: The file that is written.

    Raises: InvalidInput: it cannot be filled by that method, or not be written so.
    """
    pixels: Any = holed.photo.pixels
    return save_filled(holed, method(pixels, holed.hole), output)


def _outside(found: Survey, images: Storage, masks: Storage) -> Survey:
    """Photographs without what lies in the masks' folder, or is the one mask."""

    @cache
    def are_masks(folder: str) -> bool:
        return images.join(folder).lies_in(masks)

    def is_mask(name: str) -> bool:
        folder, _, last = name.rpartition("/")
        # Only what may be the one mask is looked at by itself: a folder may hold a million.
        by_itself = last == masks.uri.rpartition("/")[2] and images.join(name).is_same_place(masks)
        return by_itself or are_masks(folder)

    return Survey(
        {name: size for name, size in found.sizes.items() if not is_mask(name)},
        {name: why for name, why in found.unreadable.items() if not is_mask(name)},
        {name: what for name, what in found.special.items() if not is_mask(name)},
    )


def _masks_among(names: list[str]) -> list[str]:
    """Those that are masks of others: a photograph may be called `carnival_mask`, too.

    A name is a mask's when the name without its ending is a photograph's, shortest names first.
    """
    photos, masks = set[str](), list[str]()
    for name in sorted(names, key=lambda each: (len(stem_of(each)), each)):
        stem = same_name(stem_of(name))
        if stem != _MASK_ENDING.sub("", stem) and _MASK_ENDING.sub("", stem) in photos:
            masks.append(name)
        else:
            photos.add(stem)
    return masks


def _masks_by_photo(masks: list[str], photos: set[str] | None) -> Mapping[str, list[str]]:
    """Names of the masks that may belong to a photograph, by its stem.

    Args:
        masks: Their names.
        photos: Stems of the photographs; None where the masks lie among them, and a mask has no
            photograph's name.
    """
    found: dict[str, list[str]] = {}
    for name in sorted(masks):
        stem = same_name(stem_of(name))
        photo = _MASK_ENDING.sub("", stem)
        if photos is not None:
            found.setdefault(stem, []).append(name)
            if stem in photos:
                # It is called as one of them is: it is no second mask of a `carnival` next to a
                # `carnival_mask`.
                continue
        if photo != stem:
            found.setdefault(photo, []).append(name)
    return found


def _without_masks(plan: FolderPlan[Item]) -> FolderPlan[PhotoAndMask]:
    pairs = tuple(PhotoAndMask(item.id, item.output, "") for item in plan.items)
    return FolderPlan(pairs, plan.refused, plan.hidden)


def _locked_masks(masks: Survey) -> list[PhotoOutcome]:
    return [
        failed(f"masks: {name or '.'}", "folder_unreadable", f"its masks cannot be listed: {why}")
        for name, why in masks.unreadable.items()
    ]


@dataclass(frozen=True)
class Filling:
    """Reads, fills and encodes one photograph."""

    places: Places
    method: Method | PhotoMethod
    masks: MaskOptions
    output: OutputOptions

    def __call__(self, pair: PhotoAndMask) -> OutputFile:
        """Raises: InputError: the photograph or its mask cannot be used."""
        image = read_input(self.places.images, pair.id, "image")
        mask = self.places.one_mask
        if pair.mask and self.places.masks is not None:
            mask = read_input(self.places.masks, pair.mask, "mask")
        saved = fill_holed(open_holed(image, mask, self.masks), self.method, self.output)
        return OutputFile(saved.body, saved.notes)

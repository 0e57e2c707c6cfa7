"""Fill a folder of photographs with a folder of masks; `folder.py` walks through it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kintsugi.data.sample_photos import is_photo
from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import decode_image, decode_mask, encode_image
from kintsugi.inference.folder import (
    Item,
    Plan,
    Report,
    Summary,
    check_any,
    check_apart,
    failed,
    plan_outputs,
    read_input,
    stem_of,
    work_folder,
)
from kintsugi.inference.methods import Method
from kintsugi.storage.storage import Storage

# The end of a mask's stem after its photograph's: "_mask", or with digits, as LaMa's tools write
# it: "_mask001".
_MASK_ENDING = re.compile(r"_mask\d*$")


@dataclass(frozen=True)
class Pair(Item):
    """A photograph, the name of its filled PNG, and its mask."""

    mask: str


@dataclass(frozen=True)
class Places:
    """Where photographs and masks come from and fills go to."""

    images: Storage
    masks: Storage
    output: Storage


def inpaint_folder(
    places: Places,
    method: Method,
    *,
    retry_failed: bool = False,
    report: Report | None = None,
) -> Summary:
    """Fill every photograph that has no output yet, in Ray tasks where Ray is initialised.

    Raises:
        ConfigError: there are no photographs, or the output lies among the inputs.
        StorageError: a place cannot be read or written at all.
    """
    check_apart(places.output, {"images": places.images, "masks": places.masks})
    same_folder = places.images.uri == places.masks.uri
    plan = plan_folder(places.images.list(), places.masks.list(), same_folder)
    check_any(plan, places.images)
    work = Filling(places, method)
    return work_folder(plan, work, places.output, retry_failed=retry_failed, report=report)


def plan_folder(
    images: Sequence[str], masks: Sequence[str], same_folder: bool = False
) -> Plan[Pair]:
    """Find each photograph's mask: of the same stem, or the stem and ``_mask``, ``_mask001``, ...

    Args:
        images: Names of files; those that are no photographs are left out.
        masks: Likewise.
        same_folder: Both lie in one folder: masks are those that end in ``_mask`` or so.
    """
    by_stem = _masks_by_photo(masks, same_folder)
    outputs = plan_outputs(
        [name for name in images if not (same_folder and _MASK_ENDING.search(stem_of(name)))]
    )
    pairs, refused = [], list(outputs.refused)
    for item in outputs.items:
        stem = stem_of(item.id)
        found = by_stem.get(stem, [])
        if not found:
            problem = f"no mask named {stem} or {stem}_mask: add one"
            refused.append(failed(item.id, "mask_missing", problem))
        elif len(found) > 1:
            problem = f"{' and '.join(found)} could each be its mask: remove all but one"
            refused.append(failed(item.id, "mask_ambiguous", problem))
        else:
            pairs.append(Pair(item.id, item.output, found[0]))
    return Plan(tuple(pairs), tuple(refused))


def _masks_by_photo(masks: Sequence[str], same_folder: bool) -> dict[str, list[str]]:
    """Names of the masks that may belong to a photograph, by its stem."""
    found: dict[str, list[str]] = {}
    for name in filter(is_photo, masks):
        stem = stem_of(name)
        photo = _MASK_ENDING.sub("", stem)
        if not same_folder:
            found.setdefault(stem, []).append(name)
        if photo != stem:
            found.setdefault(photo, []).append(name)
    return found


@dataclass(frozen=True)
class Filling:
    """Reads, fills and encodes one photograph."""

    places: Places
    method: Method

    def __call__(self, pair: Pair) -> bytes:
        """Raises: InputError: the photograph or its mask cannot be used."""
        image = read_input(self.places.images, pair.id, "image")
        return fill_photo(image, read_input(self.places.masks, pair.mask, "mask"), self.method)


def fill_photo(image: bytes, mask: bytes, method: Method, *, format: str = "png") -> bytes:
    """Decode a photograph and its mask, fill it, and encode it with its alpha and its profile.

    Raises: InputError: either cannot be used, or not with the other.
    """
    decoded, hole = decode_image(image), decode_mask(mask)
    _check_mask(decoded.pixels.shape[:2], hole.shape, int(np.count_nonzero(hole)))
    return encode_image(
        method(decoded.pixels, hole), format, alpha=decoded.alpha, icc_profile=decoded.icc_profile
    )


def _check_mask(image: Sequence[int], mask: Sequence[int], hole: int) -> None:
    if tuple(image) != tuple(mask):
        raise InvalidInput(
            f"the mask is {mask[1]}x{mask[0]} px but the image is {image[1]}x{image[0]}",
            code="size_mismatch",
            hint="save both at the same size",
        )
    if hole == 0:
        raise InvalidInput("the mask is empty: white is hole", code="mask_empty")
    if hole == mask[0] * mask[1]:
        raise InvalidInput(
            "the mask covers the whole image: leave some of it known", code="mask_full"
        )

"""Holed photographs and their masks as PNGs, for programs of others to fill; knows no methods.

`<set>/images/<stem>.png` and `<set>/masks/<stem>.png`: what they make of them, under the same
stem, takes part in an evaluation as `folder:URI`.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.data.mask_files.mask_parts import encode
from kintsugi.errors import InputError
from kintsugi.imaging.codec import decode_image, encode_image
from kintsugi.inference.folder import Item, plan_outputs, read_input
from kintsugi.masks.sets import Masks
from kintsugi.storage.backends import Survey
from kintsugi.storage.parallel import map_tasks
from kintsugi.storage.storage import Storage

IMAGES, MASKS = "images", "masks"


@dataclass(frozen=True)
class _Pairs:
    photos: Storage
    masks: Masks
    target: Storage


def write_pairs(
    photos: Storage, ids: Sequence[str], masks: Masks, target: Storage
) -> dict[str, str]:
    """Write image and mask of every photograph, in Ray tasks where Ray is initialised.

    The image is what every method of an evaluation gets: the square in the middle at the
    set's size, black in the hole.

    Returns: id -> why, for photographs that cannot be used.

    Raises: StorageError: writing failed.
    """
    plan = plan_outputs(Survey(dict.fromkeys(ids, 0), {}), "png")
    rejects = {outcome.id: outcome.reason for outcome in plan.refused}
    work = _Pairs(photos, masks, target)
    for item, problem in zip(plan.items, map_tasks(_write_pair, work, plan.items), strict=True):
        if problem:
            rejects[item.id] = problem
    return rejects


def _write_pair(work: _Pairs, item: Item) -> str:
    try:
        pixels = decode_image(read_input(work.photos, item.id, "image")).pixels
    except InputError as error:
        return str(error)
    mask = work.masks.mask_of(item.id)
    truth = square_crop(pixels, work.masks.side_px)
    holed = np.where(mask[..., None], np.uint8(0), truth)
    work.target.write(f"{IMAGES}/{item.output}", encode_image(holed))
    work.target.write(f"{MASKS}/{item.output}", encode(mask))
    return ""

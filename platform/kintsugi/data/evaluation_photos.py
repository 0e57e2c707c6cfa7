"""The photographs of an evaluation: which, and cut to what every method gets; knows no masks."""

import numpy as np
from PIL import Image

from kintsugi.data.splits import is_held_out
from kintsugi.errors import ConfigError
from kintsugi.imaging.arrays import Pixels
from kintsugi.imaging.formats import PHOTO_SUFFIXES, is_photo
from kintsugi.storage.storage import Storage


def list_photos(uri: str, limit: int | None = None, *, held_out: float | None = None) -> list[str]:
    """Names of the photographs in a folder or bucket, at any depth, sorted; found by extension.

    They are the ids that `kintsugi shards` gives the same folder.

    Args:
        uri: Where they are.
        limit: How many, from the first on.
        held_out: Only those that training at this share kept out; None: all.

    Raises: ConfigError when there are none, or the share holds none out.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: at least 1 photograph, or no limit")
    if held_out is not None and not 0 < held_out < 1:
        raise ConfigError(f"held-out share {held_out}: more than 0 and below 1, as in training")
    storage = Storage(uri)
    names = [name for name in storage.list() if is_photo(name)]
    if not names:
        raise ConfigError(
            f"no photographs in {storage.uri}: it must be there, a folder of files in"
            f" {', '.join(PHOTO_SUFFIXES)}"
        )
    if held_out is not None:
        chosen = [name for name in names if is_held_out(name, held_out)]
        if not chosen:
            raise ConfigError(
                f"none of the {len(names)} photographs in {storage.uri} is held out at a share of"
                f" {held_out}: give the share that training kept out, or more photographs"
            )
        names = chosen
    return names[:limit]


def square_crop(pixels: Pixels, side_px: int) -> Pixels:
    """The largest square in the middle (uint8 H W 3), brought to the side by Lanczos."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    resized: Pixels = np.array(square.resize((side_px, side_px), Image.Resampling.LANCZOS))
    return resized

"""Folders of mask pictures, as users have them."""

from pathlib import Path

import numpy as np
from PIL import Image

from kintsugi.masks.generators import draw_mask


def write_masks(folder: Path, count: int = 5, side: int = 96) -> str:
    """So many masks of brush strokes in files of several kinds, sides and depths."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        hole = draw_mask("medium", side, side + 8 * number, np.random.default_rng(number))
        grey = Image.fromarray(hole.astype(np.uint8) * np.uint8(255))
        picture = grey.convert("1") if number % 2 else grey
        picture.save(folder / f"{number:03d}{('.png', '.tif')[number % 2]}")
    return str(folder)


def picture(hole: np.ndarray) -> Image.Image:
    return Image.fromarray(hole.astype(np.uint8) * np.uint8(255))

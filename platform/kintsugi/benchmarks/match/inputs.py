"""One real photograph -> what a match of any size starts from, as files; times nothing."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from torch import Tensor

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.data.sample_photos import open_photos
from kintsugi.defaults import SAMPLES
from kintsugi.errors import ConfigError
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.codec import ImageLimits, decode_image
from kintsugi.models.match.windows import candidate_windows, hole_cells, windows_touching
from kintsugi.models.networks.vgg import FEATURE_STRIDE, Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor, mask_to_tensor
from kintsugi.models.plan.tiles import encode_tiled
from kintsugi.storage.storage import Storage

# Of the sample photographs this one has texture all over.
SAMPLE = f"{SAMPLES}/china.jpg"
# A photograph is enlarged by at most this; beyond, it is continued by its mirror image,
# whose detail stays real.
MOST_ENLARGED = 2
# The hole's content is the photograph reduced by this: as blurry as a coarse prediction.
COARSE = 16
# Multiple of a side in pixels that the networks take without padding.
SIDE_STEP, SMALLEST_SIDE = 8, 64

FEATURES_NAME, IMAGE_NAME, MASK_NAME = "features.npy", "image.npy", "mask.npy"


@dataclass(frozen=True)
class MatchCase:
    """A square photograph with a square hole in its centre.

    Attributes:
        side_px: The side of the photograph in pixels, a multiple of 8, at least 64.
        hole_px: The side of the hole in pixels, a multiple of 4 smaller than the side.
    """

    side_px: int
    hole_px: int

    def __post_init__(self) -> None:
        if self.side_px % SIDE_STEP or self.side_px < SMALLEST_SIDE:
            raise ConfigError(
                f"size {self.side_px}: a multiple of {SIDE_STEP} px, at least {SMALLEST_SIDE}"
            )

    @property
    def cells(self) -> int:
        """Side of the feature map."""
        return self.side_px // FEATURE_STRIDE

    def mask(self) -> Mask:
        """True = hole; begins at a whole cell."""
        mask = np.zeros((self.side_px, self.side_px), np.bool_)
        start = (self.side_px - self.hole_px) // 2 // FEATURE_STRIDE * FEATURE_STRIDE
        mask[start : start + self.hole_px, start : start + self.hole_px] = True
        return mask

    def windows(self) -> tuple[Tensor, Tensor]:
        """Queries and candidates of the match, each h-2 w-2 bool."""
        hole = hole_cells(mask_to_tensor(self.mask()), self.cells, self.cells)[0, 0] > 0
        return windows_touching(hole), candidate_windows(hole, 0)


def read_photo(uri: str) -> Pixels:
    """Read one photograph, uint8 H W 3 RGB.

    Args:
        uri: Path or URI of a file, or ``samples/NAME`` for one that scikit-image or
            scikit-learn ships.

    Raises:
        StorageError: there is none at the URI.
        InputError: it cannot be decoded.
    """
    parent, _, name = uri.rpartition("/")
    with open_photos(parent or ".") as folder:
        return decode_image(Storage(folder).read(name), ImageLimits()).pixels


def enlarge(pixels: Pixels, side_px: int) -> tuple[Pixels, str]:
    """The square in a photograph's middle at any side.

    Returns: uint8 side side 3, and in words what was done to it.
    """
    own = min(pixels.shape[:2])
    if side_px <= own * MOST_ENLARGED:
        step = "reduced" if side_px <= own else "enlarged"
        return square_crop(pixels, side_px), f"{step} from {own} px"
    tile = square_crop(pixels, own * MOST_ENLARGED)
    before = (side_px - len(tile)) // 2
    after = side_px - len(tile) - before
    whole: Pixels = np.pad(tile, ((before, after), (before, after), (0, 0)), mode="symmetric")
    return whole, f"enlarged {MOST_ENLARGED} times from {own} px, then continued by mirroring"


def coarse_fill(pixels: Pixels, mask: Mask) -> Pixels:
    """The photograph with its hole as blurry as a coarse prediction: reduced and enlarged again."""
    height, width = mask.shape
    small = Image.fromarray(pixels).resize(
        (max(1, width // COARSE), max(1, height // COARSE)), Image.Resampling.BOX
    )
    blurry = np.asarray(small.resize((width, height), Image.Resampling.BICUBIC))
    filled: Pixels = np.where(mask[..., None], blurry, pixels)
    return filled


@torch.no_grad()
def write_features(folder: Path, encoder: Vgg19Relu3, photo: Pixels, case: MatchCase) -> str:
    """Write features (1 C h w, float32) and mask of a case; memory grows with the map only.

    Returns: in words what was done to the photograph.
    """
    pixels, done = enlarge(photo, case.side_px)
    mask = case.mask()
    features = encode_tiled(encoder, image_to_tensor(coarse_fill(pixels, mask)))
    write_array(folder / FEATURES_NAME, features.numpy())
    write_array(folder / MASK_NAME, mask)
    return done


def write_picture(folder: Path, photo: Pixels, case: MatchCase) -> str:
    """Write the photograph with a black hole, and the mask. Returns: as `write_features`."""
    pixels, done = enlarge(photo, case.side_px)
    mask = case.mask()
    write_array(folder / IMAGE_NAME, np.where(mask[..., None], np.uint8(0), pixels))
    write_array(folder / MASK_NAME, mask)
    return done


def write_array(path: Path, array: npt.NDArray[Any]) -> None:
    """Write an array for `read_array`."""
    np.save(path, array, allow_pickle=False)


def read_array(path: Path) -> npt.NDArray[Any]:
    """The array, in memory of this process: nothing of it is left to be read later."""
    array: npt.NDArray[Any] = np.load(path, allow_pickle=False)
    return array

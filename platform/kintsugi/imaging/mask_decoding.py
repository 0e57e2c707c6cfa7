"""A mask's file, or a photograph's transparency, to the hole it marks; knows no photograph.

How strongly each pixel is marked is a number of 0 to 255; a threshold makes the hole of it.
"""

import numpy as np
import numpy.typing as npt

from kintsugi.errors import InvalidInput
from kintsugi.imaging.arrays import Mask
from kintsugi.imaging.colour_modes import DecodedImage
from kintsugi.imaging.photo_options import MaskOptions

# A grey mask saved as colour JPEG comes back with channels a few steps apart.
_GREY_SPREAD = 8
# Threshold of a mask with hard edges: half marked.
HARD_THRESHOLD = 128
# Threshold of one with smooth edges, which hold some of the object that is to go: see the
# lab book.
SMOOTH_THRESHOLD = 16
# Marks of this strength are neither ground nor stroke. JPEG's ringing stays below and above.
_MIDDLE = (64, 191)
# An edge is smooth when at least this number of pixels of the middle go with each along it.
_SMOOTH_SHARE = 0.25


def marked_hole(decoded: DecodedImage, options: MaskOptions, name: str = "mask") -> Mask:
    """The hole that a mask marks, bool H W, True = hole; neither grown nor feathered.

    Raises: InvalidInput `{name}_not_gray`, `{name}_no_alpha`: the convention does not fit.
    """
    if options.mask_convention in ("alpha", "painted"):
        if decoded.alpha is None:
            raise _without_alpha(name)
        marks = decoded.alpha if options.mask_convention == "painted" else 255 - decoded.alpha
    else:
        marks = _marks_in_grey(decoded, options.mask_convention, name)
    return _thresholded(marks, options)


def hole_in_grey(grey: npt.NDArray[np.uint8], options: MaskOptions) -> Mask:
    """The hole that a picture marks which is grey all over (uint8 H W), True = hole."""
    return _thresholded(255 - grey if options.mask_convention == "black" else grey, options)


def hole_in_alpha(alpha: npt.NDArray[np.uint8], options: MaskOptions) -> Mask:
    """The hole that was erased into a photograph (its alpha, uint8 H W), True = hole."""
    return _thresholded(255 - alpha, options)


def _thresholded(marks: npt.NDArray[np.uint8], options: MaskOptions) -> Mask:
    if options.invert_mask:
        # Before the threshold: what is marked in part belongs to the hole either way.
        marks = 255 - marks
    threshold = options.mask_threshold
    if threshold == "auto":
        touched = options.mask_convention in ("alpha", "painted")
        # In a picture that is half transparent throughout, what is more transparent is hole.
        threshold = _above_ground(marks) if touched else _best(marks)
    hole: Mask = marks >= threshold
    if not hole.any() and marks.any():
        raise InvalidInput(
            f"the mask is empty: its strongest mark is {int(marks.max())} of 255, and hole begins"
            f" at {threshold}",
            code="mask_empty",
            hint="multiply a mask of 0 and 1 by 255, or choose a lower mask_threshold",
        )
    return hole


def _above_ground(marks: npt.NDArray[np.uint8]) -> int:
    """The threshold of what was touched: more than the least. Raises: InvalidInput `mask_empty`."""
    least = int(marks.min())
    if 0 < least == int(marks.max()) < 255:
        raise InvalidInput(
            f"the mask is empty: every pixel is marked alike, {least} of 255",
            code="mask_empty",
            hint="erase or paint the hole more than the rest, which must stay as it is",
        )
    # Where all is erased or painted, all of it is hole.
    return min(least + 1, 255)


def _best(marks: npt.NDArray[np.uint8]) -> int:
    """The threshold of a mask in grey, by how its edges are."""
    marked = marks >= HARD_THRESHOLD
    along = np.count_nonzero(marked[1:] != marked[:-1])
    along += np.count_nonzero(marked[:, 1:] != marked[:, :-1])
    middle = np.count_nonzero((marks >= _MIDDLE[0]) & (marks <= _MIDDLE[1]))
    is_smooth = along > 0 and middle > _SMOOTH_SHARE * along
    return SMOOTH_THRESHOLD if is_smooth else HARD_THRESHOLD


def _marks_in_grey(decoded: DecodedImage, convention: str, name: str) -> npt.NDArray[np.uint8]:
    red, green, blue = (decoded.pixels[..., channel] for channel in range(3))
    spread = np.maximum(np.maximum(red, green), blue) - np.minimum(np.minimum(red, green), blue)
    # The mean of three equal channels is exact in whole numbers.
    grey = ((red.astype(np.uint16) + green + blue) // 3).astype(np.uint8)
    marks = 255 - grey if convention == "black" else grey
    if decoded.alpha is not None:
        # What cannot be seen marks nothing.
        marks, spread = (_weighed(values, decoded.alpha) for values in (marks, spread))
    if (spread > _GREY_SPREAD).any():
        raise InvalidInput(
            f"the {name} is in colour",
            code=f"{name}_not_gray",
            hint="send a black and white image in which white is the hole; or choose"
            " mask_convention=painted for strokes on a transparent ground, alpha for a hole that"
            " was erased",
        )
    return marks


def _weighed(values: npt.NDArray[np.uint8], alpha: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    return ((values.astype(np.uint16) * alpha + 127) // 255).astype(np.uint8)


def _without_alpha(name: str) -> InvalidInput:
    return InvalidInput(
        f"the {name} has no alpha channel",
        code=f"{name}_no_alpha",
        hint="erase the hole to transparent or paint it on a transparent layer, or use"
        " mask_convention=white or black",
    )

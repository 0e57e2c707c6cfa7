"""The files of a request to pixels, and the answer to a file; knows no network."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from kintsugi.deploy.engine import Pixels
from kintsugi.deploy.http.request_kinds import InpaintForm, PreviewForm, SaveForm, StylizeForm
from kintsugi.deploy.options import AnswerOptions, FileOptions
from kintsugi.errors import InvalidInput
from kintsugi.imaging.codec import ImageLimits, decode_image, encode_image, sniff_format
from kintsugi.imaging.decode_cost import DecodeCost
from kintsugi.imaging.holed import open_holed
from kintsugi.imaging.photograph import Photograph, open_photograph, seen_style
from kintsugi.imaging.saving import save_photograph

AnyForm = InpaintForm | StylizeForm | PreviewForm | SaveForm
# Bytes a pixel at the peak, as docs/lab.md has them: (more than eight bits, transparency).
_BYTES_TO_FILL = {
    (False, False): 14,
    (False, True): 36,
    (True, False): 30,
    (True, True): 51,
}
_BYTES_A_PIXEL: dict[type, dict[tuple[bool, bool], int]] = {
    PreviewForm: {(False, False): 11, (False, True): 23, (True, False): 11, (True, True): 23},
    SaveForm: {(False, False): 14, (False, True): 43, (True, False): 36, (True, True): 65},
}
# No difference to the original is seen when the fill is compared with it.
_PREVIEW_QUALITY = 95


@dataclass(frozen=True)
class HoledPhoto:
    """A photograph with a hole.

    Attributes:
        image: As its answer is to be; its pixels are what is filled.
        mask: bool H W of the image's size, True = hole; neither empty nor full.
        original: As it was opened.
    """

    image: Photograph
    mask: npt.NDArray[np.bool_]
    original: Photograph


@dataclass(frozen=True)
class StylePair:
    """A photograph, as which the answer is written, and pixels (H2 W2 3) of a style."""

    content: Photograph
    style: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class EncodedAnswer:
    """The bytes of the answer, their format, and what of the request's files they do not hold."""

    body: bytes
    notes: tuple[str, ...]
    format: str


def files_of(form: AnyForm) -> dict[str, bytes]:
    """A form's files, by the names of their fields."""
    if isinstance(form, StylizeForm):
        return {"content": form.content, "style": form.style}
    files = {"image": form.image}
    if isinstance(form, InpaintForm) and form.mask is not None:
        files["mask"] = form.mask
    if isinstance(form, SaveForm):
        files["filled"] = form.filled
    return files


def memory_megapixels(form: AnyForm, costs: Sequence[DecodeCost]) -> float:
    """The most memory that a form's files take at one time, in megapixels of an opaque photograph
    of eight bits that is filled, which takes 14 bytes a pixel.

    Args:
        form: What is done with them.
        costs: What the header of each file says.
    """
    of_depth = _BYTES_A_PIXEL.get(type(form), _BYTES_TO_FILL)
    deep, clear = any(cost.bits > 8 for cost in costs), any(cost.has_alpha for cost in costs)
    most = max(cost.pixels for cost in costs) / 1e6
    return most * of_depth[deep, clear] / _BYTES_TO_FILL[False, False]


def answer_format(options: FileOptions, photograph: bytes) -> str:
    """The format of an answer, before anything is decoded."""
    if options.format != "same":
        return options.format
    # What is of no known format is refused when it is decoded.
    return sniff_format(photograph) or "png"


def decode_photo(form: InpaintForm, limits: ImageLimits) -> HoledPhoto:
    """Decode image and mask; in the alpha convention the hole is opaque in the answer.

    Raises: InputError as `kintsugi.imaging.holed.open_holed`.
    """
    holed = open_holed(form.image, form.mask, form.options.mask, limits)
    return HoledPhoto(holed.photo, holed.hole, holed.original)


def decode_pair(form: StylizeForm, limits: ImageLimits, *, max_content_pixels: int) -> StylePair:
    """Decode content and style.

    Raises: InputError as `decode_image`, by the field's name, and InvalidInput
    `content_too_large` for more than ``max_content_pixels``.
    """
    content = open_photograph(form.content, limits, name="content")
    height, width = content.seen.shape[:2]
    if height * width > max_content_pixels:
        raise InvalidInput(
            f"the content is {width}x{height} = {height * width} px, the limit of a style"
            f" transfer is {max_content_pixels}",
            code="content_too_large",
            hint="send a smaller content",
        )
    style, notes = seen_style(decode_image(form.style, limits, name="style"))
    return StylePair(replace(content, notes=(*content.notes, *notes)), style)


def make_preview(form: PreviewForm, limits: ImageLimits) -> tuple[EncodedAnswer, tuple[int, int]]:
    """A photograph as every browser shows it, JPEG, or PNG with alpha; and its height and width.

    Raises: InputError as `decode_image`.
    """
    image = decode_image(form.image, limits)
    format = "jpeg" if image.alpha is None else "png"
    body = encode_image(
        image.pixels,
        format,
        quality=_PREVIEW_QUALITY,
        alpha=image.alpha,
        icc_profile=image.icc_profile,
    )
    height, width = image.pixels.shape[:2]
    return EncodedAnswer(body, image.notes, format), (height, width)


def save_edited(form: SaveForm, limits: ImageLimits) -> tuple[EncodedAnswer, tuple[int, int]]:
    """The file that ``form.image`` is with the pixels of ``form.filled``; its height and width.

    Raises: InputError as `open_photograph`, by the field's name, and InvalidInput
    `filled_size_mismatch`.
    """
    original = photo = open_photograph(form.image, limits)
    edited = open_photograph(form.filled, limits, name="filled")
    filled = edited.seen
    height, width = photo.seen.shape[:2]
    if filled.shape != photo.seen.shape:
        raise InvalidInput(
            f"filled is {filled.shape[1]}x{filled.shape[0]} px but the image is {width}x{height}",
            code="filled_size_mismatch",
            hint="send both at the same size; a photograph's is taken as it is displayed",
        )
    if photo.alpha is not None and edited.alpha is not None:
        # What was erased and is filled can be seen; what is less opaque than it was is no fill.
        photo = photo.opaque_where((edited.alpha == 255) & (photo.alpha < 255))
    saved = save_photograph(
        photo, _in_depth_of(photo, filled), form.options.output, original=original
    )
    return EncodedAnswer(saved.body, saved.notes, saved.format), (height, width)


def _in_depth_of(photo: Photograph, filled: Pixels) -> Pixels:
    """The same colours in as many bits as the photograph has."""
    if filled.dtype == photo.pixels.dtype:
        return filled
    if filled.dtype == np.uint16:
        return (filled >> 8).astype(np.uint8)
    # As a deep photograph is shown with 8 bits: what is shown alike was not changed.
    same = (photo.seen >> 8) == filled
    return np.where(same, photo.seen, filled.astype(np.uint16) * 257)


def encode_answer(
    image: Photograph,
    pixels: Pixels,
    options: AnswerOptions,
    *,
    original: Photograph | None = None,
) -> EncodedAnswer:
    """Encode the answer's pixels (H W 3) as the photograph was, or as is asked for."""
    saved = save_photograph(image, pixels, options.output, original=original)
    return EncodedAnswer(saved.body, saved.notes, saved.format)

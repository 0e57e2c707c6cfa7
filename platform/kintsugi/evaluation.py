"""Methods x mask sets x photographs -> figures; knows the metrics, not how they are printed.

Everything but the times is decided by the photographs, the seed and the weights.
"""

import hashlib
import re
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from PIL import Image

from kintsugi.errors import ConfigError, InputError
from kintsugi.images import ImageLimits, decode_image
from kintsugi.masks import check_kind, draw_mask, hole_share
from kintsugi.methods import Mask, Method, Pixels
from kintsugi.metrics import VggDistance, measure
from kintsugi.shards import PHOTO_SUFFIXES
from kintsugi.storage import Storage
from kintsugi.tasks import map_tasks

_NAME = re.compile(r"(.+)-([1-9][0-9]*)")
# The networks take every size from 64 px on; multiples of 8 need no padding.
_SIDE_STEP_PX, _SMALLEST_SIDE_PX = 8, 64


@dataclass(frozen=True)
class MaskSet:
    """Square photographs of one size with one kind of seeded hole.

    Attributes:
        name: As the user wrote it, such as ``center-96-256`` or ``thick-512``.
        kind: As `kintsugi.masks.draw_mask` knows it.
        side_px: Of photograph and mask.
    """

    name: str
    kind: str
    side_px: int


@dataclass(frozen=True)
class Comparison:
    """What every photograph goes through.

    Attributes:
        methods: By name, in the order of the report.
        mask_sets: In the order of the report.
        seed: Decides every mask.
        vgg: None leaves the VGG distance out.
    """

    methods: Mapping[str, Method]
    mask_sets: Sequence[MaskSet]
    seed: int = 0
    vgg: VggDistance | None = None


@dataclass(frozen=True)
class Photo:
    """One photograph's bytes, and whether its pictures are wanted."""

    id: str
    data: bytes
    keep_pictures: bool = False


@dataclass(frozen=True)
class Filled:
    """One photograph under one mask set.

    Attributes:
        hole_share: 0-1.
        figures: method -> metric -> value.
        seconds: method -> time of its fill.
        pictures: For the grid, by title: input, mask, every method, truth; maybe empty.
    """

    mask_set: str
    hole_share: float
    figures: dict[str, dict[str, float]]
    seconds: dict[str, float]
    pictures: dict[str, Pixels] = field(default_factory=dict)


@dataclass(frozen=True)
class Evaluated:
    """One photograph under every mask set; ``reject`` says why there is nothing."""

    id: str
    filled: tuple[Filled, ...] = ()
    reject: str = ""


def parse_mask_set(name: str) -> MaskSet:
    """``<kind>-<side>``: ``center-96-256``, ``random-256``, ``thick-512``, ``border-256``.

    ``random`` is the paper's rectangle of 1/8 to 1/2 of the side; ``centre`` is ``center``.

    Raises: ConfigError naming what does not fit.
    """
    match = _NAME.fullmatch(name)
    if match is None:
        raise ConfigError(
            f"mask set {name!r} names no size: write <kind>-<side>, such as center-96-256"
        )
    kind, side = match[1], int(match[2])
    if side % _SIDE_STEP_PX or side < _SMALLEST_SIDE_PX:
        raise ConfigError(
            f"mask set {name!r}: side {side} must be a multiple of {_SIDE_STEP_PX} px, at least"
            f" {_SMALLEST_SIDE_PX}"
        )
    kind = "rectangle" if kind == "random" else re.sub("^centre", "center", kind)
    check_kind(kind)
    # Now, and not at the first photograph: a center square may be too large.
    draw_mask(kind, side, side, np.random.default_rng(0))
    return MaskSet(name, kind, side)


def evaluate(photos: Iterable[Photo], comparison: Comparison) -> Iterator[Evaluated]:
    """Evaluate every photograph, in Ray tasks where Ray is initialised, else here."""
    return map_tasks(evaluate_photo, comparison, photos)


def evaluate_photo(comparison: Comparison, photo: Photo) -> Evaluated:
    """Fill and measure one photograph; one that cannot be decoded is a reject."""
    try:
        pixels = decode_image(photo.data, ImageLimits()).pixels
    except InputError as error:
        return Evaluated(photo.id, reject=str(error))
    filled = [
        fill_and_measure(comparison, mask_set, pixels, photo) for mask_set in comparison.mask_sets
    ]
    return Evaluated(photo.id, tuple(filled))


def fill_and_measure(
    comparison: Comparison, mask_set: MaskSet, pixels: Pixels, photo: Photo
) -> Filled:
    """One photograph under one mask set, by every method."""
    truth = square_crop(pixels, mask_set.side_px)
    mask = mask_of(mask_set, photo.id, comparison.seed)
    # A method that looks into the hole must not find the truth there.
    holed = np.where(mask[..., None], np.uint8(0), truth)
    figures, seconds, answers = {}, {}, {}
    for name, method in comparison.methods.items():
        started = time.perf_counter()
        answers[name] = method(holed, mask)
        seconds[name] = time.perf_counter() - started
        figures[name] = measure(answers[name], truth, mask, comparison.vgg)
    pictures = {"input": holed, "mask": _as_picture(mask), **answers, "truth": truth}
    return Filled(
        mask_set.name,
        hole_share(mask),
        figures,
        seconds,
        pictures if photo.keep_pictures else {},
    )


def mask_of(mask_set: MaskSet, photo_id: str, seed: int) -> Mask:
    """The hole of a photograph: the same for every method, machine and order."""
    key = f"{seed}/{mask_set.kind}/{mask_set.side_px}/{photo_id}".encode()
    rng = np.random.default_rng(int.from_bytes(hashlib.sha256(key).digest()[:8], "big"))
    return draw_mask(mask_set.kind, mask_set.side_px, mask_set.side_px, rng)


def square_crop(pixels: Pixels, side_px: int) -> Pixels:
    """The largest square in the middle (uint8 H W 3), brought to the side by Lanczos."""
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    square = Image.fromarray(pixels[top : top + side, left : left + side])
    resized: Pixels = np.array(square.resize((side_px, side_px), Image.Resampling.LANCZOS))
    return resized


def list_photos(uri: str, limit: int | None = None) -> list[str]:
    """Names of the photographs in a folder or bucket, at any depth, sorted; found by extension.

    Args:
        uri: Where they are.
        limit: Only the first so many.

    Raises: ConfigError when there are none.
    """
    if limit is not None and limit < 1:
        raise ConfigError(f"limit {limit}: at least 1 photograph, or no limit")
    storage = Storage(uri)
    names = [name for name in storage.list() if name.lower().endswith(PHOTO_SUFFIXES)]
    if not names:
        raise ConfigError(
            f"no photographs in {storage.uri}: it must hold files that end in"
            f" {', '.join(PHOTO_SUFFIXES)}"
        )
    return names[:limit]


def read_photos(uri: str, names: Iterable[str], *, pictures: int = 0) -> Iterator[Photo]:
    """Read photographs as they are needed; the first ``pictures`` keep their pictures."""
    storage = Storage(uri)
    for index, name in enumerate(names):
        yield Photo(name, storage.read(name), keep_pictures=index < pictures)


def _as_picture(mask: Mask) -> Pixels:
    white: npt.NDArray[np.uint8] = np.where(mask[..., None], np.uint8(255), np.uint8(0))
    return np.repeat(white, 3, axis=2)

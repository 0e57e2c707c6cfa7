"""Methods x mask sets x photographs -> figures; knows the metrics, not how they are printed.

Everything but the times is decided by the photographs, the masks and the methods. Where Ray is
initialised it is a Ray Data job: actors read the photographs themselves, so that no process
sees them all, and hold the networks for as long as they live, each on a GPU where the cluster
has some. `kintsugi.storage.parallel.map_tasks` would bring the networks to every photograph again.
"""

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar

import numpy as np
import numpy.typing as npt
import torch
from pydantic import ConfigDict, TypeAdapter

from kintsugi.data.evaluation_photos import square_crop
from kintsugi.errors import InputError, KintsugiError
from kintsugi.evaluation.entrants import Case, Entrant
from kintsugi.evaluation.fill_cache import FillCache, TimedFill
from kintsugi.evaluation.learned_metrics import LearnedMetrics
from kintsugi.evaluation.metrics import VggDistance, compose, measure
from kintsugi.evaluation.realism.realism import HoleSampler, hole_figures
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.codec import ImageLimits, decode_image, encode_image
from kintsugi.inference.folder import read_input
from kintsugi.masks.generators import hole_share
from kintsugi.masks.sets import Masks
from kintsugi.storage.parallel import ray_is_running
from kintsugi.storage.storage import Storage

# Photographs that an actor takes at a time: few enough that progress is seen.
_PHOTOS_PER_BLOCK = 4
# How Ray Data begins what it adds to the message of a worker's error: advice on its settings.
_RETRY_NOTE = "\nFailed to apply UDF"


@dataclass(frozen=True)
class Comparison:
    """What every photograph goes through.

    Attributes:
        entrants: By name, in the order of the report.
        mask_sets: In the order of the report.
        vgg: None leaves the VGG distance out.
        cache: None keeps no fills.
        learned: Metrics that need weights of others; None leaves them out.
        sampler: Draws the cells by which realism is judged; None leaves that out.
    """

    entrants: Mapping[str, Entrant]
    mask_sets: Sequence[Masks]
    vgg: VggDistance | None = None
    cache: FillCache | None = None
    learned: LearnedMetrics | None = None
    sampler: HoleSampler | None = None

    def to(self, device: torch.device | str) -> None:
        """Move everything that computes."""
        for part in (*self.entrants.values(), self.vgg, self.learned, self.sampler):
            if part is not None:
                part.to(device)


@dataclass(frozen=True)
class EvaluationPhoto:
    """One photograph: its bytes or where they are, and whether its pictures are wanted."""

    id: str
    source: bytes | Storage
    keep_pictures: bool = False

    def read(self) -> bytes:
        """Raises: InvalidInput: this file cannot be read."""
        if isinstance(self.source, Storage):
            return read_input(self.source, self.id, "image")
        return self.source


@dataclass(frozen=True)
class CaseResult:
    """One photograph under one mask set by one method.

    Attributes:
        masks: Name of the mask set.
        method: Name of the entrant.
        hole_share: 0-1.
        figures: metric -> value; empty when ``problem`` says why there is no fill.
        seconds: Time of the fill; None when another program made it.
        kept: The fill and its time are of an earlier run.
        inception: float32 features for the Frechet distance; empty without weights.
        cells: The cells of the fill, as `kintsugi.evaluation.realism.realism.HoleSampler` draws
            them.
    """

    masks: str
    method: str
    hole_share: float
    figures: dict[str, float]
    seconds: float | None = None
    kept: bool = False
    problem: str = ""
    inception: bytes = b""
    cells: dict[str, bytes] = field(default_factory=dict)


@dataclass(frozen=True)
class PhotoResult:
    """One photograph under every mask set by every method.

    Attributes:
        id: The id of the photograph.
        filled: What came of it; empty when ``reject`` says why it cannot be used.
        pictures: For the grid: mask set -> title (input, mask, every method, truth) -> PNG.
        inception: Inception features of the truth, by mask set; as in `CaseResult`.
        cells: The cells of the truth, by mask set: both draws of `HoleSampler`.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(
        ser_json_bytes="base64", val_json_bytes="base64"
    )

    id: str
    filled: tuple[CaseResult, ...] = ()
    reject: str = ""
    pictures: dict[str, dict[str, bytes]] = field(default_factory=dict)
    inception: dict[str, bytes] = field(default_factory=dict)
    cells: dict[str, tuple[dict[str, bytes], ...]] = field(default_factory=dict)


def evaluate(photos: Iterable[EvaluationPhoto], comparison: Comparison) -> Iterator[PhotoResult]:
    """Evaluate every photograph, in order: a Ray Data job where Ray is initialised, else here."""
    if ray_is_running():
        return _evaluate_in_ray(list(photos), comparison)
    comparison.to(_device())
    return (evaluate_photo(comparison, photo) for photo in photos)


def evaluate_photo(comparison: Comparison, photo: EvaluationPhoto) -> PhotoResult:
    """Fill and measure one photograph; one that cannot be read or decoded is a reject."""
    try:
        pixels = decode_image(photo.read(), ImageLimits()).pixels
        masks = [(masks, masks.mask_of(photo.id)) for masks in comparison.mask_sets]
    except InputError as error:
        return PhotoResult(photo.id, reject=str(error))
    filled: list[CaseResult] = []
    pictures: dict[str, dict[str, bytes]] = {}
    inception: dict[str, bytes] = {}
    cells: dict[str, tuple[dict[str, bytes], ...]] = {}
    for mask_set, mask in masks:
        truth = square_crop(pixels, mask_set.side_px)
        # A method that looks into the hole must not find the truth there.
        holed = np.where(mask[..., None], np.uint8(0), truth)
        case = Case(photo.id, mask_set.name, holed, mask)
        answers: dict[str, Pixels] = {}
        for name in comparison.entrants:
            row, answer = _fill_and_measure(comparison, name, case, truth)
            filled.append(row)
            if answer is not None:
                answers[name] = answer
        if comparison.learned is not None:
            inception[mask_set.name] = comparison.learned.features(truth)
        if comparison.sampler is not None:
            cells[mask_set.name] = comparison.sampler.original(truth, mask, _key(case))
        if photo.keep_pictures:
            shown = {"input": holed, "mask": _as_picture(mask), **answers, "truth": truth}
            pictures[mask_set.name] = {name: encode_image(each) for name, each in shown.items()}
    return PhotoResult(photo.id, tuple(filled), "", pictures, inception, cells)


def _fill_and_measure(
    comparison: Comparison, name: str, case: Case, truth: Pixels
) -> tuple[CaseResult, Pixels | None]:
    share = hole_share(case.mask)
    try:
        fill = fill_case(comparison.entrants[name], case, comparison.cache)
    except InputError as error:
        return CaseResult(case.masks, name, share, {}, problem=str(error)), None
    figures = hole_figures(truth, fill.pixels, case.mask)
    figures |= measure(fill.pixels, truth, case.mask, comparison.vgg)
    cells: dict[str, bytes] = {}
    if comparison.sampler is not None:
        cells = comparison.sampler.fill(truth, fill.pixels, case.mask, _key(case))
    inception = b""
    if comparison.learned is not None:
        composed = compose(fill.pixels, truth, case.mask)
        figures |= comparison.learned.measure(composed, truth)
        inception = comparison.learned.features(composed)
    timed = comparison.entrants[name].is_timed
    row = CaseResult(
        case.masks,
        name,
        share,
        figures,
        seconds=fill.seconds if timed else None,
        kept=fill.kept,
        inception=inception,
        cells=cells,
    )
    return row, fill.pixels


def _key(case: Case) -> str:
    """An original and all fills of it are sampled at the same places."""
    return f"{case.masks}/{case.photo_id}"


def fill_case(entrant: Entrant, case: Case, cache: FillCache | None) -> TimedFill:
    """A fill, kept or made and then kept. Raises: InputError: this one has none."""
    # Another kind of device, or number of threads, rounds in another way and takes another time.
    identity = f"{entrant.identity} on {_device_name()}" if entrant.identity else ""
    if cache is not None and identity:
        found = cache.find(case, identity)
        if found is not None:
            return found
    started = time.perf_counter()
    pixels = entrant.fill(case)
    fill = TimedFill(pixels, time.perf_counter() - started)
    if cache is not None and identity:
        cache.keep(case, identity, fill)
    return fill


def _device() -> str:
    return "cuda" if torch.cuda.is_available() else "cpu"


def _device_name() -> str:
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"cpu, threads: {torch.get_num_threads()}"


def _evaluate_in_ray(
    photos: Sequence[EvaluationPhoto], comparison: Comparison
) -> Iterator[PhotoResult]:
    import logging

    import ray
    import ray.data

    context = ray.data.DataContext.get_current()
    context.execution_options.preserve_order = True
    context.enable_progress_bars = False
    # Not wrapped in Ray Data's own, which hides what went wrong.
    context.raise_original_map_exception = True
    # A job's log is for its own lines; what Ray Data would log of an error is raised as well.
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)
    resources = ray.cluster_resources()
    has_networks = any(entrant.has_networks for entrant in comparison.entrants.values())
    gpus = int(resources.get("GPU", 0)) if has_networks else 0
    slots = gpus or max(1, int(resources.get("CPU", 1)))
    blocks = -(-len(photos) // _PHOTOS_PER_BLOCK) if len(photos) > slots else len(photos)
    results = ray.data.range(len(photos), override_num_blocks=blocks).map_batches(
        _Worker,
        fn_constructor_args=(ray.put(photos), ray.put(comparison)),
        batch_size=1,
        # As many as find room; where nodes are added on demand, on those as well.
        compute=ray.data.ActorPoolStrategy(min_size=1, max_size=blocks),
        num_cpus=1,
        num_gpus=1 if gpus else 0,
    )
    adapter = TypeAdapter(PhotoResult)
    try:
        for row in results.iter_rows():
            yield adapter.validate_json(row["evaluated"])
    except ray.exceptions.RayTaskError as error:
        # What a user can mend is raised without the trace through Ray.
        cause = error.cause
        if isinstance(cause, KintsugiError):
            cause.args = (str(cause).partition(_RETRY_NOTE)[0], *cause.args[1:])
            raise cause from error
        raise


class _Worker:
    """An actor: holds the networks and evaluates one photograph after another."""

    def __init__(self, photos: Any, comparison: Any) -> None:
        import ray

        self.photos: Sequence[EvaluationPhoto] = ray.get(photos)
        self.comparison: Comparison = ray.get(comparison)
        self.comparison.to(_device())
        self.adapter = TypeAdapter(PhotoResult)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Any]:
        results = [evaluate_photo(self.comparison, self.photos[index]) for index in batch["id"]]
        return {"evaluated": [self.adapter.dump_json(each).decode() for each in results]}


def _as_picture(mask: Mask) -> Pixels:
    white: npt.NDArray[np.uint8] = np.where(mask[..., None], np.uint8(255), np.uint8(0))
    return np.repeat(white, 3, axis=2)

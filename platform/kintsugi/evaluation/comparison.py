"""From names of methods, mask sets and weights to figures: what kintsugi evaluate asks for."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from kintsugi.data.evaluation_photos import list_photos
from kintsugi.data.sample_photos import open_photos
from kintsugi.defaults import SAMPLES
from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.evaluation.entrants import (
    Entrant,
    Results,
    open_context_encoder,
    open_our_release,
)
from kintsugi.evaluation.evaluate import Comparison, EvaluationPhoto, PhotoResult, evaluate
from kintsugi.evaluation.fill_cache import FillCache
from kintsugi.evaluation.learned_metrics import open_learned_metrics
from kintsugi.evaluation.method_names import CONTEXT_ENCODER, OUR_COARSE, OURS, specs_of
from kintsugi.evaluation.metrics import VggDistance
from kintsugi.evaluation.realism.realism import HoleSampler
from kintsugi.evaluation.report import draw_grid, format_markdown
from kintsugi.evaluation.request import (
    EvaluationRequest,
    open_encoder_of,
    open_entrant,
    open_mask_sets,
    release_of,
)
from kintsugi.evaluation.statistics import case_rows, summarise, summarise_times
from kintsugi.inference.folder import stem_of
from kintsugi.storage.storage import Storage

# Photographs in the picture grid: always the first ones.
GRID_PHOTOS = 4
# A line of progress at most so often, and for what is amiss.
_PROGRESS_SECONDS = 2.0

# Called after each photograph with its result, the number of them done and of all.
Report = Callable[[PhotoResult, int, int], None]


@dataclass(frozen=True)
class Provenance:
    """What the figures are of.

    Attributes:
        seed: As `EvaluationRequest` has it.
        releases: method -> URI, name and digest; trained networks that are no release, too.
        identities: method -> what decides its answers.
        vgg_encoder: Whose features realism and the VGG distance compare; "" without one.
        weights: Metric of learnt weights -> their file's name and SHA-256.
    """

    seed: int
    releases: dict[str, dict[str, str]]
    identities: dict[str, str]
    vgg_encoder: str
    weights: dict[str, dict[str, str]] = field(default_factory=dict)


def open_comparison(request: EvaluationRequest) -> tuple[Comparison, Provenance]:
    """Open what the names stand for.

    Raises:
        ConfigError: a name is not known, or given twice, or a method needs what is not named.
        StorageError: a release, a written mask set or the encoder cannot be read.
    """
    mask_sets = open_mask_sets(request.masks, request.seed)
    specs = specs_of(request.methods)
    releases = {label: release_of(spec, request) for label, spec in specs.items()}
    opened = {
        label: open_our_release(uri, coarse=specs[label].startswith(OUR_COARSE))
        for label, uri in releases.items()
        if uri is not None
    }
    ours = next((opened[label] for label, spec in specs.items() if spec == OURS), None)
    encoder, name_of_encoder = open_encoder_of(request, ours)
    drawing = {
        label: open_context_encoder(spec.removeprefix(CONTEXT_ENCODER))
        for label, spec in specs.items()
        if spec.startswith(CONTEXT_ENCODER)
    }
    known: dict[str, Entrant] = {label: each.entrant for label, each in opened.items()}
    known |= {label: entrant for label, (entrant, _) in drawing.items()}
    names = [each.name for each in mask_sets]
    entrants = {
        label: known[label] if label in known else open_entrant(spec, encoder, request, names)
        for label, spec in specs.items()
    }
    learned = open_learned_metrics(request.lpips_weights, request.inception_weights)
    provenance = Provenance(
        seed=request.seed,
        releases={
            label: {"uri": str(releases[label]), "name": each.name, "digest": each.digest}
            for label, each in opened.items()
        }
        | {label: description for label, (_, description) in drawing.items()},
        identities={label: entrant.identity for label, entrant in entrants.items()},
        vgg_encoder=name_of_encoder,
        weights=learned.weights if learned is not None else {},
    )
    comparison = Comparison(
        entrants=entrants,
        mask_sets=mask_sets,
        vgg=VggDistance(encoder) if encoder is not None else None,
        cache=FillCache(Storage(request.cache)) if request.cache is not None else None,
        learned=learned,
        sampler=HoleSampler(encoder, request.seed) if encoder is not None else None,
    )
    return comparison, provenance


def compare(
    photos: str,
    comparison: Comparison,
    provenance: Provenance,
    *,
    limit: int | None = None,
    held_out: float | None = None,
    report: Report | None = None,
) -> tuple[list[PhotoResult], dict[str, Any]]:
    """Evaluate photographs; the figures are the same in every run apart from ``times``.

    Args:
        photos: URI, or "samples" for those that scikit-image and scikit-learn ship.
        comparison: What each goes through.
        provenance: What is written with the figures.
        limit: How many photographs, the first by name.
        held_out: Only photographs that training at this share kept out.
        report: Called with each photograph.

    Raises:
        ConfigError: there are no photographs, or a folder of results could hold one picture for
            two of them.
        InvalidInput: none of them can be used.
    """
    results: list[PhotoResult] = []
    with open_photos(photos) as uri:
        names = list_photos(uri, limit, held_out=held_out)
        if any(isinstance(entrant, Results) for entrant in comparison.entrants.values()):
            check_stems(names)
        for result in evaluate(_photos(uri, names, inline=photos == SAMPLES), comparison):
            results.append(result)
            if report is not None:
                report(result, len(results), len(names))
    rejects = {result.id: result.reject for result in results if result.reject}
    if len(rejects) == len(results):
        raise InvalidInput(
            f"none of the {len(results)} photographs can be used; the first:"
            f" {results[0].id}: {results[0].reject}",
            code="no_usable_photographs",
        )
    return results, {
        "photos": photos,
        "photographs": len(results) - len(rejects),
        "held_out_share": held_out,
        "rejects": rejects,
        "seed": provenance.seed,
        "masks": {each.name: each.about() for each in comparison.mask_sets},
        "methods": provenance.identities,
        "releases": provenance.releases,
        "vgg_encoder": provenance.vgg_encoder,
        "learned_weights": provenance.weights,
        "figures": summarise(results, seed=provenance.seed),
        "times": summarise_times(results),
    }


def is_complete(figures: dict[str, Any]) -> bool:
    """Whether every method has a fill for every photograph."""
    return not figures["rejects"] and not any("problems" in row for row in figures["figures"])


def write_report(uri: str, results: Sequence[PhotoResult], figures: dict[str, Any]) -> None:
    """Write cases.jsonl, grid.png, results.md and, last, results.json; say where they are."""
    output = Storage(uri)
    cases = "".join(json.dumps(row) + "\n" for row in case_rows(results))
    output.write("cases.jsonl", cases.encode())
    output.write("grid.png", draw_grid(results))
    output.write("results.md", format_markdown(figures).encode())
    output.write("results.json", (json.dumps(figures, indent=1) + "\n").encode())
    print(f"wrote {output.uri}/results.json, results.md, cases.jsonl, grid.png")


class ProgressLines:
    """Lines for a log: what is amiss at once, and now and then how far it is."""

    def __init__(self) -> None:
        self._shown = -_PROGRESS_SECONDS

    def __call__(self, result: PhotoResult, done: int, total: int) -> None:
        problems = {f"{fill.method}: {fill.problem}" for fill in result.filled if fill.problem}
        for why in sorted(problems | ({f"rejected: {result.reject}"} if result.reject else set())):
            print(f"{result.id}: {why}", flush=True)
        now = time.monotonic()
        if now - self._shown >= _PROGRESS_SECONDS or done == total:
            self._shown = now
            print(f"{done} of {total}: {result.id}", flush=True)


def check_stems(names: Sequence[str]) -> None:
    """Results are found by stem. Raises: ConfigError where two photographs have the same."""
    by_stem: dict[str, str] = {}
    for name in names:
        other = by_stem.setdefault(stem_of(name), name)
        if other != name:
            raise ConfigError(
                f"photographs {other} and {name} would have one and the same picture in a folder"
                " of results: rename one of them, or leave the folder out"
            )


def _photos(uri: str, names: Sequence[str], *, inline: bool) -> Iterator[EvaluationPhoto]:
    """The first few keep their pictures. ``inline``: only this machine can read them."""
    storage = Storage(uri)
    for index, name in enumerate(names):
        source = storage.read(name) if inline else storage
        yield EvaluationPhoto(name, source, keep_pictures=index < GRID_PHOTOS)

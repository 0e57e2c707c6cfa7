"""From names of methods, mask sets and weights to figures: what jobs/evaluate.py asks for."""

import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kintsugi.defaults import DEFAULT_RELEASE
from kintsugi.entrants import (
    FOLDER,
    OURS,
    PATCH_SYNTHESIS,
    RELEASE,
    Entrant,
    OpenedRelease,
    open_classical,
    open_our_release,
    open_patch_synthesis,
    open_results,
    split_label,
)
from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.evaluation import Comparison, Evaluated, Photo, evaluate
from kintsugi.evaluation_photos import list_photos
from kintsugi.figures import draw_grid, format_markdown
from kintsugi.fill_cache import FillCache
from kintsugi.learned_metrics import open_learned_metrics
from kintsugi.mask_sets import Masks, parse_mask_set
from kintsugi.mask_shards import open_mask_set
from kintsugi.methods import CLASSICAL
from kintsugi.metrics import VggDistance
from kintsugi.photos import SAMPLES, open_photos
from kintsugi.runs import open_encoder
from kintsugi.storage import Storage
from kintsugi.summary import case_rows, summarise, summarise_times
from models.vgg import Vgg19Relu3

# Photographs in the picture grid: always the first ones.
GRID_PHOTOS = 4
# A line of progress at most so often, and for what is amiss.
_PROGRESS_SECONDS = 2.0

# Called after each photograph with its result, the number of them done and of all.
Report = Callable[[Evaluated, int, int], None]


@dataclass(frozen=True)
class Wanted:
    """What is compared, as the command line says it.

    Attributes:
        methods: As `kintsugi.entrants` lists them.
        masks: Names of mask sets, or URIs of written ones.
        release: What ``ours`` is; None is DEFAULT_RELEASE where it is asked for.
        encoder: Of the VGG distance and of neural patch synthesis, as a configuration names
            it; None is the release's, and without a release there is neither.
        seed: Decides every mask, every draw of a method, the bootstrap, and the weights of
            the encoder "random".
        cache: URI of the fills that are kept; None keeps none.
        lpips_weights, inception_weights: As `kintsugi.learned_metrics` takes them.
    """

    methods: Sequence[str]
    masks: Sequence[str]
    release: str | None = None
    encoder: str | None = None
    seed: int = 0
    cache: str | None = None
    lpips_weights: Path | None = None
    inception_weights: Path | None = None


@dataclass(frozen=True)
class About:
    """What the figures are of.

    Attributes:
        seed: As `Wanted` has it.
        releases: method -> URI, name and digest.
        identities: method -> what decides its answers.
        vgg_encoder: Whose features the VGG distance compares; "" where it is not computed.
    """

    seed: int
    releases: dict[str, dict[str, str]]
    identities: dict[str, str]
    vgg_encoder: str


def open_comparison(wanted: Wanted) -> tuple[Comparison, About]:
    """Open what the names stand for.

    Raises:
        ConfigError: a name is not known, or given twice, or a method needs what is not named.
        StorageError: a release, a written mask set or the encoder cannot be read.
    """
    mask_sets = _open_mask_sets(wanted.masks, wanted.seed)
    specs = _specs(wanted.methods)
    releases = {label: _release_of(spec, wanted) for label, spec in specs.items()}
    opened = {label: open_our_release(uri) for label, uri in releases.items() if uri is not None}
    ours = next((opened[label] for label, spec in specs.items() if spec == OURS), None)
    encoder, name_of_encoder = _open_encoder(wanted, ours)
    entrants: dict[str, Entrant] = {
        label: opened[label].entrant if label in opened else _open_entrant(spec, encoder, wanted)
        for label, spec in specs.items()
    }
    about = About(
        seed=wanted.seed,
        releases={
            label: {"uri": str(releases[label]), "name": each.name, "digest": each.digest}
            for label, each in opened.items()
        },
        identities={label: entrant.identity for label, entrant in entrants.items()},
        vgg_encoder=name_of_encoder,
    )
    comparison = Comparison(
        entrants=entrants,
        mask_sets=mask_sets,
        vgg=VggDistance(encoder) if encoder is not None else None,
        cache=FillCache(Storage(wanted.cache)) if wanted.cache is not None else None,
        learned=open_learned_metrics(wanted.lpips_weights, wanted.inception_weights),
    )
    return comparison, about


def compare(
    photos: str,
    comparison: Comparison,
    about: About,
    *,
    limit: int | None = None,
    held_out: float | None = None,
    report: Report | None = None,
) -> tuple[list[Evaluated], dict[str, Any]]:
    """Evaluate photographs; the figures are the same in every run apart from ``times``.

    Args:
        photos: URI, or "samples" for those that scikit-image and scikit-learn ship.
        comparison: What each goes through.
        about: What is written beside the figures.
        limit: Only the first so many photographs by name.
        held_out: Only photographs that training at this share kept out.
        report: Is told of each photograph.

    Raises:
        ConfigError: there are no photographs.
        InvalidInput: none of them can be used.
    """
    results: list[Evaluated] = []
    with open_photos(photos) as uri:
        names = list_photos(uri, limit, held_out=held_out)
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
        "seed": about.seed,
        "masks": {each.name: {"side_px": each.side_px} for each in comparison.mask_sets},
        "methods": about.identities,
        "releases": about.releases,
        "vgg_encoder": about.vgg_encoder,
        "figures": summarise(results, seed=about.seed),
        "times": summarise_times(results),
    }


def is_complete(figures: dict[str, Any]) -> bool:
    """Whether every method has a fill for every photograph."""
    return not figures["rejects"] and not any("problems" in row for row in figures["figures"])


def write_report(uri: str, results: Sequence[Evaluated], figures: dict[str, Any]) -> None:
    """Write cases.jsonl, grid.png, results.md and, last, results.json; say where they are."""
    output = Storage(uri)
    cases = "".join(json.dumps(row) + "\n" for row in case_rows(results))
    output.write("cases.jsonl", cases.encode())
    output.write("grid.png", draw_grid(results))
    output.write("results.md", format_markdown(figures).encode())
    output.write("results.json", (json.dumps(figures, indent=1) + "\n").encode())
    print(f"wrote {output.uri}/results.json, results.md, cases.jsonl, grid.png")


class Progress:
    """Lines for a log: what is amiss at once, and now and then how far it is."""

    def __init__(self) -> None:
        self._told = -_PROGRESS_SECONDS

    def __call__(self, result: Evaluated, done: int, total: int) -> None:
        problems = {f"{fill.method}: {fill.problem}" for fill in result.filled if fill.problem}
        for why in sorted(problems | ({f"rejected: {result.reject}"} if result.reject else set())):
            print(f"{result.id}: {why}", flush=True)
        now = time.monotonic()
        if now - self._told >= _PROGRESS_SECONDS or done == total:
            self._told = now
            print(f"{done} of {total}: {result.id}", flush=True)


def _specs(methods: Sequence[str]) -> dict[str, str]:
    """Label -> specification, in order."""
    specs: dict[str, str] = {}
    for text in methods:
        label, spec = split_label(text)
        if label in specs:
            raise ConfigError(f"method {label!r} is given twice: name one of them, NAME={spec}")
        if spec not in (OURS, PATCH_SYNTHESIS, *CLASSICAL) and not spec.startswith(
            (RELEASE, FOLDER)
        ):
            known = ", ".join([OURS, *CLASSICAL, PATCH_SYNTHESIS, f"{RELEASE}URI", f"{FOLDER}URI"])
            raise ConfigError(f"method {spec!r} is not known: use one of {known}")
        specs[label] = spec
    return specs


def _release_of(spec: str, wanted: Wanted) -> str | None:
    """URI of the release that a specification names; None for anything else."""
    if spec == OURS:
        return wanted.release or DEFAULT_RELEASE
    return spec.removeprefix(RELEASE) if spec.startswith(RELEASE) else None


def _open_encoder(wanted: Wanted, ours: OpenedRelease | None) -> tuple[Vgg19Relu3 | None, str]:
    """What the VGG distance sees with, and its name: as asked for, else that of --release."""
    if wanted.encoder is not None:
        is_random = wanted.encoder == "random"
        name = f"random (seed {wanted.seed})" if is_random else wanted.encoder
        return open_encoder(wanted.encoder, wanted.seed), name
    if ours is None and wanted.release is not None:
        ours = open_our_release(wanted.release)
    return (None, "") if ours is None else (ours.encoder, ours.name_of_encoder)


def _open_entrant(spec: str, encoder: Vgg19Relu3 | None, wanted: Wanted) -> Entrant:
    if spec.startswith(FOLDER):
        return open_results(spec.removeprefix(FOLDER))
    if spec != PATCH_SYNTHESIS:
        return open_classical(spec)
    if encoder is None:
        raise ConfigError(
            f"method {PATCH_SYNTHESIS!r} needs an encoder: name --encoder, or --release for its own"
        )
    return open_patch_synthesis(encoder, wanted.seed)


def _open_mask_sets(names: Sequence[str], seed: int) -> list[Masks]:
    # The name of a set has no slash, the place of a written one has.
    sets: list[Masks] = [
        open_mask_set(name) if "/" in name else parse_mask_set(name, seed) for name in names
    ]
    known = [each.name for each in sets]
    for name in known:
        if known.count(name) > 1:
            raise ConfigError(f"mask set {name!r} is given twice: leave one out")
    return sets


def _photos(uri: str, names: Sequence[str], *, inline: bool) -> Iterator[Photo]:
    """The first few keep their pictures. ``inline``: only this machine can read them."""
    storage = Storage(uri)
    for index, name in enumerate(names):
        source = storage.read(name) if inline else storage
        yield Photo(name, source, keep_pictures=index < GRID_PHOTOS)

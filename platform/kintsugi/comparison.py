"""From names of methods, mask sets and weights to figures: what jobs/evaluate.py asks for."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from kintsugi.defaults import DEFAULT_RELEASE
from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.evaluation import (
    Comparison,
    Evaluated,
    evaluate,
    list_photos,
    parse_mask_set,
    read_photos,
)
from kintsugi.figures import summarise
from kintsugi.methods import CLASSICAL, Method, ReleaseMethod, open_release
from kintsugi.metrics import VggDistance
from kintsugi.photos import open_photos
from kintsugi.runs import open_encoder
from models.vgg import Vgg19Relu3

OURS = "ours"
# Photographs in the picture grid: always the first ones.
GRID_PHOTOS = 4

# Called after each photograph with its result, the number of them done and of all.
Report = Callable[[Evaluated, int, int], None]


@dataclass(frozen=True)
class About:
    """What the figures are of.

    Attributes:
        release: None, or URI, name and digest of what ``ours`` is.
        vgg_encoder: Whose features the VGG distance compares; "" where it is not computed.
    """

    release: dict[str, str] | None
    vgg_encoder: str


def open_comparison(
    methods: Sequence[str],
    mask_sets: Sequence[str],
    *,
    release: str | None = None,
    encoder: str | None = None,
    seed: int = 0,
) -> tuple[Comparison, About]:
    """Open what the names stand for.

    Args:
        methods: ``ours``, or one of `kintsugi.methods.CLASSICAL`.
        mask_sets: As `parse_mask_set` reads them.
        release: URI; None is DEFAULT_RELEASE where ``ours`` is asked for.
        encoder: Of the VGG distance, as a configuration names it; None is the release's,
            and without a release there is no VGG distance.
        seed: Decides every mask, and the weights of the encoder "random".

    Raises:
        ConfigError: a name is not known.
        StorageError: release or encoder cannot be read.
    """
    sets = [parse_mask_set(name) for name in mask_sets]
    for name in methods:
        if name != OURS and name not in CLASSICAL:
            known = ", ".join([OURS, *CLASSICAL])
            raise ConfigError(f"method {name!r} is not known: use one of {known}")
    found: dict[str, Method] = {name: CLASSICAL[name] for name in methods if name != OURS}
    network: Vgg19Relu3 | None = None
    name_of_encoder = ""
    about_release = None
    if OURS in methods or release is not None:
        uri = release or DEFAULT_RELEASE
        inpainter, config = open_release(uri)
        found[OURS] = ReleaseMethod(inpainter)
        about_release = {"uri": uri, "name": config.name, "digest": config.digest}
        network, name_of_encoder = inpainter.image2feature.encoder, config.encoder
    if encoder is not None:
        network = open_encoder(encoder, seed)
        name_of_encoder = f"random (seed {seed})" if encoder == "random" else encoder
    comparison = Comparison(
        methods={name: found[name] for name in methods},
        mask_sets=sets,
        seed=seed,
        vgg=VggDistance(network) if network is not None else None,
    )
    return comparison, About(about_release, name_of_encoder)


def compare(
    photos: str,
    comparison: Comparison,
    about: About,
    *,
    limit: int | None = None,
    report: Report | None = None,
) -> tuple[list[Evaluated], dict[str, Any]]:
    """Evaluate photographs; the figures are the same in every run apart from their seconds.

    Args:
        photos: URI, or "samples" for those that scikit-image and scikit-learn ship.
        comparison: What each goes through.
        about: What is written beside the figures.
        limit: Only the first so many photographs by name.
        report: Is told of each photograph.

    Raises:
        ConfigError: there are no photographs.
        InvalidInput: none of them can be decoded.
    """
    results = []
    with open_photos(photos) as uri:
        names = list_photos(uri, limit)
        for result in evaluate(read_photos(uri, names, pictures=GRID_PHOTOS), comparison):
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
        "rejects": rejects,
        "seed": comparison.seed,
        "release": about.release,
        "vgg_encoder": about.vgg_encoder,
        "figures": summarise(results),
    }

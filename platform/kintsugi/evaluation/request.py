"""What an evaluation is asked for, by the names of the command line, and what they stand for."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from kintsugi.data.mask_shards import open_mask_set
from kintsugi.defaults import BUNDLED_RELEASE
from kintsugi.errors import ConfigError
from kintsugi.evaluation.entrants import (
    Entrant,
    OpenedRelease,
    open_classical,
    open_our_release,
    open_patch_synthesis,
    open_results,
)
from kintsugi.evaluation.method_names import (
    COARSE,
    FOLDER,
    OUR_COARSE,
    OURS,
    PATCH_SYNTHESIS,
    RELEASE,
)
from kintsugi.masks.sets import Masks, names_place, parse_mask_set
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.runs.run import open_encoder


@dataclass(frozen=True)
class EvaluationRequest:
    """What is compared, as the command line says it.

    Attributes:
        methods: As `kintsugi.evaluation.method_names` lists them.
        masks: Names of mask sets, or URIs of written ones.
        release: What ``ours`` is; None is the bundled one where it is asked for.
        encoder: The encoder of the VGG distance and of neural patch synthesis, as a configuration
            names it; None is the release's, and without a release there is neither.
        seed: Decides every mask, every draw of a method, the bootstrap, and the weights of
            the encoder "random".
        cache: URI of the fills that are kept; None keeps none.
        lpips_weights, inception_weights: As `kintsugi.evaluation.learned_metrics` takes them.
    """

    methods: Sequence[str]
    masks: Sequence[str]
    release: str | None = None
    encoder: str | None = None
    seed: int = 0
    cache: str | None = None
    lpips_weights: Path | None = None
    inception_weights: Path | None = None


def release_of(spec: str, request: EvaluationRequest) -> str | None:
    """URI of the release that a specification names; None for anything else."""
    if spec in (OURS, OUR_COARSE):
        return request.release or BUNDLED_RELEASE
    prefix = next((each for each in (RELEASE, COARSE) if spec.startswith(each)), None)
    return None if prefix is None else spec.removeprefix(prefix)


def open_encoder_of(
    request: EvaluationRequest, ours: OpenedRelease | None
) -> tuple[Vgg19Relu3 | None, str]:
    """What the VGG distance sees with, and its name: as asked for, else that of --release."""
    if request.encoder is not None:
        is_random = request.encoder == "random"
        name = f"random (seed {request.seed})" if is_random else request.encoder
        return open_encoder(request.encoder, request.seed), name
    if ours is None and request.release is not None:
        ours = open_our_release(request.release)
    return (None, "") if ours is None else (ours.encoder, ours.name_of_encoder)


def open_entrant(
    spec: str, encoder: Vgg19Relu3 | None, request: EvaluationRequest, masks: Sequence[str]
) -> Entrant:
    """Open what has no trained networks of its own.

    Args:
        spec: As `kintsugi.evaluation.method_names.specs_of` gives it.
        encoder: For neural patch synthesis; None where there is none.
        request: Has the seed.
        masks: Names of the mask sets, for a folder of results.

    Raises: ConfigError: there is nothing, or no encoder.
    """
    if spec.startswith(FOLDER):
        return open_results(spec.removeprefix(FOLDER), masks)
    if spec != PATCH_SYNTHESIS:
        return open_classical(spec)
    if encoder is None:
        raise ConfigError(
            f"method {PATCH_SYNTHESIS!r} needs an encoder: name --encoder, or --release for its own"
        )
    return open_patch_synthesis(encoder, request.seed)


def open_mask_sets(names: Sequence[str], seed: int) -> list[Masks]:
    """Draw or read mask sets. Raises: ConfigError: one is unknown or given twice; StorageError."""
    sets: list[Masks] = [
        open_mask_set(name) if names_place(name) else parse_mask_set(name, seed) for name in names
    ]
    known = [each.name for each in sets]
    for name in known:
        if known.count(name) > 1:
            raise ConfigError(f"mask set {name!r} is given twice: leave one out")
    return sets

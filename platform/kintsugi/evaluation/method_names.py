"""What takes part in an evaluation, as the command line names it; imports nothing slow.

ours              the release of --release
release:URI       any other release
context-encoder:URI  a run of kintsugi train context-encoder
folder:URI        pictures that some other program filled
patch-synthesis   the iterative method of 2017, on the evaluation's encoder
coarse, coarse:URI  G1 of a release alone, its fill brought to size
telea ns biharmonic patchmatch smooth gmic-matchpatch gmic-patch resynthesizer
NAME=any of these, to be named so in reports
"""

from collections.abc import Sequence

from kintsugi.errors import ConfigError
from kintsugi.masks.sets import names_place, parse_mask_set

OURS = "ours"
PATCH_SYNTHESIS = "patch-synthesis"
RELEASE, FOLDER, CONTEXT_ENCODER = "release:", "folder:", "context-encoder:"
# G1 alone: of --release, or of another.
OUR_COARSE, COARSE = "coarse", "coarse:"
# Those of `kintsugi.inference.methods`, and of `kintsugi.inference.peers`.
CLASSICAL_NAMES = ("telea", "ns", "patchmatch", "biharmonic", "smooth")
PEER_NAMES = ("gmic-matchpatch", "gmic-patch", "resynthesizer")


def check_names(methods: Sequence[str], masks: Sequence[str]) -> None:
    """Refuse what stands for nothing, at once. Raises: ConfigError, of methods or mask sets."""
    specs_of(methods)
    for name in masks:
        if not names_place(name):
            parse_mask_set(name)


def specs_of(methods: Sequence[str]) -> dict[str, str]:
    """Label -> specification, in order. Raises: ConfigError: one is not known, or given twice."""
    specs: dict[str, str] = {}
    for text in methods:
        label, spec = split_label(text)
        if label in specs:
            raise ConfigError(f"method {label!r} is given twice: name one of them, NAME={spec}")
        prefixes = (RELEASE, COARSE, FOLDER, CONTEXT_ENCODER)
        names = (OURS, OUR_COARSE, *CLASSICAL_NAMES, *PEER_NAMES, PATCH_SYNTHESIS)
        if spec not in names and not spec.startswith(prefixes):
            known = ", ".join([*names, *(f"{prefix}URI" for prefix in prefixes)])
            raise ConfigError(f"method {spec!r} is not known: use one of {known}")
        specs[label] = spec
    return specs


def split_label(text: str) -> tuple[str, str]:
    """``NAME=SPEC`` to both; a spec without a name is its own. A URI may hold a ``=``."""
    label, equals, spec = text.partition("=")
    return (label, spec) if equals and ":" not in label else (text, text)

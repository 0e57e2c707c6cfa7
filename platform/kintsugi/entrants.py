"""What takes part in an evaluation, by the names of the command line; knows no metrics.

ours              the release of --release
release:URI       any other release
folder:URI        pictures that some other program filled
patch-synthesis   the iterative method of 2017, on the evaluation's encoder
telea ns biharmonic patchmatch
NAME=any of these, to be named so in reports
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

import models
from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.folder import is_photo, read_input, stem_of
from kintsugi.images import decode_image
from kintsugi.methods import (
    CLASSICAL,
    CLASSICAL_PACKAGES,
    OPENCV_RADIUS_PX,
    PATCHMATCH_RADIUS_PX,
    Mask,
    Method,
    PatchSynthesis,
    Pixels,
    ReleaseMethod,
    open_release,
)
from kintsugi.storage import Storage
from models.vgg import Vgg19Relu3

OURS = "ours"
PATCH_SYNTHESIS = "patch-synthesis"
# A network trained for the evaluation alone would stand beside these two prefixes.
RELEASE, FOLDER = "release:", "folder:"


@dataclass(frozen=True)
class Case:
    """One hole to fill.

    Attributes:
        photo_id: Of the photograph.
        masks: Name of the mask set.
        pixels: uint8 H W 3 RGB, black in the hole.
        mask: bool H W, True = hole.
    """

    photo_id: str
    masks: str
    pixels: Pixels
    mask: Mask


class Entrant(Protocol):
    """One column of the comparison."""

    @property
    def identity(self) -> str:
        """What decides its answers beside the case; "" where answers must not be kept."""

    @property
    def is_timed(self) -> bool:
        """Whether the time of `fill` is that of the method."""

    @property
    def has_networks(self) -> bool:
        """Whether a GPU would help it."""

    def fill(self, case: Case) -> Pixels:
        """The whole picture, uint8 H W 3. Raises: InputError where this one has none."""

    def to(self, device: torch.device | str) -> None:
        """Move what it computes with."""


@dataclass(frozen=True)
class Computed:
    """A method that is run here."""

    method: Method
    identity: str
    is_timed: bool = True

    @property
    def has_networks(self) -> bool:
        return isinstance(self.method, ReleaseMethod | PatchSynthesis)

    def fill(self, case: Case) -> Pixels:
        return self.method(case.pixels, case.mask)

    def to(self, device: torch.device | str) -> None:
        if isinstance(self.method, ReleaseMethod | PatchSynthesis):
            self.method.to(device)


@dataclass(frozen=True)
class Results:
    """Pictures that another program wrote: ``<mask set>/<stem>.png``, or only ``<stem>.png``.

    Attributes:
        storage: Where they are.
        names: stem (with its folders) -> the files that have it.
    """

    storage: Storage
    names: Mapping[str, Sequence[str]]
    identity: str = ""
    is_timed: bool = False
    has_networks: bool = False

    def fill(self, case: Case) -> Pixels:
        stem = stem_of(case.photo_id)
        found = self.names.get(f"{case.masks}/{stem}") or self.names.get(stem) or ()
        if len(found) != 1:
            what = f"{len(found)} pictures" if found else "no picture"
            raise InvalidInput(
                f"{self.storage.uri} has {what} {case.masks}/{stem}.* or {stem}.*: it must have"
                " one",
                code="result_missing",
            )
        pixels = decode_image(read_input(self.storage, found[0], "result")).pixels
        if pixels.shape != case.pixels.shape:
            sides = [f"{array.shape[1]}x{array.shape[0]}" for array in (pixels, case.pixels)]
            raise InvalidInput(
                f"{self.storage.uri}/{found[0]} is {sides[0]} px and the case {sides[1]}: fill the"
                " pictures that jobs/write_masks.py --pairs writes",
                code="result_size",
            )
        return pixels

    def to(self, device: torch.device | str) -> None:
        """Nothing is computed."""


def open_results(uri: str) -> Results:
    """List a folder of pictures. Raises: ConfigError when there are none."""
    storage = Storage(uri)
    names: dict[str, list[str]] = {}
    for name in filter(is_photo, storage.list()):
        names.setdefault(stem_of(name), []).append(name)
    if not names:
        raise ConfigError(f"no pictures in {storage.uri}: give the folder of a method's results")
    return Results(storage, names)


class OpenedRelease(NamedTuple):
    """A release as an entrant, what it says of itself, and its encoder."""

    entrant: Computed
    name: str
    digest: str
    encoder: Vgg19Relu3
    name_of_encoder: str


def open_our_release(uri: str) -> OpenedRelease:
    """Open a release of this platform. Raises: StorageError when it cannot be read."""
    inpainter, config = open_release(uri)
    settings = {
        "matching": asdict(config.matching),
        "precision": inpainter.precision,
        "code": code_digest(),
        "torch": torch.__version__,
    }
    identity = f"release {config.digest} {json.dumps(settings, sort_keys=True)}"
    entrant = Computed(ReleaseMethod(inpainter), identity)
    encoder = inpainter.image2feature.encoder
    return OpenedRelease(entrant, config.name, config.digest, encoder, config.encoder)


def open_patch_synthesis(encoder: Vgg19Relu3, seed: int) -> Computed:
    """The iterative method on an encoder."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    method = PatchSynthesis(encoder, seed=seed)
    settings = {
        **asdict(method.options),
        "seed": seed,
        "code": code_digest(),
        "torch": torch.__version__,
    }
    identity = f"{PATCH_SYNTHESIS} {digest.hexdigest()} {json.dumps(settings, sort_keys=True)}"
    return Computed(method, identity)


def open_classical(name: str) -> Computed:
    """A method that needs no weights."""
    package = CLASSICAL_PACKAGES[name]
    try:
        release = version(package)
    except PackageNotFoundError:
        # Built from source, or under another name: then its answers have no name to be kept by.
        return Computed(CLASSICAL[name], "")
    radius = {"telea": OPENCV_RADIUS_PX, "ns": OPENCV_RADIUS_PX, "patchmatch": PATCHMATCH_RADIUS_PX}
    return Computed(CLASSICAL[name], f"{name} {package} {release} radius {radius.get(name, 0)}")


def split_label(text: str) -> tuple[str, str]:
    """``NAME=SPEC`` to both; a spec without a name is its own. A URI may hold a ``=``."""
    label, equals, spec = text.partition("=")
    return (label, spec) if equals and ":" not in label else (text, text)


def code_digest() -> str:
    """SHA-256 of the networks' and the match's source: kept answers are of one code."""
    digest = hashlib.sha256()
    for folder in models.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()

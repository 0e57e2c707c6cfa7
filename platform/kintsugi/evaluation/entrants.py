"""What takes part in an evaluation, opened; `method_names.py` names it. Knows no metrics."""

import hashlib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from kintsugi import models
from kintsugi.errors import ConfigError, InvalidInput
from kintsugi.evaluation.method_names import CONTEXT_ENCODER, PATCH_SYNTHESIS
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.imaging.codec import decode_image
from kintsugi.imaging.formats import is_photo
from kintsugi.inference import methods, peers
from kintsugi.inference.folder import read_input, stem_of
from kintsugi.inference.methods import (
    CLASSICAL,
    CLASSICAL_PACKAGES,
    OPENCV_RADIUS_PX,
    PATCHMATCH_RADIUS_PX,
    CoarseFill,
    ContextEncoding,
    Method,
    Neural,
    PatchSynthesis,
    ReleaseMethod,
    open_release,
)
from kintsugi.inference.peers import PEER_PACKAGES, PEERS
from kintsugi.models.build import build_context_encoder
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.runs.weights import open_networks
from kintsugi.storage.storage import Storage

# Packages other than those that a method is named after, whose arithmetic its answers may show.
_BENEATH = ("numpy", "scipy")


@dataclass(frozen=True)
class Case:
    """One hole to fill.

    Attributes:
        photo_id: The id of the photograph.
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
        """What decides its answers other than the case; "" where answers must not be kept."""

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
        """Whether it can be moved to a GPU."""
        return isinstance(self.method, Neural)

    def fill(self, case: Case) -> Pixels:
        """Compute the fill. Returns: as `Entrant.fill`."""
        return self.method(case.pixels, case.mask)

    def to(self, device: torch.device | str) -> None:
        """Move its networks, if it has any."""
        if isinstance(self.method, Neural):
            self.method.to(device)


@dataclass(frozen=True)
class Results:
    """Pictures that another program wrote: ``<mask set>/<stem>.png``, or only ``<stem>.png``.

    Attributes:
        storage: Where they are.
        names: stem (with its folders) -> the files that have it.
        is_flat: Whether pictures outside of the mask sets' folders count.
    """

    storage: Storage
    names: Mapping[str, Sequence[str]]
    is_flat: bool = True
    identity: str = ""
    is_timed: bool = False
    has_networks: bool = False

    def fill(self, case: Case) -> Pixels:
        """Read the fill that was written. Returns and raises: as `Entrant.fill`."""
        stem = stem_of(case.photo_id)
        wanted = [f"{case.masks}/{stem}", *([stem] if self.is_flat else [])]
        found = next((self.names[name] for name in wanted if name in self.names), ())
        if len(found) != 1:
            what = f"{len(found)} pictures" if found else "no picture"
            named = " or ".join(f"{name}.*" for name in wanted)
            raise InvalidInput(
                f"{self.storage.uri} has {what} {named}: it must have one", code="result_missing"
            )
        pixels = decode_image(read_input(self.storage, found[0], "result")).pixels
        if pixels.shape != case.pixels.shape:
            sides = [f"{array.shape[1]}x{array.shape[0]}" for array in (pixels, case.pixels)]
            raise InvalidInput(
                f"{self.storage.uri}/{found[0]} is {sides[0]} px and the case {sides[1]}: fill the"
                " pictures that kintsugi masks --pairs writes",
                code="result_size",
            )
        return pixels

    def to(self, device: torch.device | str) -> None:
        """Nothing is computed."""


def open_results(uri: str, masks: Sequence[str]) -> Results:
    """List a folder of pictures.

    Args:
        masks: Names of the mask sets. A picture outside of their folders could be of any of
            them, and counts only where there is one set.

    Raises: ConfigError when there are no pictures, or none of one of several mask sets.
    """
    storage = Storage(uri)
    names: dict[str, list[str]] = {}
    for name in filter(is_photo, storage.list()):
        names.setdefault(stem_of(name), []).append(name)
    if not names:
        raise ConfigError(f"no pictures in {storage.uri}: give the folder of a method's results")
    if len(masks) == 1:
        return Results(storage, names)
    missing = [each for each in masks if not any(name.startswith(f"{each}/") for name in names)]
    if missing:
        raise ConfigError(
            f"{storage.uri} has no pictures in {missing[0]}/: with several mask sets each has a"
            " folder of its own name there; or evaluate one set at a time"
        )
    return Results(storage, names, is_flat=False)


class OpenedRelease(NamedTuple):
    """A release as an entrant, what it says of itself, and its encoder."""

    entrant: Computed
    name: str
    digest: str
    encoder: Vgg19Relu3
    name_of_encoder: str


def open_our_release(uri: str, *, coarse: bool = False) -> OpenedRelease:
    """Open a release of this platform, or its G1 alone.

    Raises: StorageError when it cannot be read.
    """
    inpainter, config = open_release(uri)
    settings = {
        "matching": asdict(config.matching),
        "precision": inpainter.precision,
        **_code(),
    }
    identity = f"release {config.digest} {json.dumps(settings, sort_keys=True)}"
    entrant = Computed(ReleaseMethod(inpainter), identity)
    if coarse:
        entrant = Computed(CoarseFill(inpainter), f"coarse fill of {identity}")
    encoder = inpainter.image2feature.encoder
    return OpenedRelease(entrant, config.name, config.digest, encoder, config.encoder)


def open_context_encoder(uri: str) -> tuple[Computed, dict[str, str]]:
    """Open the newest or best checkpoint of a context encoder's run.

    Returns: it as an entrant, and what it says of itself.

    Raises:
        ConfigError: it is a run or release of something else.
        StorageError: it cannot be read.
    """
    networks = open_networks(uri)
    if "context_encoder" not in networks.parts:
        raise ConfigError(
            f"{CONTEXT_ENCODER}{uri} holds {', '.join(networks.parts)}: name a run of"
            " kintsugi train context-encoder"
        )
    network = build_context_encoder(networks.model, seed=0)
    network.load_state_dict(networks.parts["context_encoder"])
    settings = {"digest": networks.digest(), **_code()}
    identity = f"context encoder {json.dumps(settings, sort_keys=True)}"
    name = (
        f"context encoder {networks.model.size}, step {networks.step}, {networks.weights} weights"
    )
    about = {"uri": uri, "name": name, "digest": networks.digest()}
    return Computed(ContextEncoding(network), identity), about


def open_patch_synthesis(encoder: Vgg19Relu3, seed: int) -> Computed:
    """The iterative method on an encoder."""
    digest = hashlib.sha256()
    for name, tensor in encoder.state_dict().items():
        digest.update(name.encode() + tensor.cpu().numpy().tobytes())
    method = PatchSynthesis(encoder, seed=seed)
    settings = {**asdict(method.options), "seed": seed, **_code()}
    identity = f"{PATCH_SYNTHESIS} {digest.hexdigest()} {json.dumps(settings, sort_keys=True)}"
    return Computed(method, identity)


def open_classical(name: str) -> Computed:
    """A method that needs no weights."""
    method, package = (CLASSICAL | PEERS)[name], (CLASSICAL_PACKAGES | PEER_PACKAGES)[name]
    try:
        release = version(package)
    except PackageNotFoundError:
        # Built from source, or under another name: then its answers have no name to be kept by.
        return Computed(method, "")
    radius = {"telea": OPENCV_RADIUS_PX, "ns": OPENCV_RADIUS_PX, "patchmatch": PATCHMATCH_RADIUS_PX}
    settings = {"radius": radius.get(name, 0), "code": _methods_digest(), **_versions()}
    if name == "smooth":
        settings |= _code()
    return Computed(method, f"{name} {package} {release} {json.dumps(settings)}")


def _code() -> dict[str, str]:
    """What decides a network's answers other than its weights and settings."""
    return {"code": code_digest(), "torch": torch.__version__, **_versions()}


def _versions() -> dict[str, str]:
    found = {}
    for package in _BENEATH:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            found[package] = ""
    return found


def _methods_digest() -> str:
    files = [Path(inspect.getfile(module)).read_bytes() for module in (methods, peers)]
    return hashlib.sha256(b"".join(files)).hexdigest()


def code_digest() -> str:
    """SHA-256 of the source of networks, match and methods: kept answers are of one code."""
    digest = hashlib.sha256(_methods_digest().encode())
    for folder in models.__path__:
        for path in sorted(Path(folder).rglob("*.py")):
            digest.update(path.relative_to(folder).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()

"""LPIPS, FID and P/U-IDS, each only with the published weights that define it.

The weights are given as local files and nothing is downloaded: a number of other weights must
not stand under these names. The networks are torchmetrics' (`pip install "torchmetrics[image]"`).
"""

import hashlib
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kintsugi.errors import ConfigError
from kintsugi.imaging.arrays import Pixels
from kintsugi.models.pixels import image_to_tensor

Features = npt.NDArray[np.float32]

# Files as their authors publish them. The eight digits in a name begin the file's SHA-256.
LPIPS_FILE = "vgg16-397923af.pth (torchvision's VGG16)"
INCEPTION_FILE = "weights-inception-2015-12-05-6726825d.pth (torch-fidelity's)"
LPIPS_SHA256, INCEPTION_SHA256 = "397923af", "6726825d"


class LearnedMetrics:
    """The networks behind LPIPS and behind FID and P/U-IDS; either may be left out.

    ``weights`` says what file each was read from: "lpips" or "inception" -> its name and SHA-256.
    """

    def __init__(
        self,
        lpips: nn.Module | None,
        inception: nn.Module | None,
        weights: dict[str, dict[str, str]] | None = None,
    ) -> None:
        self._lpips, self._inception = lpips, inception
        self.weights = weights or {}
        self._device: torch.device | str = "cpu"

    def to(self, device: torch.device | str) -> None:
        """Move the networks."""
        self._device = device
        for network in (self._lpips, self._inception):
            if network is not None:
                network.to(device)

    @torch.inference_mode()
    def measure(self, answer: Pixels, truth: Pixels) -> dict[str, float]:
        """``lpips`` (Zhang et al. 2018, version 0.1, VGG16) of two uint8 H W 3 RGB images.

        Sum over five layers of: mean over cells of the learnt weighting of the squared
        difference of the two feature vectors, each scaled to unit length. Empty without
        its weights.
        """
        if self._lpips is None:
            return {}
        pair = [image_to_tensor(image, self._device) for image in (answer, truth)]
        return {"lpips": float(self._lpips(*pair, normalize=True))}

    @torch.inference_mode()
    def features(self, image: Pixels) -> bytes:
        """Inception's 2048 pooled features as float32; empty without its weights."""
        if self._inception is None:
            return b""
        pixels = torch.tensor(image, device=self._device).permute(2, 0, 1)[None]
        (found,) = self._inception(pixels)
        pooled: Features = found.float().cpu().numpy()
        return pooled.tobytes()


def open_learned_metrics(
    lpips_weights: Path | None, inception_weights: Path | None
) -> LearnedMetrics | None:
    """Open the networks whose weights are given; None when none are.

    Args:
        lpips_weights: LPIPS_FILE on the local disk.
        inception_weights: INCEPTION_FILE on the local disk.

    Raises:
        ConfigError: a file is not the published one, or torchmetrics is not installed.
    """
    if lpips_weights is None and inception_weights is None:
        return None
    try:
        from torchmetrics.functional.image.lpips import _NoTrainLpips
        from torchmetrics.image.fid import NoTrainInceptionV3
    except ImportError as error:
        raise ConfigError(
            "LPIPS, FID and P/U-IDS need torchmetrics, which is not installed:"
            ' pip install "torchmetrics[image]"'
        ) from error
    lpips = inception = None
    weights: dict[str, dict[str, str]] = {}
    if lpips_weights is not None:
        state = _read_tensors(lpips_weights, LPIPS_FILE)
        weights["lpips"] = _published(lpips_weights, LPIPS_FILE, LPIPS_SHA256)
        # The backbone begins at random and not with a download; the heads come with the package.
        lpips = _NoTrainLpips(net="vgg", pnet_rand=True, use_dropout=True)
        _load_backbone(lpips.net, state, lpips_weights)
    if inception_weights is not None:
        _read_tensors(inception_weights, INCEPTION_FILE)
        weights["inception"] = _published(inception_weights, INCEPTION_FILE, INCEPTION_SHA256)
        try:
            inception = NoTrainInceptionV3("inception-v3-compat", ["2048"], str(inception_weights))
        except (RuntimeError, KeyError) as error:
            raise ConfigError(f"{inception_weights} is not {INCEPTION_FILE}: {error}") from error
        except ModuleNotFoundError as error:
            raise ConfigError(f"{error}") from error
    return LearnedMetrics(lpips, inception, weights)


def frechet_distance(
    one: npt.NDArray[np.floating[Any]], other: npt.NDArray[np.floating[Any]]
) -> float:
    """FID's formula (Heusel et al. 2017) on two sets of features, each n x d.

    |m1 - m2|^2 + tr(S1 + S2 - 2 (S1 S2)^(1/2)) with means m and covariances S (n - 1). With
    S = A^T A the last trace is the sum of the singular values of A1 A2^T. Biased upwards for
    small n: compare equal n only.
    """
    means: list[npt.NDArray[np.float64]] = []
    factors: list[npt.NDArray[np.float64]] = []
    for features in (one, other):
        exact = features.astype(np.float64)
        means.append(exact.mean(axis=0))
        factor = (exact - means[-1]) / np.sqrt(max(1, len(exact) - 1))
        if len(factor) > factor.shape[1]:
            # R of A = Q R has the same A^T A and no more rows than columns.
            factor = np.linalg.qr(factor).R
        factors.append(factor)
    traces = sum(float(np.square(factor).sum()) for factor in factors)
    shared = np.linalg.svdvals(factors[0] @ factors[1].T).sum()
    return float(np.square(means[0] - means[1]).sum() + traces - 2 * shared)


def inception_discrimination(answers: Features, truths: Features) -> dict[str, float]:
    """U-IDS and P-IDS (Zhao et al. 2021) of filled photographs and their truths, pairwise.

    A linear support vector machine is fitted to separate both by Inception's features:
    ``u_ids`` is the share that it gets wrong, ``p_ids`` the share of pairs in which the filled
    one looks more real to it. Both 0-0.5 and 0-1, higher is better.

    Raises: ConfigError: scikit-learn is not installed.
    """
    try:
        from sklearn.svm import LinearSVC
    except ImportError as error:
        raise ConfigError(
            "P-IDS and U-IDS need scikit-learn, which is not installed:"
            ' pip install "kintsugi-inpainting[eval]"'
        ) from error
    inputs = np.concatenate([truths, answers])
    targets = np.repeat([1, 0], [len(truths), len(answers)])
    machine = LinearSVC(dual=False).fit(inputs, targets)
    looks_real = machine.decision_function(answers) > machine.decision_function(truths)
    return {
        "u_ids": float(1 - machine.score(inputs, targets)),
        "p_ids": float(looks_real.mean()),
    }


def _published(path: Path, expected: str, prefix: str) -> dict[str, str]:
    """A file's name and SHA-256, which must begin as the published one's does."""
    with path.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found.startswith(prefix):
        raise ConfigError(
            f"{path} is not {expected}: its SHA-256 is {found}; give the file as it is published,"
            " or a figure of other weights would stand under the metric's name"
        )
    return {"file": path.name, "sha256": found}


def _read_tensors(path: Path, expected: str) -> Mapping[str, Tensor]:
    """A published .pth file, refused when it holds anything but tensors."""
    try:
        state: Any = torch.load(path, map_location="cpu", weights_only=True)
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:
        raise ConfigError(f"{path} cannot be read ({error}): give {expected}") from error
    if not isinstance(state, Mapping):
        raise ConfigError(f"{path} holds no tensors by name: give {expected}")
    return state


def _load_backbone(network: nn.Module, state: Mapping[str, Tensor], path: Path) -> None:
    """Load torchvision's ``features.N.*`` into the parts ``sliceM.N.*`` of the metric's network."""
    wanted = {name: "features." + name.partition(".")[2] for name in network.state_dict()}
    try:
        network.load_state_dict({name: state[theirs] for name, theirs in wanted.items()})
    except (KeyError, RuntimeError) as error:
        raise ConfigError(f"{path} is not {LPIPS_FILE}: {error}") from error

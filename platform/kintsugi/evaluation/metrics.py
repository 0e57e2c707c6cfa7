"""How close a filled photograph is to the truth: pure functions; knows no files and no methods.

All take 8-bit images: ``answer`` and ``truth`` uint8 H W 3 RGB of one size, ``mask``
bool H W with True = hole and at least one hole pixel. `measure` composes the answer with the
truth's known pixels first. Where a formula sums over the hole, it sums over its pixels and the
three channels. What needs weights of others is in `kintsugi.evaluation.learned_metrics`; whether a
fill looks real, whatever was there, in `kintsugi.evaluation.realism.realism`.
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from kintsugi.errors import ConfigError
from kintsugi.imaging.arrays import Mask, Pixels
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.pixels import image_to_tensor

# What a hole without any difference gets: infinity has no mean. Above 8 bit's own noise.
PSNR_CEILING_DB = 100.0
SSIM_WINDOW_PX = 7


class Similarity(NamedTuple):
    """SSIM over the whole image and over the hole, each at most 1."""

    whole: float
    hole: float


def hole_l1_percent(answer: Pixels, truth: Pixels, mask: Mask) -> float:
    """Mean absolute difference in the hole: 100 / 255 * mean |answer - truth|, in percent."""
    return float(100 / 255 * np.abs(_difference(answer, truth, mask)).mean())


def hole_psnr_db(answer: Pixels, truth: Pixels, mask: Mask) -> float:
    """Peak signal to noise in the hole: 10 log10(255^2 / mean (answer - truth)^2), in dB.

    At most PSNR_CEILING_DB, which equal pixels get.
    """
    mean_square = float(np.square(_difference(answer, truth, mask)).mean())
    if mean_square == 0:
        return PSNR_CEILING_DB
    return min(PSNR_CEILING_DB, 10 * math.log10(255**2 / mean_square))


def structural_similarity(answer: Pixels, truth: Pixels, mask: Mask) -> Similarity:
    """SSIM (Wang et al. 2004) as scikit-image computes it: uniform window of 7 px, range 255.

    Per pixel and channel, over the window around it: (2 m_a m_t + C1)(2 s_at + C2) /
    ((m_a^2 + m_t^2 + C1)(s_a^2 + s_t^2 + C2)) with C1 = (0.01 * 255)^2,
    C2 = (0.03 * 255)^2. ``whole`` is scikit-image's mean, which leaves out the border
    of 3 px; ``hole`` is the mean of the map over the hole.

    Raises:
        ConfigError: scikit-image is not installed.
    """
    try:
        from skimage.metrics import structural_similarity as skimage_ssim
    except ImportError as error:
        raise ConfigError(
            'SSIM needs scikit-image: pip install "kintsugi-inpainting[eval]"'
        ) from error
    whole, full = skimage_ssim(
        truth, answer, win_size=SSIM_WINDOW_PX, channel_axis=2, data_range=255, full=True
    )
    return Similarity(float(whole), float(full[mask].mean()))


def known_pixels_equal(answer: Pixels, truth: Pixels, mask: Mask) -> bool:
    """Whether every pixel outside the hole is the truth's, to the bit."""
    return bool(np.array_equal(answer[~mask], truth[~mask]))


class VggDistance:
    """Distance of two images in the features of an encoder.

    Sum over relu1_1, relu2_1 and relu3_1 of: mean over cells of the squared difference
    of the two feature vectors, each scaled to unit length, summed over channels. Two
    equal images have 0; no layer adds more than 2. It means what its encoder means:
    name that as well. It is not LPIPS, whose channel weights are learnt.
    """

    def __init__(self, encoder: Vgg19Relu3) -> None:
        layers = list(encoder.features)
        # Each part ends in a ReLU: relu1_1, relu2_1, relu3_1.
        self._parts = [nn.Sequential(*layers[a:b]) for a, b in ((0, 2), (2, 7), (7, 12))]
        self._mean, self._std = encoder.mean, encoder.std

    def to(self, device: torch.device | str) -> None:
        """Move the encoder's layers."""
        for part in self._parts:
            part.to(device)
        self._mean, self._std = self._mean.to(device), self._std.to(device)

    @torch.inference_mode()
    def __call__(self, answer: Pixels, truth: Pixels) -> float:
        """Args: uint8 H W 3 RGB of one size, at least 4 px a side."""
        device = self._mean.device
        x = torch.cat([image_to_tensor(image, device) for image in (answer, truth)])
        x = (x - self._mean) / self._std
        total = 0.0
        for part in self._parts:
            x = part(x)
            one, other = _unit_length(x)
            total += float((one - other).square().sum(0).mean())
        return total


def measure(
    answer: Pixels, truth: Pixels, mask: Mask, vgg: VggDistance | None = None
) -> dict[str, float]:
    """Every metric by its name in reports; ``vgg_distance`` only with an encoder.

    All but ``known_equal`` are of the composed image: what a method does to known pixels
    says nothing about its fills.
    """
    composed = compose(answer, truth, mask)
    similarity = structural_similarity(composed, truth, mask)
    measured = {
        "hole_l1_percent": hole_l1_percent(composed, truth, mask),
        "hole_psnr_db": hole_psnr_db(composed, truth, mask),
        "ssim": similarity.whole,
        "hole_ssim": similarity.hole,
        "known_equal": float(known_pixels_equal(answer, truth, mask)),
    }
    return measured if vgg is None else {**measured, "vgg_distance": vgg(composed, truth)}


def compose(answer: Pixels, truth: Pixels, mask: Mask) -> Pixels:
    """The answer in the hole and the truth around it."""
    composed: Pixels = np.where(mask[..., None], answer, truth)
    return composed


def _difference(answer: Pixels, truth: Pixels, mask: Mask) -> npt.NDArray[np.int64]:
    return answer[mask].astype(np.int64) - truth[mask]


def _unit_length(features: Tensor) -> Tensor:
    length: Tensor = torch.linalg.vector_norm(features, dim=1, keepdim=True)
    return features / length.clamp_min(1e-10)

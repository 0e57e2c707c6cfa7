"""Neural patch synthesis: pixels optimised towards swapped features; the iterative ancestor.

The method that the paper's feed-forward networks replace (Yang et al. 2017, "High-resolution
image inpainting using multi-scale neural patch synthesis"), on this platform's encoder and
patch-swap: relu3_1 in the place of their relu4_1, windows at stride 1 and without turned
copies. For comparisons only; knows no training.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.patch_swap import patch_swap
from kintsugi.models.networks.image2feature import paste_known
from kintsugi.models.networks.smooth_fill import smooth_fill
from kintsugi.models.networks.vgg import Vgg19Relu3
from kintsugi.models.plan.fill_plan import Mask
from kintsugi.models.plan.resizing import padded, padded_side, shrink


@dataclass(frozen=True)
class SynthesisOptions:
    """How long and towards what the pixels are optimised.

    Attributes:
        scales: Each twice the size of the one before; 3 as published.
        iterations: The iterations of L-BFGS at each scale; 100 as published.
        rematch_every: Iterations after which patches are matched again.
        smoothness: Weight of the mean squared difference of neighbouring pixels in the hole,
            against features scaled to a mean square of 1.
        noise: Standard deviation (of 0-1) of what is added to the initial fill.
    """

    scales: int = 3
    iterations: int = 100
    rematch_every: int = 20
    smoothness: float = 1.0
    noise: float = 0.02

    def __post_init__(self) -> None:
        for name in ("scales", "iterations", "rematch_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: at least 1")


def synthesise_patches(
    encoder: Vgg19Relu3,
    image: Float[Tensor, "1 3 H W"],
    mask: Mask,
    options: SynthesisOptions = SynthesisOptions(),
    *,
    start: Float[Tensor, "1 3 H W"] | None = None,
    seed: int = 0,
) -> Float[Tensor, "1 3 H W"]:
    """Fill the holes of one photograph by optimising their pixels.

    Args:
        encoder: Frozen; its device is that of image and mask.
        image: RGB 0-1; what it holds inside the hole is not looked at.
        mask: 1 or True = hole.
        start: A coarse fill for the smallest scale, as the publication takes it from a
            context encoder; None: a smooth one from the colours around the hole.
        seed: Decides the noise that breaks up a smooth start.

    Returns:
        RGB 0-1, bit-equal to ``image`` outside the hole.

    Raises:
        ValueError: the mask is empty, full or of another size.
    """
    _check(image, mask)
    hole = mask.to(image.dtype)
    whole, whole_hole = padded(image), padded(hole)
    filled = None if start is None else padded(start)
    generator = torch.Generator().manual_seed(seed)
    for level in reversed(range(options.scales)):
        height, width = (padded_side(side >> level) for side in whole.shape[-2:])
        small, small_hole = shrink(whole, whole_hole, height, width)
        if filled is None:
            first = smooth_fill(small, small_hole)
        else:
            first = F.interpolate(filled, (height, width), mode="bicubic", align_corners=False)
        if level == options.scales - 1:
            noise = torch.randn(first.shape, generator=generator)
            first = first + options.noise * noise.to(first)
        first = paste_known(first.clamp(0, 1), small, small_hole)
        filled = _optimise(encoder, first, small_hole, options)
    assert filled is not None
    return paste_known(filled[..., : image.shape[-2], : image.shape[-1]], image, hole)


def _optimise(
    encoder: Vgg19Relu3, first: Tensor, hole: Tensor, options: SynthesisOptions
) -> Tensor:
    """One scale: move the hole's pixels until their features are the matched ones."""
    pixels = first
    for begun in range(0, options.iterations, options.rematch_every):
        with torch.no_grad():
            features = encoder(pixels)
            target = patch_swap(features, hole)
        cells = (F.max_pool2d(hole, hole.shape[-1] // features.shape[-1]) > 0).expand_as(target)
        # Where nothing is known there is nothing to move towards.
        if torch.equal(target, features):
            return pixels
        pixels = _approach(
            encoder,
            pixels,
            hole,
            _Aim(target[cells], cells, options.smoothness),
            min(options.rematch_every, options.iterations - begun),
        )
    return pixels


@dataclass(frozen=True)
class _Aim:
    """What the features of the hole's cells shall be, and how much smoothness counts."""

    wanted: Tensor
    cells: Tensor
    smoothness: float

    def loss(self, features: Tensor, image: Tensor, hole: Tensor) -> Tensor:
        scale = self.wanted.square().mean().clamp_min(1e-8)
        distance = (features[self.cells] - self.wanted).square().mean() / scale
        down = (image[..., 1:, :] - image[..., :-1, :]).square() * hole[..., 1:, :]
        right = (image[..., 1:] - image[..., :-1]).square() * hole[..., 1:]
        rough = (down.sum() + right.sum()) / (3 * hole.sum())
        return distance + self.smoothness * rough


def _approach(
    encoder: Vgg19Relu3, begin: Tensor, hole: Tensor, aim: _Aim, iterations: int
) -> Tensor:
    pixels = begin.clone().requires_grad_(True)
    # No line search: one look at the features per iteration, as published.
    optimiser = torch.optim.LBFGS([pixels], max_iter=iterations, max_eval=iterations + 1)

    def closure() -> Tensor:
        optimiser.zero_grad()
        image = paste_known(pixels, begin, hole)
        loss = aim.loss(encoder(image), image, hole)
        loss.backward()  # type: ignore[no-untyped-call]
        return loss

    with torch.enable_grad():
        optimiser.step(closure)  # type: ignore[no-untyped-call]
    return paste_known(pixels.detach().clamp(0, 1), begin, hole)


def _check(image: Tensor, mask: Tensor) -> None:
    if mask.shape[-2:] != image.shape[-2:]:
        raise ValueError(
            f"mask is {mask.shape[-1]}x{mask.shape[-2]} px and the image"
            f" {image.shape[-1]}x{image.shape[-2]}: give one of the image's size"
        )
    share = float(mask.float().mean())
    if share in (0.0, 1.0):
        raise ValueError(f"the mask is {'full' if share else 'empty'}: there is nothing to fill")

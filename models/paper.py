"""The method as the paper publishes it, sections 3.1 to 3.5, in one file to be read.

"Contextual-based Image Inpainting: Infer, Match, and Translate" (ECCV 2018). Everything here is
plain: one photograph, one hole or several, all of it in memory, no option. `Inpainter` computes
the same at any size and faster, and can depart from it (`kintsugi.models.matching`,
`kintsugi.models.compose`); a test holds the two equal at the paper's defaults. The
losses of training are in `kintsugi.models.losses`.

Conventions: RGB 0-1, B C H W; mask 1 = hole.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import (
    KEPT,
    PATCH,
    SMALLEST_NORM,
    candidate_windows,
    hole_cells,
    windows_touching,
)
from kintsugi.models.networks.feature2image import Feature2Image
from kintsugi.models.networks.image2feature import CoarseGenerator
from kintsugi.models.networks.vgg import Vgg19Relu3


class Networks(NamedTuple):
    """What is trained, and the encoder, which is not.

    Attributes:
        generator: G1, which draws the hole coarsely.
        encoder: VGG19 up to relu3_1: 256 channels at a quarter of the sides.
        translator: G2, the way back from features to an image.
    """

    generator: CoarseGenerator
    encoder: Vgg19Relu3
    translator: Feature2Image


class Swapped(NamedTuple):
    """Features after patch-swap, and for every 3x3 window the index of its match.

    A window's index is ``row * (w - 2) + column``; -1 where it does not touch the hole.
    """

    features: Tensor
    indices: Tensor


# 3.1 Problem and overview: infer, match, translate.


def inpaint_one_scale(
    networks: Networks, image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 H W"]
) -> Float[Tensor, "1 3 H W"]:
    """An incomplete image to a complete one, at one scale (figure 2).

    Args:
        networks: Trained.
        image: What it holds in the hole is not looked at. Sides are multiples of 8, at least 64.
        mask: 1 = hole; it leaves some window of the feature map free.
    """
    coarse = infer(networks.generator, image, mask)
    swapped = patch_swap(networks.encoder(coarse), mask)
    return translate(networks.translator, swapped.features)


# 3.2 Inference: Image2Feature.


def infer(
    generator: CoarseGenerator, image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 H W"]
) -> Float[Tensor, "1 3 H W"]:
    """I1: the hole as G1 draws it, the rest as it is. Its relu3_1 is F1, which is matched."""
    return put_back_known(generator(image, mask), image, mask)


def put_back_known(
    filled: Float[Tensor, "1 3 H W"],
    image: Float[Tensor, "1 3 H W"],
    mask: Float[Tensor, "1 1 H W"],
) -> Float[Tensor, "1 3 H W"]:
    """The hole of one image in another."""
    return torch.where(mask == 1, filled, image)


# 3.3 Match: patch-swap.


@torch.no_grad()
def patch_swap(features: Float[Tensor, "1 C h w"], mask: Float[Tensor, "1 1 H W"]) -> Swapped:
    """Replace each 3x3 patch over the hole by its most similar known one; average overlaps.

    The similarity is d(p, p') = <p, p'> / (|p| |p'|). |p| is the same for all candidates p' and
    left out. Two convolutions do it, as in "Fast Patch-based Style Transfer" (2016): the map is
    convolved with the normalised known patches; the arg-max over patches becomes a one-hot map;
    a transposed convolution of it with the patches adds them up where they belong; division by
    the number of overlaps averages them.

    All scores are in memory at once: 15 GiB and more at 1024 px. `kintsugi.models.match` finds the
    same matches in a fraction of the time and of the memory.

    Args:
        features: F1.
        mask: 1 = hole, at a whole multiple of the map's size. A cell with any hole pixel is hole.

    Returns: F1', equal to F1 outside the hole's cells, and the matches.

    Raises: ValueError when the hole leaves no known window.
    """
    height, width = features.shape[-2:]
    hole = hole_cells(mask, height, width)[0, 0] > 0
    known = candidate_windows(hole, 0).flatten().nonzero().flatten()
    if not len(known):
        raise ValueError("no window of the map is free of the hole: leave more of it known")
    patches = F.unfold(features, PATCH)[0].T[known].reshape(len(known), -1, PATCH, PATCH)
    norms = patches.flatten(1).norm(dim=1).clamp_min(SMALLEST_NORM)
    winners = F.conv2d(features, patches / norms.view(-1, 1, 1, 1)).argmax(dim=1, keepdim=True)
    chosen = features.new_zeros(1, len(known), height - 2, width - 2).scatter_(1, winners, 1)
    total = F.conv_transpose2d(chosen, patches)
    once = features.new_ones(1, 1, PATCH, PATCH)
    overlaps = F.conv_transpose2d(features.new_ones(1, 1, height - 2, width - 2), once)
    indices: Int64[Tensor, "h-2 w-2"] = torch.where(
        windows_touching(hole), known[winners[0, 0]], KEPT
    )
    return Swapped(torch.where(hole, total / overlaps, features), indices[None])


# 3.4 Translate: Feature2Image.


def translate(
    translator: Feature2Image, swapped: Float[Tensor, "1 256 h w"]
) -> Float[Tensor, "1 3 4*h 4*w"]:
    """I: the whole image of F1', drawn by G2, known part and all."""
    image: Tensor = translator(swapped)
    return image


# 3.5 Multi-scale refinement.


@torch.inference_mode()
def inpaint(
    networks: Networks,
    image: Float[Tensor, "1 3 H W"],
    mask: Float[Tensor, "1 1 H W"],
    sizes: Sequence[tuple[int, int]],
) -> Float[Tensor, "1 3 H W"]:
    """Fill a hole from small to large.

    G1 draws at the smallest scale alone. At each next one the image so far is enlarged, the
    known pixels of that scale are put back, and the result is matched and translated again: by
    the patches of this scale, which have its detail.

    Args:
        networks: As for `inpaint_one_scale`.
        image: As there.
        mask: As there.
        sizes: (height, width) of each scale; the last is the image's own. The paper's double.

    Returns: the last scale's answer in the hole, ``image`` to the bit outside it.
    """
    filled: Tensor | None = None
    for size in sizes:
        known, hole = at_scale(image, mask, size)
        if filled is None:
            filled = inpaint_one_scale(networks, known, hole)
            continue
        enlarged = F.interpolate(filled, size, mode="bicubic", align_corners=False).clamp(0, 1)
        start = put_back_known(enlarged, known, hole)
        swapped = patch_swap(networks.encoder(start), hole)
        filled = translate(networks.translator, swapped.features)
    if filled is None:
        raise ValueError("sizes is empty: give at least the image's own")
    return put_back_known(filled, image, mask)


def at_scale(
    image: Float[Tensor, "1 3 H W"], mask: Float[Tensor, "1 1 H W"], size: tuple[int, int]
) -> tuple[Float[Tensor, "1 3 h w"], Float[Tensor, "1 1 h w"]]:
    """The image and its hole at another size. A pixel that covers any hole pixel is hole."""
    small = F.interpolate(image, size, mode="area")
    hole = F.adaptive_max_pool2d(mask, size)
    return small.masked_fill(hole == 1, 0.0), hole

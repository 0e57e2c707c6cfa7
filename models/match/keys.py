"""Keys: what patches are compared by where the features themselves mislead; no search.

A coarse fill is blurry. Compared plainly, its patches match the flat parts of the known
side, whatever they show. Two remedies, alone or together: channels brought to one mean
and deviation, and the known side blurred as much as the fill before it is encoded, for
the comparison only. What is copied are the sharp features.
"""

from typing import Literal, get_args

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from kintsugi.models.match.windows import hole_cells

KeysKind = Literal["plain", "standardised", "matched", "matched-standardised"]
KEYS_KINDS: tuple[KeysKind, ...] = get_args(KeysKind)

# Standard deviations, in pixels, among which the fill's blur is sought.
_BLURS = (0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0)
# Detail finer than this many pixels against all detail shows how sharp a picture is.
_FINE = 1.5
# Of the known side's broad detail. A fill with less is called smooth, whatever noise is in it.
_LEAST_DETAIL = 0.1
# Channels that are standardised at once: a cache line of a map in either layout.
_CHANNELS = 16
_LUMA = (0.299, 0.587, 0.114)


def standardise(
    features: Float[Tensor, "B C h w"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B C h w"]:
    """Every channel less its mean over the known cells and divided by their deviation.

    A channel that does not vary over the known cells becomes 0 there. Values that are not
    finite (NaN, infinite) do not count. Where no value is known the channel comes back as
    it came.
    """
    known = hole_cells(mask, *features.shape[-2:]) == 0
    scaled = torch.empty_like(features)
    # A few channels at a time: only they and the result take memory. A GPU has it, and would wait
    # for each of the steps.
    at_once = features.shape[1] if features.device.type == "cuda" else _CHANNELS
    for first in range(0, features.shape[1], at_once):
        channels = slice(first, first + at_once)
        part = features[:, channels]
        # Chosen, not multiplied by 0 and 1: nothing times NaN is NaN.
        counts = known & part.isfinite()
        count = counts.sum(dim=(2, 3), keepdim=True)
        mean = part.where(counts, 0).sum(dim=(2, 3), keepdim=True) / count.clamp_min(1)
        centred = part - mean
        squares = centred.square().where(counts, 0)
        variance = squares.sum(dim=(2, 3), keepdim=True) / count.clamp_min(1)
        deviation = variance.sqrt().clamp_min(1e-6)
        scaled[:, channels] = torch.where(count > 0, centred / deviation, part)
    return scaled


def blur_known(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 3 H W"]:
    """The image with its known side as blurry as what is in the hole.

    The blur is the smallest of a row of Gaussians after which the known side's share of
    fine detail is no more than the hole's. The share, unlike the amount, is much the same
    for sky and for grass; only where the hole has hardly any detail at all does it count as
    a share of a tenth of the known side's. A hole as sharp as the known side changes nothing.

    Args:
        image: RGB 0-1 with a fill in its hole.
        mask: 1 = hole.
    """
    # What is measured is so fine that half precision would decide otherwise.
    with torch.autocast(image.device.type, enabled=False):
        image, mask = image.float(), mask.float()
        if image.device.type == "cuda":
            return blur_batch(image, mask)
        return torch.cat(
            [_blur_one(image[item : item + 1], mask[item : item + 1]) for item in range(len(image))]
        )


def blur_batch(
    image: Float[Tensor, "B 3 H W"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 3 H W"]:
    """`blur_known` of all items at once: every blur is tried, and the host decides nothing.

    What a processor does one by one, up to the first blur that is enough.
    """
    luma = (image.detach() * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    reach = 2 * _radius(_FINE) + 1
    inside = 1 - F.max_pool2d(1 - mask, reach, 1, reach // 2)
    outside = 1 - F.max_pool2d(mask, reach, 1, reach // 2)
    inside = torch.where(inside.amax((1, 2, 3), keepdim=True) > 0, inside, mask)
    table = _kernels(image.device)
    kernels, measures = table[:-2], table[-2:]
    blurred = _convolve(luma.expand(-1, len(kernels), -1, -1), kernels)
    # The first is not blurred at all.
    fine, broad = _details(blurred, outside, measures)
    fine_inside, broad_inside = _details(luma, inside, measures)
    least = (_LEAST_DETAIL * broad[:, :1]).clamp_min(1e-12)
    enough = fine / broad.clamp_min(1e-12) <= fine_inside / torch.maximum(broad_inside, least)
    # Without any, the widest.
    enough[:, -1] = True
    chosen = enough.byte().argmax(1)
    batch, channels = image.shape[:2]
    each = kernels[chosen].repeat_interleave(channels, 0)
    soft = _convolve(image.reshape(1, batch * channels, *image.shape[2:]), each).view_as(image)
    known = (1 - mask) * (chosen > 0).view(-1, 1, 1, 1)
    return torch.where(known > 0, image * mask + soft * (1 - mask), image)


def _kernels(device: torch.device) -> Float[Tensor, "n k"]:
    """None, those of _BLURS and the two by which detail is measured, all as long as the widest."""
    blurs = (*_BLURS, _FINE, 2 * _FINE)
    radius = torch.tensor([0, *map(_radius, blurs)], device=device)[:, None]
    sigma = torch.tensor([1.0, *blurs], device=device)[:, None]
    most = _radius(_BLURS[-1])
    distance = torch.arange(-most, most + 1, device=device)
    weights = torch.exp(-0.5 * (distance / sigma).square()) * (distance.abs() <= radius)
    return weights / weights.sum(1, keepdim=True)


def _convolve(image: Float[Tensor, "B C H W"], kernels: Float[Tensor, "C k"]) -> Tensor:
    """Every channel by its own kernel, down and across; the border's pixels are repeated."""
    channels, length = kernels.shape
    padded = F.pad(image, (length // 2,) * 4, mode="replicate")
    down = F.conv2d(padded, kernels.view(channels, 1, length, 1), groups=channels)
    return F.conv2d(down, kernels.view(channels, 1, 1, length), groups=channels)


def _details(
    luma: Float[Tensor, "B C H W"], where: Tensor, measures: Float[Tensor, "2 k"]
) -> tuple[Tensor, Tensor]:
    """`_detail` of every channel, B C each."""
    channels = luma.shape[1]
    smooth = _convolve(luma, measures[0].expand(channels, -1))
    smoother = _convolve(smooth, measures[1].expand(channels, -1))
    squares = torch.stack([luma - smooth, smooth - smoother]).square()
    fine, broad = (squares * where).sum((3, 4)) / where.sum((2, 3)).clamp_min(1)
    return fine, broad


def _blur_one(image: Tensor, mask: Tensor) -> Tensor:
    # The choice of a blur has no gradient.
    luma = (image.detach() * image.new_tensor(_LUMA).view(1, 3, 1, 1)).sum(1, keepdim=True)
    # Not across the hole's edge: both sides must be of one kind.
    reach = 2 * _radius(_FINE) + 1
    inside = 1 - F.max_pool2d(1 - mask, reach, 1, reach // 2)
    outside = 1 - F.max_pool2d(mask, reach, 1, reach // 2)
    least = _LEAST_DETAIL * _detail(luma, outside)[1]
    wanted = _fine_share(luma, inside if inside.any() else mask, least)
    if _fine_share(luma, outside) <= wanted:
        return image
    sigma = next(
        (s for s in _BLURS if _fine_share(gaussian_blur(luma, s), outside) <= wanted), _BLURS[-1]
    )
    return image * mask + gaussian_blur(image, sigma) * (1 - mask)


def _fine_share(luma: Tensor, where: Tensor, least: float = 0.0) -> float:
    """How much of the detail in ``where``, or of the ``least`` there should be, is fine."""
    fine, broad = _detail(luma, where)
    return fine / max(broad, least, 1e-12)


def _detail(luma: Tensor, where: Tensor) -> tuple[float, float]:
    """Mean squares in ``where`` of what is finer than _FINE, and of what is up to twice that."""
    smooth = gaussian_blur(luma, _FINE)
    area = where.sum().clamp_min(1)
    fine = ((luma - smooth).square() * where).sum() / area
    broad = ((smooth - gaussian_blur(smooth, 2 * _FINE)).square() * where).sum() / area
    return float(fine), float(broad)


def gaussian_blur(image: Float[Tensor, "B C H W"], sigma: float) -> Float[Tensor, "B C H W"]:
    """Blur with a Gaussian of ``sigma`` pixels; the border's pixels are repeated."""
    radius = _radius(sigma)
    distance = torch.arange(-radius, radius + 1, device=image.device, dtype=image.dtype)
    weights = torch.exp(-0.5 * (distance / sigma).square())
    weights = weights / weights.sum()
    channels = image.shape[1]
    padded = F.pad(image, (radius,) * 4, mode="replicate")
    column = weights.view(1, 1, -1, 1).expand(channels, 1, -1, 1)
    row = weights.view(1, 1, 1, -1).expand(channels, 1, 1, -1)
    return F.conv2d(F.conv2d(padded, column, groups=channels), row, groups=channels)


def _radius(sigma: float) -> int:
    return max(1, round(3 * sigma))

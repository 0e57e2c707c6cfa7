"""What is done to the image of a fill after Feature2Image: shades, seams, detail; no weights.

Beyond the paper. Feature2Image's image has the texture of what was copied, but not the right
shades, which come from elsewhere in the picture, nor all of the fine detail, which is lost
where copies overlap; and the cells that were copied side by side show as a lattice in even
areas. The fill that was matched has the better shades, being drawn for this very place: the
two are averaged, as two guesses that err independently. What is finer than two pixels, the
grain of a texture, is the image's own.

The deeper in a hole, the less the patches agree that overlap, and the more of their detail is
averaged away: the more it may be raised.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn import functional as F

from models.match.keys import gaussian_blur
from models.match.windows import hole_cells
from models.networks.cells import SHADE_PIXELS, shades_of
from models.networks.depth import depth_in
from models.networks.vgg import FEATURE_STRIDE

# Standard deviation in pixels of the blur, against which detail is what is finer.
_DETAIL_PIXELS = 0.7
MOST_DETAIL = 4.0
# So many cells from the hole's edge, 48 px, is as deep as anything.
_DEEPEST_CELLS = 12
# Of a seam's step, what each of the four pixels across it is moved by.
_LEVELLED = (1 / 12, 1 / 4, -1 / 4, -1 / 12)


@dataclass(frozen=True)
class FinishConfig:
    """What a release does to each scale's image; the defaults, nothing, are the paper's.

    Above 0 each needs maps with pixels (`models.networks.cells`).

    Attributes:
        shade: Of each cell's mean colour, the part that is that of the fill which was matched:
            0-1.
        fine_shade: The same of how the mean colours of two by two pixels differ from their
            cell's: 0-1.
        deblock: Steps across the edges of cells, beyond the slope on either side, of up to
            about this much are seams of copying and are levelled; larger ones are edges of
            the picture. 0-1.
        detail: By how much of itself the finest detail is raised: 0-4.
        deep_detail: By how much more twelve cells inside the hole (48 px) and deeper; in
            between in proportion: 0-4.
    """

    shade: float = 0.0
    fine_shade: float = 0.0
    deblock: float = 0.0
    detail: float = 0.0
    deep_detail: float = 0.0

    def __post_init__(self) -> None:
        for name, most in (
            ("shade", 1.0),
            ("fine_shade", 1.0),
            ("deblock", 1.0),
            ("detail", MOST_DETAIL),
            ("deep_detail", MOST_DETAIL),
        ):
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise ValueError(f"{name}={value}: choose 0 to {most:g}")


def finish(
    config: FinishConfig,
    image: Float[Tensor, "B 3 H W"],
    guide: Float[Tensor, "B 4 H/2 W/2"],
) -> Float[Tensor, "B 3 H W"]:
    """The image of one scale as a release wants it.

    Args:
        config: The release's preferences.
        image: Feature2Image's, 0-1.
        guide: Of the map before the match: `guide_of`.
    """
    if config == FinishConfig():
        return image
    shades, depth = guide[:, :3], guide[:, 3:]
    if config.shade or config.fine_shade:
        image = _shaded(config, image, shades)
    if config.deblock:
        image = _deblocked(image, config.deblock)
        image = _deblocked(image.transpose(-1, -2), config.deblock).transpose(-1, -2)
    if config.detail or config.deep_detail:
        raised = config.detail + config.deep_detail * _enlarged(depth, SHADE_PIXELS)
        image = image + raised * (image - gaussian_blur(image, _DETAIL_PIXELS))
    return image.clamp(0, 1)


def guide_of(
    cells: Float[Tensor, "B C h w"], mask: Float[Tensor, "B 1 H W"]
) -> Float[Tensor, "B 4 2*h 2*w"] | None:
    """What a finish goes by, of two by two pixels: their mean colour, and how deep they lie.

    Args:
        cells: Before the match, with pixels behind them: `models.networks.cells`.
        mask: 1 = hole.

    Returns:
        RGB 0-1, and as a fourth channel 0 outside the hole, a twelfth in its outermost cells,
        rising to 1 twelve cells inside; None of cells without pixels.
    """
    shades = shades_of(cells)
    if shades is None:
        return None
    depth = depth_in(hole_cells(mask, *cells.shape[-2:]).to(shades), _DEEPEST_CELLS)
    deep = F.interpolate(depth, scale_factor=FEATURE_STRIDE // SHADE_PIXELS, mode="nearest")
    return torch.cat([shades, deep], 1)


def _shaded(config: FinishConfig, image: Tensor, shades: Tensor) -> Tensor:
    apart = shades - F.avg_pool2d(image, SHADE_PIXELS)
    if config.shade != config.fine_shade:
        cells = F.avg_pool2d(apart, FEATURE_STRIDE // SHADE_PIXELS)
        image = image + (config.shade - config.fine_shade) * _enlarged(cells, FEATURE_STRIDE)
    if config.fine_shade:
        image = image + config.fine_shade * _enlarged(apart, SHADE_PIXELS)
    return image


def _enlarged(colours: Tensor, times: int) -> Tensor:
    return F.interpolate(colours, scale_factor=times, mode="bilinear", align_corners=False)


def _deblocked(image: Tensor, largest: float) -> Tensor:
    """Seams between columns of cells levelled."""
    if image.shape[-1] <= FEATURE_STRIDE:
        return image
    # Two pixels on either side of every edge between cells.
    places = torch.arange(FEATURE_STRIDE, image.shape[-1], FEATURE_STRIDE, device=image.device)
    across = [image[..., places + offset] for offset in (-2, -1, 0, 1)]
    slope = (across[1] - across[0] + across[3] - across[2]) / 2
    step = across[2] - across[1] - slope
    step = step * torch.exp(-(step / largest).square())
    levelled = image.clone()
    for offset, pixels, share in zip((-2, -1, 0, 1), across, _LEVELLED, strict=True):
        levelled[..., places + offset] = pixels + share * step
    return levelled
